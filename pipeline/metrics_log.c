/* The table grows a column when a new key appears; a row holds the columns that there were
 * when it was read. */
#include "pipeline/metrics_log.h"

#include "io/json_lines.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MOST = 256, NAME = 200, DEPTH = 4 };

static int64_t column_of(const struct metrics_log *m, const char *name)
{
    for (int64_t k = 0; k < m->names; k++)
        if (strcmp(m->name[k], name) == 0)
            return k;
    return -1;
}

static int64_t column_for(struct metrics_log *m, const char *name)
{
    int64_t k = column_of(m, name);
    if (k >= 0 || m->names == NAMES_MOST)
        return k;
    m->name[m->names] = mem_text(name);
    return m->names++;
}

/* Numbers and truth values of a map, those of maps in it with a dotted prefix. */
static void take_map(struct metrics_log *m, double *row, const struct json *map,
                     const char *prefix, int depth)
{
    for (int64_t i = 0; i < json_count(map); i++) {
        const char *key = NULL;
        const struct json *v = json_entry(map, i, &key);
        char name[NAME];
        double number;
        bool truth;
        if (v == NULL || key == NULL ||
            snprintf(name, sizeof name, "%s%s%s", prefix, prefix[0] != '\0' ? "." : "",
                     key) >= NAME)
            continue;
        if (json_kind(v) == JSON_MAP_T && depth < DEPTH) {
            take_map(m, row, v, name, depth + 1);
        } else if (strcmp(name, "iteration") != 0 && json_kind(v) != JSON_LIST_T &&
                   json_kind(v) != JSON_TEXT_T) {
            int64_t k = column_for(m, name);
            if (k < 0)
                continue;
            row[k] = json_to_f64(v, &number)   ? number
                     : json_to_bool(v, &truth) ? (double)truth
                                               : NAN;
        }
    }
}

static void take_line(struct metrics_log *m, const struct json *line, int64_t *cap,
                      double *row)
{
    int64_t iteration;
    if (!json_to_i64(json_get(line, "iteration"), &iteration) || iteration < 0 ||
        iteration > METRICS_ITERATION_MOST) {
        m->unreadable++;
        return;
    }
    for (int64_t k = 0; k < NAMES_MOST; k++)
        row[k] = NAN;
    take_map(m, row, line, "", 0);
    const char *time = json_text(json_get(line, "time"));
    if (m->rows == *cap) {
        int64_t more = *cap * 2 + 64;
        m->iteration = mem_resize(m->iteration, *cap, more, sizeof *m->iteration);
        m->value = mem_resize(m->value, *cap, more, sizeof *m->value);
        m->time = mem_resize(m->time, *cap, more, sizeof *m->time);
        m->width = mem_resize(m->width, *cap, more, sizeof *m->width);
        *cap = more;
    }
    m->iteration[m->rows] = iteration;
    m->width[m->rows] = m->names;
    m->value[m->rows] = mem_alloc(m->names, sizeof *row);
    memcpy(m->value[m->rows], row, (size_t)m->names * sizeof *row);
    m->time[m->rows++] = mem_text(time == NULL ? "" : time);
}

struct place {
    int64_t iteration, line;
};

static int by_iteration(const void *a, const void *b)
{
    const struct place *x = a, *y = b;
    if (x->iteration != y->iteration)
        return x->iteration < y->iteration ? -1 : 1;
    return (x->line > y->line) - (x->line < y->line);
}

int64_t metrics_log_order(const int64_t *iteration, int64_t n, int64_t *keep)
{
    struct place *p = mem_alloc(n, sizeof *p);
    int64_t kept = 0;
    for (int64_t i = 0; i < n; i++)
        p[i] = (struct place){iteration[i], i};
    if (n > 0)
        qsort(p, (size_t)n, sizeof *p, by_iteration);
    for (int64_t i = 0; i < n; i++)
        if (i + 1 == n || p[i].iteration != p[i + 1].iteration)
            keep[kept++] = p[i].line;
    mem_free(p);
    return kept;
}

/* Rows in order. */
static void settle(struct metrics_log *m)
{
    int64_t *keep = mem_alloc(m->rows, sizeof *keep);
    const int64_t rows = metrics_log_order(m->iteration, m->rows, keep);
    struct metrics_log to = {.iteration = mem_alloc(rows, sizeof *to.iteration),
                             .value = mem_alloc(rows, sizeof *to.value),
                             .time = mem_alloc(rows, sizeof *to.time),
                             .width = mem_alloc(rows, sizeof *to.width)};
    for (int64_t i = 0; i < rows; i++) {
        to.iteration[i] = m->iteration[keep[i]];
        to.value[i] = m->value[keep[i]];
        to.time[i] = m->time[keep[i]];
        to.width[i] = m->width[keep[i]];
        m->value[keep[i]] = NULL;
        m->time[keep[i]] = NULL;
    }
    for (int64_t i = 0; i < m->rows; i++) {
        mem_free(m->value[i]);
        mem_free(m->time[i]);
    }
    mem_free(m->iteration);
    mem_free(m->value);
    mem_free(m->time);
    mem_free(m->width);
    mem_free(keep);
    m->iteration = to.iteration;
    m->value = to.value;
    m->time = to.time;
    m->width = to.width;
    m->rows = rows;
}

int metrics_log_read(struct metrics_log *m, const char *path)
{
    struct json *line;
    int64_t cap = 0;
    double row[NAMES_MOST];
    *m = (struct metrics_log){0};
    if (!file_exists(path))
        return 0;
    struct json_lines *lines = json_lines_open(path);
    if (lines == NULL)
        return -1;
    m->name = mem_alloc(NAMES_MOST, sizeof *m->name);
    while ((line = json_lines_next(lines)) != NULL) {
        if (json_get(line, "iteration") != NULL && json_get(line, "event") == NULL)
            take_line(m, line, &cap, row);
        json_free(line);
    }
    m->unreadable += json_lines_unreadable(lines);
    json_lines_close(lines);
    settle(m);
    return 0;
}

int64_t metrics_log_row(const struct metrics_log *m, int64_t iteration)
{
    for (int64_t i = 0; i < m->rows; i++)
        if (m->iteration[i] == iteration)
            return i;
    return -1;
}

double metrics_log_at(const struct metrics_log *m, int64_t row, int64_t column)
{
    return row < 0 || column < 0 || column >= m->width[row] ? NAN : m->value[row][column];
}

double metrics_log_value(const struct metrics_log *m, int64_t row, const char *name)
{
    return metrics_log_at(m, row, column_of(m, name));
}

void metrics_log_free(struct metrics_log *m)
{
    for (int64_t i = 0; i < m->rows; i++) {
        mem_free(m->value[i]);
        mem_free(m->time[i]);
    }
    for (int64_t k = 0; k < m->names; k++)
        mem_free(m->name[k]);
    mem_free(m->name);
    mem_free(m->value);
    mem_free(m->time);
    mem_free(m->width);
    mem_free(m->iteration);
    *m = (struct metrics_log){0};
}

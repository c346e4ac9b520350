/* The table grows a column when a new key appears; earlier rows have NaN there. */
#include "pipeline/metrics_log.h"

#include "io/json_lines.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <stdio.h>
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

static void take_line(struct metrics_log *m, const struct json *line, int64_t *cap)
{
    int64_t iteration, at = m->rows;
    if (!json_to_i64(json_get(line, "iteration"), &iteration)) {
        m->unreadable++;
        return;
    }
    double *row = mem_alloc(NAMES_MOST, sizeof *row);
    for (int64_t k = 0; k < NAMES_MOST; k++)
        row[k] = NAN;
    take_map(m, row, line, "", 0);
    const char *time = json_text(json_get(line, "time"));
    while (at > 0 && m->iteration[at - 1] >= iteration)
        at--;
    if (at < m->rows && m->iteration[at] == iteration) {
        mem_free(m->value[at]);
        mem_free(m->time[at]);
    } else {
        if (m->rows == *cap) {
            int64_t more = *cap * 2 + 64;
            m->iteration = mem_resize(m->iteration, *cap, more, sizeof *m->iteration);
            m->value = mem_resize(m->value, *cap, more, sizeof *m->value);
            m->time = mem_resize(m->time, *cap, more, sizeof *m->time);
            *cap = more;
        }
        size_t behind = (size_t)(m->rows++ - at);
        memmove(m->iteration + at + 1, m->iteration + at,
                behind * sizeof *m->iteration);
        memmove(m->value + at + 1, m->value + at, behind * sizeof *m->value);
        memmove(m->time + at + 1, m->time + at, behind * sizeof *m->time);
    }
    m->iteration[at] = iteration;
    m->value[at] = row;
    m->time[at] = mem_text(time == NULL ? "" : time);
}

int metrics_log_read(struct metrics_log *m, const char *path)
{
    struct json *line;
    int64_t cap = 0;
    *m = (struct metrics_log){0};
    if (!file_exists(path))
        return 0;
    struct json_lines *lines = json_lines_open(path);
    if (lines == NULL)
        return -1;
    m->name = mem_alloc(NAMES_MOST, sizeof *m->name);
    while ((line = json_lines_next(lines)) != NULL) {
        if (json_get(line, "iteration") != NULL && json_get(line, "event") == NULL)
            take_line(m, line, &cap);
        json_free(line);
    }
    m->unreadable += json_lines_unreadable(lines);
    json_lines_close(lines);
    return 0;
}

int64_t metrics_log_row(const struct metrics_log *m, int64_t iteration)
{
    for (int64_t i = 0; i < m->rows; i++)
        if (m->iteration[i] == iteration)
            return i;
    return -1;
}

double metrics_log_value(const struct metrics_log *m, int64_t row, const char *name)
{
    int64_t k = column_of(m, name);
    return row < 0 || k < 0 ? NAN : m->value[row][k];
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
    mem_free(m->iteration);
    *m = (struct metrics_log){0};
}

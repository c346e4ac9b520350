/* Heat maps of what updates wrote in metrics.jsonl: only the lines that are drawn are
 * parsed. */
#include "pipeline/report/report_pictures.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A line of the file. */
struct line {
    int64_t iteration;
    const char *from;
    int64_t len;
};

static int by_iteration(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    if (x->iteration != y->iteration)
        return x->iteration < y->iteration ? -1 : 1;
    return x->from < y->from ? -1 : 1; /* the later line counts */
}

/* Lines with steps, by iteration, each iteration once. */
static struct line *lines_of(const char *data, int64_t len, int64_t *n)
{
    static const char key[] = "\"iteration\":", steps[] = "\"update_steps\"";
    struct line *line = NULL;
    int64_t cap = 0, all = 0, kept = 0;
    for (const char *p = data, *end; p < data + len; p = end + 1) {
        end = memchr(p, '\n', (size_t)(data + len - p));
        if (end == NULL)
            end = data + len;
        const size_t size = (size_t)(end - p);
        const char *at = memmem(p, size, key, sizeof key - 1);
        if (at == NULL || memmem(p, size, steps, sizeof steps - 1) == NULL)
            continue;
        if (all == cap) {
            line = mem_resize(line, cap, cap * 2 + 64, sizeof *line);
            cap = cap * 2 + 64;
        }
        line[all++] = (struct line){strtoll(at + sizeof key - 1, NULL, 10), p, end - p};
    }
    if (all > 1)
        qsort(line, (size_t)all, sizeof *line, by_iteration);
    for (int64_t i = 0; i < all; i++)
        if (i + 1 == all || line[i + 1].iteration != line[i].iteration)
            line[kept++] = line[i];
    *n = kept;
    return line;
}

static double item(const struct json *list, int64_t k)
{
    double v;
    const struct json *j = list == NULL ? NULL : json_item(list, k);
    return j != NULL && json_to_f64(j, &v) ? v : NAN;
}

static void take(struct report_map map[2], int64_t c, const struct json *line)
{
    static const char *const name[2] = {"approx_kl", "clip_fraction"};
    const struct json *steps = json_get(line, "update_steps");
    const struct json *t = steps == NULL ? NULL : json_get(steps, "t");
    if (t == NULL || json_kind(t) != JSON_LIST_T || json_count(t) < 1 ||
        json_count(t) > REPORT_MAP_ROWS)
        return;
    for (int k = 0; k < 2; k++) {
        struct report_map *m = &map[k];
        const struct json *list = json_get(steps, name[k]);
        if (m->value == NULL) {
            m->rows = json_count(t);
            m->t = mem_alloc(m->rows, sizeof *m->t);
            m->value = mem_alloc(m->columns * m->rows, sizeof *m->value);
            for (int64_t i = 0; i < m->columns * m->rows; i++)
                m->value[i] = NAN;
            for (int64_t r = 0; r < m->rows; r++)
                m->t[r] = item(t, r);
        }
        for (int64_t r = 0; r < m->rows && m->rows == json_count(t); r++)
            m->value[c * m->rows + r] = item(list, r);
    }
}

void report_map_updates(const char *rundir, struct report_map map[2])
{
    char *data = NULL, *path = rundir_path(rundir, "metrics.jsonl");
    int64_t len = 0, n = 0;
    map[0] = (struct report_map){
        .title = "KL of the update",
        .note = "(log ratio)² / 2, mean over the pairs of a step",
        .unit = "nat",
    };
    map[1] = (struct report_map){
        .title = "Clip fraction",
        .note = "pairs of a step whose ratio left the clip range",
        .unit = "",
    };
    if (file_read(path, (int64_t)1 << 30, &data, &len) == 0) {
        struct line *line = lines_of(data, len, &n);
        const int64_t shown = n < REPORT_MAP_COLUMNS ? n : REPORT_MAP_COLUMNS;
        for (int k = 0; k < 2; k++) {
            map[k].columns = shown;
            map[k].iteration = mem_alloc(shown, sizeof *map[k].iteration);
        }
        for (int64_t c = 0; c < shown; c++) {
            const struct line *l = &line[report_even(c, shown, n)];
            struct json *j = json_parse(l->from, l->len, path);
            map[0].iteration[c] = map[1].iteration[c] = l->iteration;
            if (j != NULL && json_kind(j) == JSON_MAP_T)
                take(map, c, j);
            json_free(j);
        }
        mem_free(line);
    }
    for (int k = 0; k < 2; k++)
        if (map[k].value == NULL)
            map[k].columns = 0;
    err_clear();
    mem_free(data);
    mem_free(path);
}

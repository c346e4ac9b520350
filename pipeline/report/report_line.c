/* log/timeline.jsonl, from its end backwards: the last iterations of the newest session.
 * Lines that are cut or foreign are passed over. */
#include "pipeline/report/report_time.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LARGEST = 16 << 20, RANKS_MOST = 10000000 };

/* Whole microseconds as seconds; false where there are none. */
static bool seconds(const struct json *map, const char *key, double *out)
{
    int64_t us;
    if (!json_to_i64(json_get(map, key), &us) || us < 0 || us > (int64_t)1e18)
        return false;
    *out = 1e-6 * (double)us;
    return true;
}

static bool wait_of(const char *name, int *on)
{
    enum group g;
    if (name == NULL)
        return false;
    *on = RECORD_LEASE;
    if (strcmp(name, record_wait_name(RECORD_LEASE)) == 0)
        return true;
    bool known = group_from_name(name, &g);
    *on = (int)g;
    return known;
}

static void read_spans(struct report_lease *l, const struct json *list, enum task_time k)
{
    for (int64_t i = 0; i + 1 < json_count(list) && l->spans < TASK_SPANS; i += 2) {
        int64_t from, to;
        if (json_to_i64(json_item(list, i), &from) &&
            json_to_i64(json_item(list, i + 1), &to) && from <= to)
            l->span[l->spans++] =
                (struct report_span){(int)k, 1e-6 * (double)from, 1e-6 * (double)to};
    }
}

static void read_waits(struct report_lease *l, const struct json *waits)
{
    for (int64_t i = 0; i < json_count(waits) && l->waits < REPORT_WAITS; i++) {
        const struct json *w = json_item(waits, i);
        struct report_span *s = &l->wait[l->waits];
        l->waits += wait_of(json_text(json_get(w, "for")), &s->kind) &&
                    seconds(w, "from_us", &s->from) && seconds(w, "to_us", &s->to) &&
                    s->from <= s->to;
    }
}

static bool read_lease(struct report_lease *l, const struct json *j, int64_t iteration)
{
    int64_t rank;
    const char *name = json_text(json_get(j, "group"));
    *l = (struct report_lease){.iteration = iteration};
    if (name == NULL || !group_from_name(name, &l->group) ||
        !json_to_i64(json_get(j, "rank"), &rank) || rank < 0 || rank > RANKS_MOST ||
        !seconds(j, "from_us", &l->from) || !seconds(j, "to_us", &l->to) ||
        l->from > l->to)
        return false;
    l->rank = (int)rank;
    json_to_bool(json_get(j, "aside"), &l->aside);
    read_spans(l, json_get(j, "io_us"), TIME_IO);
    read_spans(l, json_get(j, "communication_us"), TIME_COMMUNICATION);
    read_spans(l, json_get(j, "vote_us"), TIME_WAITING);
    read_waits(l, json_get(j, "waited"));
    return true;
}

/* The last line of a job that ended well. */
static void read_rest(struct report_line *l, const struct json *list, double end)
{
    int64_t rank;
    l->lease = mem_resize(l->lease, l->leases, l->leases + json_count(list) + 1,
                          sizeof *l->lease);
    for (int64_t i = 0; i < json_count(list); i++) {
        const struct json *one = json_item(list, i);
        struct report_lease *at = &l->lease[l->leases];
        *at = (struct report_lease){.rest = true, .from = end, .to = end};
        if (json_to_i64(json_get(one, "rank"), &rank) && rank >= 0 && rank <= RANKS_MOST) {
            at->rank = (int)rank;
            read_waits(at, json_get(one, "waited"));
            l->leases++;
        }
    }
}

static bool read_groups(struct report_line *l, struct report_extent *e,
                        const struct json *groups)
{
    bool good = json_kind(groups) == JSON_MAP_T;
    for (int64_t i = 0; good && i < json_count(groups); i++) {
        enum group g;
        int64_t first, ranks;
        const char *name = NULL;
        const struct json *one = json_entry(groups, i, &name);
        if (name == NULL || !group_from_name(name, &g))
            continue;
        good = json_to_i64(json_get(one, "first"), &first) && first >= 0 &&
               first <= RANKS_MOST &&
               json_to_i64(json_get(one, "ranks"), &ranks) && ranks >= 0 &&
               ranks <= RANKS_MOST - first &&
               seconds(one, "working_us", &e->mean[g].working);
        if (!good)
            break;
        l->first[g] = (int)first;
        l->ranks[g] = (int)ranks;
        for (int k = 0; k < RECORD_WAITS; k++)
            seconds(json_get(one, "waited_us"), record_wait_name(k),
                    &e->mean[g].wait.on_s[k]);
    }
    return good;
}

/* False: the line is none, or its session is another one. */
static bool read_line(struct report_line *l, const struct json *j, char session[64])
{
    struct report_extent e = {0};
    int64_t left_out = 0;
    const struct json *groups = json_get(j, "groups"), *leases = json_get(j, "leases");
    const char *name = json_text(json_get(j, "session"));
    if (name != NULL && session[0] == '\0' && json_get(j, "rest") != NULL &&
        seconds(j, "to_us", &e.to)) {
        snprintf(session, 64, "%.63s", name);
        read_rest(l, json_get(j, "rest"), e.to);
        return true;
    }
    if (groups == NULL || name == NULL || !json_to_i64(json_get(j, "iteration"), &e.iteration) ||
        !seconds(j, "from_us", &e.from) || !seconds(j, "to_us", &e.to) || e.from > e.to ||
        !read_groups(l, &e, groups))
        return true;
    if (session[0] == '\0')
        snprintf(session, 64, "%.63s", name);
    if (strncmp(session, name, 63) != 0)
        return false;
    json_to_bool(json_get(j, "complete"), &e.complete);
    json_to_i64(json_get(j, "left_out"), &left_out);
    l->left_out += left_out;
    l->lease = mem_resize(l->lease, l->leases, l->leases + json_count(leases) + 1,
                          sizeof *l->lease);
    for (int64_t i = 0; i < json_count(leases); i++)
        l->leases += read_lease(&l->lease[l->leases], json_item(leases, i), e.iteration);
    memmove(l->extent + 1, l->extent, (size_t)l->extents * sizeof *l->extent);
    l->extent[0] = e;
    l->extents++;
    return true;
}

/* False: the iterations wanted are there. */
static bool read_file(struct report_line *l, const char *rundir, const char *name,
                      int iterations, char session[64])
{
    char *path = rundir_path(rundir, name), *data = NULL;
    int64_t len = 0;
    bool more = true;
    if (file_exists(path) && file_read(path, LARGEST, &data, &len) == 0)
        for (int64_t end = len; end > 0 && more;) {
            int64_t from = end - 1;
            while (from > 0 && data[from - 1] != '\n')
                from--;
            struct json *j = json_parse(data + from, end - from, path);
            more = j == NULL || read_line(l, j, session);
            more = more && l->extents < iterations;
            json_free(j);
            end = from;
        }
    err_clear();
    mem_free(data);
    mem_free(path);
    return more;
}

static int by_rank(const void *a, const void *b)
{
    const struct report_lease *x = a, *y = b;
    if (x->rank != y->rank)
        return x->rank < y->rank ? -1 : 1;
    return (x->from > y->from) - (x->from < y->from);
}

void report_line_read(struct report_line *l, const char *rundir, int iterations)
{
    char session[64] = "";
    const int most = sizeof l->extent / sizeof *l->extent;
    *l = (struct report_line){0};
    iterations = iterations < most ? iterations : most;
    if (read_file(l, rundir, "log/timeline.jsonl", iterations, session))
        read_file(l, rundir, "log/timeline.old.jsonl", iterations, session);
    if (l->leases > 0)
        qsort(l->lease, (size_t)l->leases, sizeof *l->lease, by_rank);
}

void report_line_free(struct report_line *l)
{
    mem_free(l->lease);
    *l = (struct report_line){0};
}

/* Rank time by group and iteration, from metrics.jsonl. */
#include "pipeline/report/report_time.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/metrics_log.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

double report_waited(const struct report_spent *s)
{
    double sum = 0;
    for (int k = 0; k < RECORD_WAITS; k++)
        sum += s->wait.on_s[k];
    return sum;
}

static double number(const struct metrics_log *m, int64_t row, const char *map, int g,
                     const char *key)
{
    char name[96];
    snprintf(name, sizeof name, "%s.%s.%s", map, group_name((enum group)g), key);
    return metrics_log_value(m, row, name);
}

/* False where a number is missing or is none. */
static bool read_group(const struct metrics_log *m, int64_t row, int g,
                       struct report_spent *s)
{
    char key[40];
    double *const part[] = {&s->network,   &s->io,   &s->communication,
                            &s->optimizer, &s->vote, &s->other};
    static const char *const name[] = {"network_s",   "io_s",   "communication_s",
                                       "optimizer_s", "vote_s", "other_s"};
    bool good = true;
    s->working = number(m, row, "rank_time", g, "working_s");
    for (int k = 0; k < 6; k++) {
        *part[k] = number(m, row, "rank_time", g, name[k]);
        good = good && *part[k] >= 0 && *part[k] < 1e12;
    }
    for (int k = 0; k < RECORD_WAITS; k++) {
        snprintf(key, sizeof key, "%s_s", record_wait_name(k));
        s->wait.on_s[k] = number(m, row, "rank_wait", g, key);
        good = good && s->wait.on_s[k] >= 0 && s->wait.on_s[k] < 1e12;
    }
    return good && s->working >= 0 && s->working < 1e12;
}

void report_spent_add(struct report_spent *a, const struct report_spent *b)
{
    a->working += b->working;
    a->network += b->network;
    a->io += b->io;
    a->communication += b->communication;
    a->optimizer += b->optimizer;
    a->vote += b->vote;
    a->other += b->other;
    for (int k = 0; k < RECORD_WAITS; k++)
        a->wait.on_s[k] += b->wait.on_s[k];
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median_time(const struct metrics_log *m)
{
    int64_t n = 0;
    double *v = mem_alloc(m->rows + 1, sizeof *v), median = NAN;
    for (int64_t i = 0; i < m->rows; i++) {
        v[n] = metrics_log_value(m, i, "t_iteration_s");
        n += isfinite(v[n]);
    }
    qsort(v, (size_t)n, sizeof *v, compare);
    if (n > 0)
        median = (v[n / 2] + v[(n - 1) / 2]) / 2;
    mem_free(v);
    return median;
}

void report_shares_read(struct report_shares *s, const char *rundir)
{
    struct metrics_log m;
    char *path = rundir_path(rundir, "metrics.jsonl");
    *s = (struct report_shares){.iteration_s = NAN};
    if (metrics_log_read(&m, path) == 0) {
        s->at = mem_alloc(m.rows + 1, sizeof *s->at);
        s->iteration = mem_alloc(m.rows + 1, sizeof *s->iteration);
        s->iteration_s = median_time(&m);
        for (int64_t i = 0; i < m.rows; i++) {
            bool good = true;
            for (int g = 0; g < GROUPS; g++)
                good = read_group(&m, i, g, &s->at[s->n][g]) && good;
            s->iteration[s->n] = m.iteration[i];
            for (int g = 0; good && g < GROUPS; g++)
                report_spent_add(&s->sum[g], &s->at[s->n][g]);
            s->n += good;
        }
        metrics_log_free(&m);
    }
    err_clear();
    mem_free(path);
}

void report_shares_free(struct report_shares *s)
{
    mem_free(s->at);
    mem_free(s->iteration);
    *s = (struct report_shares){0};
}

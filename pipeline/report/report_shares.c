/* Rank time by group and iteration, from metrics.jsonl. */
#include "pipeline/report/report_time.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/metrics_log.h"
#include "stages/metric/summary.h"

#include <math.h>
#include <stdio.h>

double report_waited(const struct report_spent *s)
{
    double sum = 0;
    for (int k = 0; k < RECORD_WAITS; k++)
        sum += s->wait.on_s[k];
    return sum;
}

/* Its numbers by name, from rank_time's or accounting.json's keys and from a map of waits.
 * False where one is missing or is none. */
typedef double (*number_f)(const void *ctx, bool wait, const char *key);

static bool read_group(struct report_spent *s, number_f number, const void *ctx)
{
    char key[40];
    double *const part[] = {&s->working,   &s->network, &s->io,   &s->communication,
                            &s->optimizer, &s->vote,    &s->other};
    static const char *const name[] = {"working_s",       "network_s",   "io_s",
                                       "communication_s", "optimizer_s", "vote_s",
                                       "other_s"};
    bool good = true;
    for (size_t k = 0; k < sizeof name / sizeof *name; k++) {
        *part[k] = number(ctx, false, name[k]);
        good = good && *part[k] >= 0 && *part[k] < 1e12;
    }
    for (int k = 0; k < RECORD_WAITS; k++) {
        snprintf(key, sizeof key, "%s_s", record_wait_name(k));
        s->wait.on_s[k] = number(ctx, true, key);
        good = good && s->wait.on_s[k] >= 0 && s->wait.on_s[k] < 1e12;
    }
    return good;
}

/* A group in a row of metrics.jsonl. */
struct in_log {
    const struct metrics_log *m;
    int64_t row;
    int g;
};

static double number_in_log(const void *ctx, bool wait, const char *key)
{
    const struct in_log *at = ctx;
    char name[96];
    snprintf(name, sizeof name, "%s.%s.%s", wait ? "rank_wait" : "rank_time",
             group_name((enum group)at->g), key);
    return metrics_log_value(at->m, at->row, name);
}

static double number_in_account(const void *ctx, bool wait, const char *key)
{
    double v = NAN;
    const struct json *group = ctx;
    json_to_f64(json_get(wait ? json_get(group, "waited_for") : group, key), &v);
    return v;
}

bool report_shares_of_job(struct report_spent sum[GROUPS], const struct json *accounting)
{
    const struct json *groups = accounting == NULL ? NULL : json_get(accounting, "groups");
    int found = 0;
    for (int64_t i = 0; groups != NULL && i < json_count(groups); i++) {
        enum group g;
        const struct json *one = json_item(groups, i);
        const char *name = one == NULL ? NULL : json_text(json_get(one, "name"));
        if (name == NULL || !group_from_name(name, &g))
            continue;
        if (!read_group(&sum[g], number_in_account, one))
            return false;
        found++;
    }
    return found > 0;
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

static double median_time(const struct metrics_log *m)
{
    int64_t n = 0;
    double *v = mem_alloc(m->rows + 1, sizeof *v), median = NAN;
    for (int64_t i = 0; i < m->rows; i++) {
        v[n] = metrics_log_value(m, i, "t_iteration_s");
        n += isfinite(v[n]);
    }
    summary_sort(v, n);
    if (n > 0)
        median = summary_quantile(v, n, 0.5);
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
                good = read_group(&s->at[s->n][g], number_in_log,
                                  &(struct in_log){&m, i, g}) &&
                       good;
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

/* Statuses and components of an iteration. */
#include "pipeline/record_scores.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/metric/summary.h"
#include "stages/mixing.h"
#include "stages/reward/scorer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static int put_statuses(const struct task *t, struct shard *in, struct json_out *o)
{
    int64_t by[REWARD_NOT_ASKED + 1] = {0};
    uint8_t *status = shard_get(in, "status", COLUMN_U8, 1, (int64_t[]){t->samples}, NULL);
    if (status == NULL)
        return -1;
    for (int64_t i = 0; i < t->samples; i++)
        by[status[i] <= REWARD_NOT_ASKED ? status[i] : REWARD_FAILED]++;
    json_out_map(o, "status");
    for (int k = 0; k <= REWARD_NOT_ASKED; k++)
        if (by[k] > 0)
            json_out_i64(o, reward_status_name((enum reward_status)k), by[k]);
    json_out_end(o);
    mem_free(status);
    return 0;
}

static int put_component(const struct task *t, struct shard *in, const char *name,
                         struct json_out *o)
{
    char column[48];
    int64_t n = 0;
    snprintf(column, sizeof column, "component_%s", name);
    double *v = shard_get(in, column, COLUMN_F64, 1, (int64_t[]){t->samples}, NULL);
    if (v == NULL)
        return -1;
    for (int64_t i = 0; i < t->samples; i++)
        if (isfinite(v[i]))
            v[n++] = v[i];
    const struct summary s = summary_of(v, n);
    json_out_map(o, name);
    json_out_f64(o, "mean", s.mean);
    json_out_f64(o, "std", s.std);
    json_out_i64(o, "scored", n);
    json_out_end(o);
    mem_free(v);
    return 0;
}

void record_scores(const struct task *t, int64_t iteration, struct json_out *o)
{
    char rel[96], path[4096];
    const int64_t parts = mixing_parts(t);
    if (!file_exists(task_path(t, rundir_advantage(rel, iteration), path)))
        return;
    struct shard *in = shard_open(path, SHARD_ADVANTAGE);
    int rc = in == NULL ? -1 : put_statuses(t, in, o);
    if (rc == 0 && parts > 0) {
        json_out_map(o, "components");
        for (int64_t k = 0; k < parts && rc == 0; k++)
            rc = put_component(t, in, scorer_part(t->reward_ctx, k)->name, o);
        json_out_end(o);
    }
    if (rc != 0) {
        log_warn("metrics.jsonl, iteration %lld: %s", (long long)iteration, err_text());
        err_clear();
    }
    shard_close(in);
}

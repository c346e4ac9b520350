/* Statuses and components of an iteration. */
#include "pipeline/run/record_scores.h"

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

/* "reward_identity" and "guard_identity"; "" where there is nothing to say. */
static const char *identity(const struct task *t, bool guard, char hex[DIGEST_HEX])
{
    const void *ctx = guard ? t->guard_ctx : t->reward_ctx;
    hex[0] = '\0';
    if (ctx != NULL)
        scorer_identity(ctx, hex);
    return guard ? "guard_identity" : "reward_identity";
}

void record_scorers(const struct task *t, struct json_out *o)
{
    char hex[DIGEST_HEX];
    for (int guard = 0; guard < 2; guard++) {
        const char *key = identity(t, guard, hex);
        if (hex[0] != '\0')
            json_out_text(o, key, hex);
    }
}

void record_compare_scorers(const struct task *t)
{
    enum { PROVENANCE_BYTES = 1 << 24 };
    char path[4096], hex[DIGEST_HEX];
    task_path(t, "provenance.json", path);
    struct json *last = file_exists(path) ? json_read(path, PROVENANCE_BYTES) : NULL;
    for (int guard = 0; guard < 2 && last != NULL && !t->replay; guard++) {
        const char *key = identity(t, guard, hex);
        const char *before = json_text(json_get(last, key));
        if (before != NULL && strcmp(before, hex) != 0)
            log_warn("%s is not what it was when this run was last at work (address, "
                     "question, command, plug-in, or the content of a file that these name): "
                     "what is scored from here on may differ; log/sessions.jsonl has both "
                     "digests (%s)",
                     guard ? "reward.guard" : "the reward", key);
    }
    err_clear(); /* an unreadable one is written anew */
    json_free(last);
}

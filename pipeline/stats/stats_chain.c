/* The chains of a rollout shard, step by step. */
#include "pipeline/stats/stats_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <string.h>

enum { BLOCK_VALUES = 1 << 18 };

/* Columns [sample, step] that a rollout may have. */
enum { LOG_PROB, LOG_PROB_FIRST, KL, CHAIN };
static const char *const names[] = {"log_prob", "log_prob_reference", "kl_reference"};

static int read_steps(struct stats *s, struct shard *rollout, int64_t steps)
{
    if (s->step != NULL)
        return s->steps == steps
                   ? 0
                   : err_set(ERR_INPUT,
                             "iterations of %lld and of %lld steps have no "
                             "common statistics; choose with --iterations",
                             (long long)s->steps, (long long)steps);
    int64_t *t = shard_get(rollout, "t", COLUMN_I64, 1, &steps, NULL);
    uint8_t *live = shard_get(rollout, "mask", COLUMN_U8, 1, &steps, NULL);
    int rc = t == NULL || live == NULL ? -1 : 0;
    if (rc == 0) {
        s->step = mem_alloc(steps, sizeof *s->step);
        s->steps = steps;
    }
    for (int64_t k = 0; k < steps && rc == 0; k++) {
        s->step[k].t = t[k];
        s->step[k].live = live[k];
    }
    mem_free(t);
    mem_free(live);
    return rc;
}

/* One chain: value[CHAIN][steps], those that are stored; other[steps] or NULL. */
static void take_chain(struct stats *s, struct stats_iteration *it,
                       double *const value[CHAIN], const double *other, double reward)
{
    double first = 0, own = 0, path = 0;
    for (int64_t k = 0; k < s->steps; k++) {
        struct stats_step *step = &s->step[k];
        if (!step->live)
            continue;
        moments_add(&step->log_prob, value[LOG_PROB][k]);
        if (value[KL] != NULL) {
            moments_add(&step->kl, value[KL][k]);
            path += value[KL][k];
        }
        if (value[LOG_PROB_FIRST] != NULL) {
            double ratio = value[LOG_PROB_FIRST][k] - value[LOG_PROB][k];
            moments_add(&step->log_ratio, ratio);
            first += ratio;
            weights_add(&step->first, first, reward);
        }
        if (other != NULL) {
            own += other[k] - value[LOG_PROB][k];
            weights_add(&step->other, own, reward);
        }
    }
    if (value[KL] != NULL)
        moments_add(&it->kl_path, path);
    if (value[LOG_PROB_FIRST] != NULL)
        weights_add(&it->first, first, reward);
}

static int read_chains(struct stats *s, struct stats_iteration *it,
                       const struct stats_rows *rows, struct shard *rollout,
                       struct stats_policy *other)
{
    enum column_type type;
    int nd, rc = 0;
    int64_t dim[SHARD_MAX_ND], most;
    double *value[CHAIN] = {NULL}, *own = NULL;
    if (!shard_has(rollout, names[LOG_PROB], &type, &nd, dim) || nd != 2 || dim[1] < 1)
        return 0;
    if (dim[0] != rows->n || dim[1] > STATS_STEPS)
        return err_set(
            ERR_INPUT,
            "rollout of iteration %lld, shard %lld: log_prob has %lld rows of %lld "
            "steps, its rewards %lld rows",
            (long long)rows->iteration, (long long)rows->shard, (long long)dim[0],
            (long long)dim[1], (long long)rows->n);
    if (read_steps(s, rollout, dim[1]) != 0)
        return -1;
    most = BLOCK_VALUES / s->steps < rows->n ? BLOCK_VALUES / s->steps : rows->n;
    for (int k = 0; k < CHAIN; k++)
        if (shard_has(rollout, names[k], &type, &nd, dim) && type == COLUMN_F64 &&
            nd == 2 && dim[0] == rows->n && dim[1] == s->steps)
            value[k] = mem_alloc(most * s->steps, sizeof **value);
    if (value[LOG_PROB] == NULL)
        rc = err_set(ERR_INPUT,
                     "rollout of iteration %lld, shard %lld: log_prob is no f64",
                     (long long)rows->iteration, (long long)rows->shard);
    if (other != NULL)
        own = mem_alloc(most * s->steps, sizeof *own);
    for (int64_t at = 0; at < rows->n && rc == 0; at += most) {
        int64_t n = rows->n - at < most ? rows->n - at : most;
        for (int k = 0; k < CHAIN && rc == 0; k++)
            if (value[k] != NULL)
                rc = shard_get_rows(rollout, names[k], COLUMN_F64, at, n, value[k]);
        if (rc == 0 && own != NULL)
            rc = stats_policy_log_prob(other, rollout, at, n, own);
        for (int64_t i = 0; i < n && rc == 0; i++) {
            double *chain[CHAIN];
            for (int k = 0; k < CHAIN; k++)
                chain[k] = value[k] == NULL ? NULL : value[k] + i * s->steps;
            take_chain(s, it, chain, own == NULL ? NULL : own + i * s->steps,
                       rows->reward[at + i]);
        }
    }
    for (int k = 0; k < CHAIN; k++)
        mem_free(value[k]);
    mem_free(own);
    return rc;
}

int stats_chain_read(struct stats *s, struct stats_iteration *it,
                     struct stats_rows *rows, struct shard *rollout,
                     struct stats_policy *other)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND], n;
    int64_t *id = shard_get(rollout, "prompt_id", COLUMN_I64, 1, &rows->n, NULL);
    if (id == NULL)
        return -1;
    memcpy(rows->prompt_id, id, (size_t)rows->n * sizeof *id);
    mem_free(id);
    if (shard_has(rollout, "prompt", &type, &nd, dim) && type == COLUMN_TEXT &&
        nd == 1 && dim[0] == rows->n) {
        rows->prompt = shard_get_text(rollout, "prompt", &n, &rows->prompt_len);
        if (rows->prompt == NULL)
            return -1;
    }
    return read_chains(s, it, rows, rollout, other);
}

/* Inside of stats: stats_read.c walks over the files, stats_chain.c reads rollouts,
 * stats_apart.c compares samples, stats_watch.c looks over the iterations. */
#ifndef SLUICE_PIPELINE_STATS_INTERNAL_H
#define SLUICE_PIPELINE_STATS_INTERNAL_H

#include "io/coding.h"
#include "io/shard.h"
#include "pipeline/stats/stats.h"

struct stats_policy;

/* Rows of one reward shard and what its rollout says of them. Arrays are [n]. */
struct stats_rows {
    int64_t iteration, shard, n;
    double *reward, *guard; /* guard: NULL where there is none */
    uint8_t *status;
    int64_t *index, *prompt_id;
    char *prompt; /* texts at a stride of prompt_len, or NULL */
    int64_t prompt_len;
};

/* Takes one rollout shard: prompts into rows, and where the chain is stored its steps,
 * in blocks, into s and it. 0, or -1 with ERR_INPUT. */
int stats_chain_read(struct stats *s, struct stats_iteration *it,
                     struct stats_rows *rows, struct shard *rollout,
                     struct stats_policy *other);

/* Diversity and distances of the first and the last iteration's samples, at most so
 * many of each as a plain comparison of all pairs can take. ERR_INPUT, ERR_USAGE. */
int stats_apart(const struct stats_options *o, struct stats *s);
/* Texts of the best and the worst samples, where samples are texts. */
int stats_decode(const struct stats_options *o, struct stats *s);

/* Fills watch, slopes and verdict. */
void stats_watch(struct stats *s);

/* Another policy's log-densities of stored transitions. open: ERR_USAGE, ERR_INPUT;
 * which is a version of the run or a policy file. log_prob[n, steps] of the rows
 * [first, first + n) of a rollout shard; 0 where a step has no density. */
struct stats_policy *stats_policy_open(const char *dir, const char *which);
int stats_policy_log_prob(struct stats_policy *p, struct shard *rollout, int64_t first,
                          int64_t n, double *log_prob);
void stats_policy_close(struct stats_policy *p);

#endif

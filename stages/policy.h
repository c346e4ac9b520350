/* Policy files: everything that a run needs to go on from one version: weights, optimizer
 * moments, EMA, counters, metrics of the iteration that made it, and the network's and
 * the scheduler's configuration (so a policy file is self-contained). io/FORMAT.md lists
 * the columns. */
#ifndef SLUICE_STAGES_POLICY_H
#define SLUICE_STAGES_POLICY_H

#include "io/shard.h"
#include "stages/task.h"

enum policy_vector {
    POLICY_WEIGHTS,
    POLICY_ADAM_M,
    POLICY_ADAM_V,
    POLICY_EMA,
    POLICY_ANCHOR, /* the average that algorithm.reference=ema compares with; may be absent */
    POLICY_VECTORS
};

/* What is written. Vectors have param_total values; adam_m and adam_v may be NULL (zero),
 * ema NULL means "no EMA kept": the weights stand in for it; anchor NULL: it is not
 * written, and reading it gives the weights. */
struct policy_content {
    const float *vector[POLICY_VECTORS]; /* by enum policy_vector */
    struct policy_counters counters;
    double metric[METRICS]; /* NaN where not known (version 0) */
    struct shard_parent *parent;
    int64_t parents;
};

/* Seals policy/vNNNNNN.h5 (number content->counters.version) in t->dir; digest (may be
 * NULL) receives its content digest. */
int policy_write(const struct task *t, const struct policy_content *content,
                 char digest[DIGEST_HEX]);

struct policy;

/* NULL: ERR_INPUT naming the file. */
struct policy *policy_open(const char *path);
void policy_close(struct policy *p);
/* Reads a vector into the model's values (and touches them). */
int policy_weights(struct policy *p, struct model *m, enum policy_vector which);
/* Reads values [first, first + count) of a vector. */
int policy_slice(struct policy *p, enum policy_vector which, int64_t first, int64_t count,
                 float *out);
int policy_counters(struct policy *p, struct policy_counters *out);
int policy_metrics(struct policy *p, double metric[METRICS]);
const char *policy_content_digest(const struct policy *p);
const struct shard_head *policy_head(const struct policy *p);
/* A network with the file's configuration and its weights (or EMA). NULL on error. */
struct model *policy_model(struct policy *p, enum policy_vector which, bool with_grad);
/* The scheduler's JSON text; freed with mem_free. NULL on error. */
char *policy_scheduler(struct policy *p);

#endif

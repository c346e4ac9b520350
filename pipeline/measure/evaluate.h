/* Drawing or reading samples and measuring them, by all ranks of a job with the bits of
 * one: samples come from the rollout stage itself, shard by shard, in a scratch folder of
 * each rank. */
#ifndef SLUICE_PIPELINE_EVALUATE_H
#define SLUICE_PIPELINE_EVALUATE_H

#include "io/config.h"
#include "io/dataset.h"
#include "io/json.h"
#include "pipeline/scratch.h"
#include "stages/task.h"

/* What is asked for. Texts "" and NULL: not given. */
struct evaluate_options {
    const char *source; /* model folder, policy file, run directory or FILE.npy */
    struct config *config; /* of the run; changed on the way */
    int64_t n, version;    /* version: of a run directory; -1 newest */
    bool ema;
    const char *rewards;               /* names with commas between; NULL: the config's */
    const char *reference, *training;  /* data files */
    int64_t reference_rows[2], training_rows[2]; /* [first, last); last -1: to the end */
    double near; /* distance below which a sample is as good as a training sample */
};

struct evaluate_set { /* samples that all ranks have */
    int64_t n, channels, height, width, d;
    float *x;       /* [n, d], the network's numbers */
    int64_t *label; /* [n] */
    double *kl;     /* [n] path KL to policy 0 in nats; NULL: not known */
    double *cost;   /* [n] how far a search went in nats; NULL: there was none */
    struct coding coding;
    bool labelled;
};

struct evaluation {
    struct evaluate_options o;
    struct comm comm;
    struct task task; /* of the network; zero for given samples */
    struct scratch scratch;
    struct evaluate_set set;
    double leave; /* worker_leave */
    int64_t version; /* of the policy, -1: of none */
};

/* Fills e->set. Collective on e->comm. */
int evaluate_draw(struct evaluation *e);
int evaluate_read(struct evaluation *e);

/* Measures e->set; the numbers go into out on rank 0, where it is not NULL. A measure
 * that does not apply is left out. Collective on e->comm. */
int evaluate_measure(struct evaluation *e, struct json_out *out);

void evaluate_close(struct evaluation *e);

#endif

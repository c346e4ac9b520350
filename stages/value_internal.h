/* Inside of the estimate of values: value.c has the steps' densities, the method and
 * the columns of the file, value_learn.c how values are learned from states. */
#ifndef SLUICE_STAGES_VALUE_INTERNAL_H
#define SLUICE_STAGES_VALUE_INTERNAL_H

#include "io/shard.h"
#include "stages/value.h"
#include "stages/value_fit.h"
#include "stages/value_net.h"

struct value {
    struct task *t;
    const struct comm *c;
    int64_t iteration;
    struct algo_steps s;
    const struct value_samples *samples;
    double *number; /* [6, samples, steps]: the arrays of s */
    uint8_t *live;  /* [steps] */
    struct value_features *features;
    struct value_fit *fit; /* NULL: no regression */
    struct value_net *net; /* NULL: no network */
    float *x;              /* [steps + 1, d] states of a sample */
    double explained;
};

/* Shards [first, last) are read by a rank. */
void value_share(const struct value *v, int64_t rank, int64_t *first, int64_t *last);

/* Everyone gets array `which` of v->number, of which each rank has its shards' rows. 0
 * or -1. Collective. */
int value_gather(struct value *v, int which);

/* Fill the values of v->s from its targets; v->features are there. The regression
 * leaves a sample's part of the samples out; a network predicts before it is trained on
 * the iteration. 0, or -1 with the error of all ranks. Collective. */
int value_learn_ridge(struct value *v);
int value_learn_net(struct value *v);

#endif

/* A small network as value function: features of the state (stages/value_features.h) and
 * of the step -> hidden -> hidden -> 1, with SiLU. It predicts the iteration's values as
 * the previous iterations' samples trained it, and is trained on the iteration's own
 * afterwards; so no value knows what its own sample led to. */
#ifndef SLUICE_STAGES_VALUE_NET_H
#define SLUICE_STAGES_VALUE_NET_H

#include "io/shard.h"
#include "io/sys/comm.h"
#include "stages/value_features.h"

struct value_net;

/* Fresh: all values are 0. f, t and c are borrowed. Collective on c. */
struct value_net *value_net_create(struct task *t, const struct comm *c,
                                   const struct value_features *f);
void value_net_destroy(struct value_net *v);

/* Takes the state from an advantage file that has one of the same size, else stays fresh;
 * `in` NULL: not on this rank (rank 0 reads). 0 or -1. Collective on c. */
int value_net_load(struct value_net *v, struct shard *in);
/* Puts the state; to be called on rank 0 after value_net_collect. */
int value_net_put(const struct value_net *v, struct shard_writer *w);
/* Brings the sharded state together. Collective on c. */
int value_net_collect(struct value_net *v);

/* value[steps] of a sample whose states have the features z[steps, base]. 0 or -1. */
int value_net_at(struct value_net *v, const double *z, double *value);

/* The scale of the targets, which a fresh network takes over: mean and deviation. */
void value_net_scale(struct value_net *v, double mean, double deviation);

/* One optimizer step on the mean squared error of n samples' live steps. fill(ctx, k)
 * gives the features and targets of sample k. 0 or -1. Collective on c. */
struct value_lesson {
    const double *z, *y;  /* [steps, base], [steps] */
    const uint8_t *live;  /* [steps] */
};
typedef int (*value_lesson_f)(void *ctx, int64_t k, struct value_lesson *l);
int value_net_train(struct value_net *v, int64_t n, value_lesson_f fill, void *ctx);

#endif

/* Data-parallel optimizer steps whose bits do not depend on the number of ranks: the
 * update stage and pretraining stand on it. Optimizer state is sharded by slices of the
 * flat parameter vector. */
#ifndef SLUICE_STAGES_TRAINER_H
#define SLUICE_STAGES_TRAINER_H

#include "io/sys/comm.h"
#include "stages/nn/optim.h"
#include "stages/nn/param.h"

#include <stdbool.h>

struct trainer;

/* Adds the gradient of micro-batch `leaf` to the parameters' gradients (they are zero on
 * entry). 0 or -1. */
typedef int (*trainer_leaf_f)(void *ctx, int64_t leaf);

/* params and c are borrowed. ema: whether an average is kept. Collective on c. */
struct trainer *trainer_create(const struct comm *c, struct param_set *params, bool ema);
void trainer_destroy(struct trainer *t);

/* This rank's slice of the flat vector and its state arrays (ema NULL without one), for
 * loading. */
void trainer_slice(const struct trainer *t, int64_t *at, int64_t *len);
float *trainer_m(struct trainer *t);
float *trainer_v(struct trainer *t);
float *trainer_ema(struct trainer *t);

/* Tells the trainer how many micro-batches the next step has; returns this rank's.
 * Collective on c. */
void trainer_plan(struct trainer *t, int64_t leaves, int64_t *first, int64_t *number);

/* The learning rate of the parameters from flat offset `at` on is times that of the others
 * in trainer_options. */
void trainer_tail_rate(struct trainer *t, int64_t at, double times);

/* One step over the planned micro-batches: gradients, canonical sum, global norm, clip,
 * AdamW number `step` (from 1), spread of the new weights, EMA with `ema_decay`.
 * *grad_norm receives the norm before clipping; ERR_NUMERIC when it, the new weights or
 * their moments are not finite (the parameters are then unchanged). Collective on c; all
 * ranks return the same code. */
struct trainer_options {
    struct adamw adamw;
    double max_grad_norm, ema_decay;
};
int trainer_step(struct trainer *t, const struct trainer_options *o, int64_t step,
                 trainer_leaf_f leaf, void *ctx, double *grad_norm);

/* The same without an optimizer: whole[param_total] receives the gradient, of which
 * *grad_norm is the norm; ERR_NUMERIC where it is not finite. Collective on c; all ranks
 * get the same bits and return the same code. */
int trainer_gradient(struct trainer *t, trainer_leaf_f leaf, void *ctx, float *whole,
                     double *grad_norm);

/* The network's values were changed by all ranks alike: EMA with `ema_decay`. ERR_NUMERIC
 * where they are not finite. Not collective. */
int trainer_changed(struct trainer *t, double ema_decay);

/* Seconds of this rank's steps since the last call: sums, reduction, AdamW and spread; and
 * waiting for the group's slowest rank. */
void trainer_times(struct trainer *t, double *optimizer_s, double *waiting_s);

/* Room for `arrays` whole state arrays, [arrays, param_total]; it stays the trainer's, so that
 * no iteration looks for it in the heap anew. */
float *trainer_room(struct trainer *t, int64_t arrays);
/* whole[param_total] <- everyone's slices of a state array. Collective on c. */
int trainer_whole(struct trainer *t, const float *slice, float *whole);

#endif

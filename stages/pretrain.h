/* Denoising pretraining: minimise the mean squared error of the network's prediction on
 * noised data (Ho et al. 2020, equation 14), data-parallel and with bits that do not
 * depend on the number of ranks. */
#ifndef SLUICE_STAGES_PRETRAIN_H
#define SLUICE_STAGES_PRETRAIN_H

#include "io/dataset.h"
#include "stages/task.h"
#include "stages/trainer.h"

struct pretrain_options {
    int64_t batch;    /* items per optimizer step */
    int64_t warmup;   /* steps of linear warm-up */
    int64_t steps;    /* total; the rate falls to 0 along a cosine over them */
    struct trainer_options trainer;
    double ema_decay;
    bool flip;        /* random horizontal flips */
    double label_dropout; /* probability of "no class" in place of a label */
};

/* Optimizer step number `step` (from 1) of t->model on data d; *loss and *norm receive its
 * mean loss and gradient norm. The network must fit the data (checked by the caller).
 * Collective on c. */
int pretrain_step(struct task *t, const struct comm *c, const struct dataset *d,
                  const struct pretrain_options *o, int64_t step, double *loss,
                  double *norm);

/* Sizes, channels and labels of data, and label_dropout, against a network. ERR_USAGE. */
int pretrain_check(const struct model *m, const struct dataset *d,
                   const struct pretrain_options *o);

#endif

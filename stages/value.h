/* The part of the advantage stage for methods whose signal differs from step to step: it
 * gathers the steps' densities, estimates the value of every state, lets the method make
 * its advantages, and seals all that with the advantage file. Of states only one shard per
 * rank is in memory. */
#ifndef SLUICE_STAGES_VALUE_H
#define SLUICE_STAGES_VALUE_H

#include "stages/task.h"

struct value;

/* What the advantage stage knows of the iteration's samples, [samples]; borrowed. */
struct value_samples {
    const double *reward;
    const char *const *prompt;
    const uint8_t *usable;
    const int64_t *label;
};

/* advantage[samples] receives the mean of each sample's advantages over its live steps.
 * NULL: ERR_INPUT, ERR_NUMERIC, on all ranks. Collective on c. */
struct value *value_estimate(struct task *t, const struct comm *c, int64_t iteration,
                             const struct value_samples *s, double *advantage);
void value_destroy(struct value *v);

/* Puts the columns of the advantage file (io/FORMAT.md). */
int value_put(const struct value *v, struct shard_writer *w);

#endif

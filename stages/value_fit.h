/* Ridge regression of what followed each state of the chain on its features, with
 * cross-fitting: samples are dealt out to folds by their number, and a fold's values come
 * from the other folds' data (and the previous iterations'), so no value knows what its
 * own sample led to. */
#ifndef SLUICE_STAGES_VALUE_FIT_H
#define SLUICE_STAGES_VALUE_FIT_H

#include "io/sys/comm.h"
#include "stages/value_features.h"

struct value_fit;

/* f is borrowed. */
struct value_fit *value_fit_create(const struct task *t, const struct value_features *f);
void value_fit_destroy(struct value_fit *v);

/* The sums that a fit consists of, in one array: what the next iteration starts from. */
double *value_fit_memory(struct value_fit *v, int64_t *n);

/* Rows of one sample: features z[steps, base], targets y[steps]; live[steps] steps enter.
 * Samples come in order of their numbers. This rank adds its part alone (an equal share of
 * the products), so each rank is given all samples. */
struct value_rows {
    int64_t sample;
    const double *z, *y;
    const uint8_t *live;
};
void value_fit_add(struct value_fit *v, const struct comm *c, const struct value_rows *r);

/* Coefficients of all folds from what was added and from the memory, which becomes the
 * next iteration's. ERR_NUMERIC: the features are not finite. Collective on c. */
int value_fit_solve(struct value_fit *v, const struct comm *c);

/* The value of a state with features z[base] at a step of a sample. */
double value_fit_at(const struct value_fit *v, int64_t sample, int64_t step,
                    const double *z);

/* The penalty used. */
double value_fit_penalty(const struct value_fit *v);

#endif

/* Features of a state x of the chain and its class, for linear value functions:
 *
 *     1, linear part, (mean x_j^2 - 1) sqrt(d / 2), one-hot class, cosines
 *
 * The linear part is x / sqrt(d), or random projections where d is larger than
 * value.linear; the cosines are sqrt(2 / m) cos(w x + b) with w ~ N(0, I / d), b uniform
 * (Rahimi & Recht 2007). A coefficient depends on the step by linear interpolation
 * between value.knots points along the chain. */
#ifndef SLUICE_STAGES_VALUE_FEATURES_H
#define SLUICE_STAGES_VALUE_FEATURES_H

#include "stages/task.h"

/* One-hot classes are left out where there are more. */
enum { VALUE_CLASSES_MAX = 64 };

struct value_features;

struct value_features *value_features_create(const struct task *t);
void value_features_destroy(struct value_features *f);

/* Features of one state without the step; number of coefficients, that times the knots. */
int64_t value_features_base(const struct value_features *f);
int64_t value_features_knots(const struct value_features *f);

/* out[base] for the state x[d]. out[0] is 1. */
void value_features_of(const struct value_features *f, const float *x, int64_t label,
                       double *out);

/* The knot before a step (of at least one after it, unless there is only one), and the
 * weight of the next one. */
void value_features_step(const struct value_features *f, int64_t step, int64_t *knot,
                         double *next);

#endif

/* What the kernels of attention share: softmax by rows in float32, the place of a head,
 * and how many queries are worked off at a time. */
#ifndef SLUICE_STAGES_NN_ATTENTION_H
#define SLUICE_STAGES_NN_ATTENTION_H

#include "stages/nn/kernels.h"

/* Rows of queries at a time: all of a short sequence, else few enough to stay in cache.
 */
int64_t attention_block(int64_t t);

/* 1 / sqrt(channels of a head) */
float attention_scale(const struct attention_args *a);

/* Index of the first value of item and head i, i = item * heads + head. */
int64_t attention_head(const struct attention_args *a, int64_t i);

/* s [rows, t] = exp(scale * (s - max s)) in place, by rows; factor[i] = 1 / the sum of
 * row i. */
void attention_exp(int64_t rows, int64_t t, float scale, float *s, float *factor);

/* p [rows, n], row i times factor[i]. */
void attention_scale_rows(int64_t rows, int64_t n, const float *factor, float *p);

/* ds [rows, t] = scale * p * (ds - sum(p ds)), by rows. */
void attention_softmax_dx(int64_t rows, int64_t t, float scale, const float *p,
                          float *ds);

/* from [rows, c / heads] -> the head's columns of to [.., c] from value `at` on, or
 * added to them; to may be NULL. */
void attention_put(const struct attention_args *a, int64_t rows, const float *from,
                   void *to, int64_t at, bool add);

#endif

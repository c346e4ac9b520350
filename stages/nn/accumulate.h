/* Element-wise sums and conversions of activations. */
#ifndef SLUICE_STAGES_NN_ACCUMULATE_H
#define SLUICE_STAGES_NN_ACCUMULATE_H

#include "stages/nn/tensor.h"

/* y = x, or y += x; n values. */
void accumulate(int64_t n, enum dtype type, const void *x, void *y, bool add);

/* y = scale * x, or y += scale * x. */
void accumulate_scaled(int64_t n, enum dtype type, float scale, const void *x, void *y,
                       bool add);

/* y = (a + b) * scale. */
void accumulate_sum(int64_t n, enum dtype type, const void *a, const void *b,
                    float scale, void *y);

/* sums[i * c + j] = sum over r of x[(i * rows + r) * c + j]: float over 16 rows, double
 * across them. */
void accumulate_columns(int64_t items, int64_t rows, int64_t c, enum dtype type,
                        const void *x, double *sums);

/* y = x in the other dtype; to bfloat16 by rounding to nearest even, or y = round(y +
 * x) where add. */
void convert_to_f32(int64_t n, const bf16 *x, float *y);
void convert_to_bf16(int64_t n, const float *x, bf16 *y, bool add);

/* A copy of a float32 tensor with bfloat16's precision. */
const float *weight_rounded(const struct tensor *w, struct arena *scratch);

#endif

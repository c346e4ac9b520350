/* Single-precision matrix product of one thread. Each element of the result is a chain of
 * fused multiply-adds over k, cut into blocks of a fixed length, wherever it stands: it
 * depends on its row of a, its column of b and k alone, bit for bit. */
#ifndef SLUICE_STAGES_NN_SGEMM_H
#define SLUICE_STAGES_NN_SGEMM_H

#include <stdbool.h>
#include <stdint.h>

#define SGEMM_K 256
#define SGEMM_M 96
#define SGEMM_N 256

/* Floats of working memory per thread, 64-byte aligned. */
#define SGEMM_WORK (SGEMM_K * (SGEMM_M + SGEMM_N))

/* Element (i, j) is at[i * row + j * column]. */
struct matrix {
    const float *at;
    int64_t row, column;
};

struct extent {
    int64_t m, n, k;
};

/* c[i * stride + j] = a b, or += where add; a [m, k], b [k, n]. */
void sgemm(struct extent e, struct matrix a, struct matrix b, float *c, int64_t stride,
           bool add, float *work);

#endif

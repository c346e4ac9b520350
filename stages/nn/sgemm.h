/* Single-precision matrix product of one thread. Each element of the result is a chain of
 * fused multiply-adds over k, cut into blocks of a fixed length, wherever it stands: it
 * depends on its row of a, its column of b and k alone, bit for bit. */
#ifndef SLUICE_STAGES_NN_SGEMM_H
#define SLUICE_STAGES_NN_SGEMM_H

#include "stages/nn/tensor.h"

#define SGEMM_K 256
#define SGEMM_M 96
#define SGEMM_N 256

/* Floats of working memory per thread, 64-byte aligned. */
#define SGEMM_WORK (SGEMM_K * (SGEMM_M + SGEMM_N))

/* Element (i, j) is at[i * row + j * column]; converted to float32 on the way. */
struct matrix {
    const void *at;
    int64_t row, column;
    enum dtype type;
};

struct extent {
    int64_t m, n, k;
};

/* c[i * stride + j] = a b, or += where add; a [m, k], b [k, n]. */
void sgemm(struct extent e, struct matrix a, struct matrix b, float *c, int64_t stride,
           bool add, float *work);

/* The same in two steps, for a b that is used more than once. sgemm_pack_size: floats of
 * a packed b. sgemm_pack writes columns [first, first + n) of it, first being a multiple
 * of SGEMM_N and n one or the rest, so that threads can share the work; e: of the whole
 * b. */
int64_t sgemm_pack_size(struct extent e);
void sgemm_pack(struct extent e, struct matrix b, int64_t first, int64_t n, float *to);

/* c = a b or += for e.m <= SGEMM_M rows and columns [first, first + e.n), first a multiple
 * of 32, of a packed b that has `columns` in all. c: the first of these columns. */
void sgemm_packed(struct extent e, struct matrix a, const float *packed, int64_t first,
                  int64_t columns, float *c, int64_t stride, bool add, float *work);

#endif

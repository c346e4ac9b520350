/* Matrix products of one thread by oneDNN, of dense matrices only: its fast kernels
 * take no others. One product's shape is one primitive, made once and kept by the
 * process; a row of the result has the same bits wherever products of one shape have
 * it. */
#ifndef SLUICE_STAGES_NN_ONEDNN_MATMUL_H
#define SLUICE_STAGES_NN_ONEDNN_MATMUL_H

#include "stages/nn/tensor.h"

/* How a matrix lies: row by row, column by column, or as onednn_matmul_pack left it. */
enum matmul_order { MATMUL_ROWS, MATMUL_COLUMNS, MATMUL_PACKED };

/* a [m, k] times b [k, n], both of one type, to float32 [m, n] by rows. */
struct matmul_shape {
    int64_t m, n, k;
    enum dtype type;
    enum matmul_order a, b; /* a is never packed */
};

struct onednn_matmul;

/* Borrowed, for the life of the process. From one thread, outside of parallel regions.
 */
struct onednn_matmul *onednn_matmul_find(struct matmul_shape s);

/* Destroys all products. */
void onednn_matmul_clear(void);

/* Bytes of working memory that a run needs; a multiple of 64. */
int64_t onednn_matmul_scratch(const struct onednn_matmul *m);

/* c = a b, or += where add; on the calling thread, one of a parallel region's unless
 * the process has one only. scratch: 64-byte aligned. */
void onednn_matmul_run(const struct onednn_matmul *m, const void *a, const void *b,
                       float *c, bool add, void *scratch);

/* Bytes of a packed b, a multiple of 64; and b packed from float32, element (i, j) at
 * b[i * row + j * column], rounded to the type. Outside of parallel regions. */
int64_t onednn_matmul_packed(const struct onednn_matmul *m);
void onednn_matmul_pack(struct onednn_matmul *m, const float *b, int64_t row,
                        int64_t column, void *to);

#endif

/* The way of a product's tile from float32 in the cache to activations. */
#ifndef SLUICE_STAGES_NN_EPILOGUE_H
#define SLUICE_STAGES_NN_EPILOGUE_H

#include "stages/nn/vec.h"

struct epilogue {
    int64_t columns; /* of the result */
    enum dtype type;
    const float *bias;    /* [columns] or NULL */
    const void *residual; /* as y, or NULL; may be y */
    void *y;              /* [rows, columns] */
};

static ALWAYS_INLINE void epilogue_typed(const struct epilogue *q, enum dtype type,
                                         int64_t at, const float *bias,
                                         const float *sum, int64_t n)
{
    for (int64_t j = 0; j < n; j += LANES) {
        vec v = vec_load(sum + j, n - j);
        if (bias != NULL)
            v += vec_load(bias + j, n - j);
        if (q->residual != NULL)
            v += act_load(type, q->residual, at + j, n - j);
        act_store(type, q->y, at + j, n - j, v);
    }
}

/* n values of row i from column j on: y = sum + bias + residual, rounded once. */
static inline void epilogue_row(const struct epilogue *q, int64_t i, int64_t j,
                                const float *sum, int64_t n)
{
    const int64_t at = i * q->columns + j;
    const float *bias = q->bias != NULL ? q->bias + j : NULL;
    if (q->type == DTYPE_BF16)
        epilogue_typed(q, DTYPE_BF16, at, bias, sum, n);
    else
        epilogue_typed(q, DTYPE_F32, at, bias, sum, n);
}

#endif

/* Operations by oneDNN's matrix product of bfloat16 matrices, for processors that have
 * one; float32 arguments go the same way. As in struct backend. */
#ifndef SLUICE_STAGES_NN_NATIVE_H
#define SLUICE_STAGES_NN_NATIVE_H

#include "stages/nn/kernels.h"

/* Few rows per item are left to fast_linear. */
void native_linear(const struct linear_args *a);
void native_linear_dx(const struct linear_args *a);
void native_linear_dw(const struct linear_args *a);
/* 3 x 3 with stride 1; everything else is left to onednn_conv_dw. */
void native_conv_dw(const struct conv_args *a);
void native_attention(const struct attention_args *a);
void native_attention_dx(const struct attention_args *a);

/* A length in `count` pieces of `size`, the last of which may be shorter: `rest`. */
struct cut {
    int64_t size, count, rest;
};

/* Pieces of at most `most`, even as far as multiples of 32 (a tile of the product's
 * instructions) allow. */
static inline struct cut cut_even(int64_t length, int64_t most)
{
    struct cut c = {.size = length, .count = 1, .rest = length};
    if (length <= most)
        return c;
    c.count = (length + most - 1) / most;
    c.size = ((length + c.count - 1) / c.count + 31) / 32 * 32;
    c.count = (length + c.size - 1) / c.size;
    c.rest = length - (c.count - 1) * c.size;
    return c;
}

static inline int64_t cut_piece(struct cut c, int64_t i)
{
    return i + 1 < c.count ? c.size : c.rest;
}

#endif

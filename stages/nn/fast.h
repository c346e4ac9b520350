/* Our own vector loops, and which kernel does a convolution (fast_conv.c). Threads share
 * items, rows or columns, and every sum has an order that follows from the shapes
 * alone. */
#ifndef SLUICE_STAGES_NN_FAST_H
#define SLUICE_STAGES_NN_FAST_H

#include "stages/nn/kernels.h"

void fast_conv(const struct conv_args *a);
void fast_conv_dx(const struct conv_args *a);
void fast_conv_dw(const struct conv_args *a);
void emulated_conv(const struct conv_args *a);
void emulated_conv_dx(const struct conv_args *a);
void emulated_conv_dw(const struct conv_args *a);
void fast_linear(const struct linear_args *a);
void fast_linear_dx(const struct linear_args *a);
void fast_linear_dw(const struct linear_args *a);
void fast_norm(const struct norm_args *a);
void fast_norm_dx(const struct norm_args *a);
void fast_silu(int64_t n, enum dtype type, const void *x, void *y);
void fast_silu_dx(int64_t n, enum dtype type, const void *x, const void *dy, void *dx,
                  bool add);
void fast_attention(const struct attention_args *a);
void fast_attention_dx(const struct attention_args *a);

#endif

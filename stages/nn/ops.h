/* Differentiable operations on a tape. Shapes as in the comments; every function
 * returns a tensor of the tape, never NULL: a wrong shape is a bug of the caller and
 * aborts. */
#ifndef SLUICE_STAGES_NN_OPS_H
#define SLUICE_STAGES_NN_OPS_H

#include "stages/nn/param.h"
#include "stages/nn/tape.h"

/* One tensor, or two that stand for their concatenation along the channels without its
 * being made: [.., A] and [.., B] for [.., A + B]. second may be NULL. */
struct inputs {
    struct tensor *first, *second;
};
int64_t inputs_channels(struct inputs x);

/* What may be added to a convolution's result at no cost; each may be NULL. */
struct extras {
    struct tensor *shift;    /* [N, O], float32: over all pixels of an item */
    struct tensor *residual; /* [N, OH, OW, O] */
};

/* x [N, H, W, C], w [O, C, KH, KW], b [O] or NULL -> [N, OH, OW, O]. pad: top, bottom,
 * left, right zeros. */
struct conv_shape {
    int stride;
    int pad[4];
};
struct tensor *op_conv2d(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b, struct conv_shape s, struct extras e);

/* x [.., I], w [O, I] (or [O, I, 1, 1]), b [O] or NULL, residual [.., O] or NULL
 * -> [.., O]. */
struct tensor *op_linear(struct tape *t, struct inputs x, struct param *w,
                         struct param *b, struct tensor *residual);

/* x [N, H, W, C] or [N, T, C]; per item and group of channels mean 0, variance 1
 * (population variance, eps inside the root), then gamma * . + beta, then SiLU when
 * silu. (Wu & He 2018.) */
struct tensor *op_group_norm(struct tape *t, struct inputs x, struct param *gamma,
                             struct param *beta, int groups, float eps, bool silu);

struct tensor *op_silu(struct tape *t, struct tensor *x);

/* 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))). (Hendrycks & Gimpel 2016.) */
struct tensor *op_gelu(struct tape *t, struct tensor *x);

/* Conditions of items: table [N, K C], float32, holds K chunks of C numbers per item.
 *
 * modulated_norm: x [N, .., C]; every row of C has mean 0 and variance 1 (population
 * variance, eps inside the root), then * (1 + scale[n]) + shift[n]: layer norm without
 * parameters of its own, as adaLN-Zero has it (Peebles & Xie 2023, section 3.2).
 * gate: x + gate[n] * h, shapes as x. */
struct modulate {
    int64_t shift, scale; /* numbers of chunks */
};
struct tensor *op_modulated_norm(struct tape *t, struct tensor *x, struct tensor *table,
                                 struct modulate at, float eps);
struct tensor *op_gate(struct tape *t, struct tensor *x, struct tensor *h,
                       struct tensor *table, int64_t gate);

/* x [N, ..] + table [..], the same for all items: learned positions of tokens. */
struct tensor *op_add_table(struct tape *t, struct tensor *x, struct param *table);

/* (a + b) / divisor, same shapes. */
struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b,
                      float divisor);

/* [.., A], [.., B] -> [.., A + B]; for what takes no struct inputs. */
struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b);

/* [N, H, W, C] -> [N, 2H, 2W, C], nearest neighbour. */
struct tensor *op_upsample2(struct tape *t, struct tensor *x);

/* softmax(q k' / sqrt(C / heads)) v per head; q, k, v [N, T, C] -> [N, T, C]; head h
 * owns channels [h C/heads, (h+1) C/heads). */
struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k,
                            struct tensor *v, int heads);

/* Rows of a table [K, C] by index (not differentiable in ids), ids[n] in [0, K) checked
 * by the caller -> [N, C]. */
struct tensor *op_embedding(struct tape *t, struct param *table, const int64_t *ids,
                            int64_t n);

/* scale * x + shift, float32. */
struct tensor *op_affine(struct tape *t, struct tensor *x, float scale, float shift);

/* Item i of x [N, ..]: scale[i] * x + shift[i], the same for all its elements. The
 * numbers are copied; no gradient goes to them. */
struct tensor *op_affine_items(struct tape *t, struct tensor *x, const float *scale,
                               const float *shift);

/* both [2 N, ..], float32: its first N items given a condition, the others without one
 * -> [N, ..]: without + weight * (given - without), classifier-free guidance (Ho &
 * Salimans 2022, with weight = 1 + w). */
struct tensor *op_guide(struct tape *t, struct tensor *both, float weight);

/* x + b[0] everywhere; b [1]. */
struct tensor *op_add_scalar(struct tape *t, struct tensor *x, struct param *b);

/* Layout and dtype at the border of the network: x [N, C, H, W] in float32, as in files
 * and shards, <-> [N, H, W, C] in the tape's dtype. */
struct tensor *op_to_channels_last(struct tape *t, struct tensor *x);
struct tensor *op_to_channels_first(struct tape *t, struct tensor *x);

/* The same values under another shape (no copy). */
struct tensor *op_view(struct tape *t, struct tensor *x, int nd, const int64_t *dim);

#endif

/* Differentiable operations on a tape. Shapes as in the comments; every function returns
 * a tensor of the tape, never NULL: a wrong shape is a bug of the caller and aborts. */
#ifndef SLUICE_STAGES_NN_OPS_H
#define SLUICE_STAGES_NN_OPS_H

#include "stages/nn/param.h"
#include "stages/nn/tape.h"

/* x [N, H, W, C], w [O, C, KH, KW], b [O] or NULL -> [N, OH, OW, O]. pad: top, bottom,
 * left, right zeros. */
struct conv_shape {
    int stride;
    int pad[4];
};
struct tensor *op_conv2d(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b, struct conv_shape s);

/* x [.., I], w [O, I], b [O] or NULL -> [.., O]. */
struct tensor *op_linear(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b);

/* x [N, H, W, C] or [N, T, C]; per item and group of channels mean 0, variance 1
 * (population variance, eps inside the root), then gamma * . + beta, then SiLU when silu.
 * (Wu & He 2018.) */
struct tensor *op_group_norm(struct tape *t, struct tensor *x, struct param *gamma,
                             struct param *beta, int groups, float eps, bool silu);

struct tensor *op_silu(struct tape *t, struct tensor *x);

/* (a + b) / divisor, same shapes. */
struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b, float divisor);

/* x [N, H, W, C] + e [N, C], broadcast over the picture. */
struct tensor *op_add_channels(struct tape *t, struct tensor *x, struct tensor *e);

/* [.., A], [.., B] -> [.., A + B]. */
struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b);

/* [N, H, W, C] -> [N, 2H, 2W, C], nearest neighbour. */
struct tensor *op_upsample2(struct tape *t, struct tensor *x);

/* softmax(q k' / sqrt(C / heads)) v per head; q, k, v [N, T, C] -> [N, T, C]; head h owns
 * channels [h C/heads, (h+1) C/heads). */
struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k,
                            struct tensor *v, int heads);

/* Rows of a table [K, C] by index (not differentiable in ids), ids[n] in [0, K) checked
 * by the caller -> [N, C]. */
struct tensor *op_embedding(struct tape *t, struct param *table, const int64_t *ids,
                            int64_t n);

/* scale * x + shift. */
struct tensor *op_affine(struct tape *t, struct tensor *x, float scale, float shift);

/* Item i of x [N, ..]: scale[i] * x + shift[i], the same for all its elements. The numbers
 * are copied; no gradient goes to them. */
struct tensor *op_affine_items(struct tape *t, struct tensor *x, const float *scale,
                               const float *shift);

/* x + b[0] everywhere; b [1]. */
struct tensor *op_add_scalar(struct tape *t, struct tensor *x, struct param *b);

/* Layout at the border of the network: x [N, C, H, W] as in files and shards <-> [N, H,
 * W, C]. */
struct tensor *op_to_channels_last(struct tape *t, struct tensor *x);
struct tensor *op_to_channels_first(struct tape *t, struct tensor *x);

/* The same values under another shape (no copy). */
struct tensor *op_view(struct tape *t, struct tensor *x, int nd, const int64_t *dim);

#endif

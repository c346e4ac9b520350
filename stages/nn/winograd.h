/* Convolution 3x3, stride 1, padding 1 by minimal filtering F(2x2, 3x3) (Lavin and Gray
 * 2016, section 4.1): y = A^T [(G g G^T) * (B^T d B)] A on tiles of 2x2 outputs, which
 * takes 2.25 times fewer products than the plain sum. Activations are channels last,
 * float32.
 *
 * Forward: each value of an item depends on that item alone, bit for bit, whatever the
 * batch and the number of threads. Gradients of weights depend on the batch, not on the
 * number of threads. Nothing is kept between calls. */
#ifndef SLUICE_STAGES_NN_WINOGRAD_H
#define SLUICE_STAGES_NN_WINOGRAD_H

#include <stdbool.h>
#include <stdint.h>

/* x [n, h, w, c] -> y [n, h, w, o]; all at least 1. */
struct winograd_shape {
    int64_t n, h, w, c, o;
};

/* What the output transform adds to y; each may be NULL. */
struct winograd_output {
    const float *bias;     /* [o] */
    const float *shift;    /* [n, o], to every pixel of an item */
    const float *residual; /* [n, h, w, o] */
    bool add;              /* y += instead of y = */
};

/* Floats of a packed filter for c inputs and o outputs. */
int64_t winograd_packed(int64_t c, int64_t o);

/* weight [o, c, 3, 3] -> packed [winograd_packed(c, o)], 64-byte aligned, for the
 * convolution from c to o channels. */
void winograd_pack(int64_t c, int64_t o, const float *weight, float *packed);

/* weight [o, c, 3, 3] -> packed [winograd_packed(o, c)], rotated and transposed: with
 * it winograd_conv takes dy [n, h, w, o] to dx [n, h, w, c] (its shape has c and o
 * swapped). */
void winograd_pack_dx(int64_t c, int64_t o, const float *weight, float *packed);

/* Floats of working memory, 64-byte aligned, for any of the calls with this shape or
 * the one with c and o swapped. */
int64_t winograd_work(const struct winograd_shape *s, int threads);

/* x [n, h, w, c] -> y [n, h, w, o], with out's additions (NULL: none). residual may be
 * y. */
void winograd_conv(const struct winograd_shape *s, const float *x, const float *packed,
                   const struct winograd_output *out, float *y, float *work,
                   int threads);

/* dw [o, c, 3, 3] += the gradient for x [n, h, w, c] and dy [n, h, w, o]. */
void winograd_dw(const struct winograd_shape *s, const float *x, const float *dy,
                 float *dw, float *work, int threads);

#endif

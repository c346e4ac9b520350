/* Inside of a back end: its table of kernels and their arguments. Activations are
 * channels last; parameters lie as in the file. Gradients of parameters are added;
 * gradients of activations are overwritten or, where the argument says so, added to.
 *
 * What every kernel keeps: the result for an item depends on that item alone, bit for
 * bit, and on nothing that the number of threads decides. */
#ifndef SLUICE_STAGES_NN_KERNELS_H
#define SLUICE_STAGES_NN_KERNELS_H

#include "stages/nn/param.h"

#include <stdbool.h>

/* What a back end hangs on param.packed begins with its own destructor. */
struct packed {
    void (*destroy)(struct packed *p);
};

/* x [n, h, w, c], weight [o, c, kh, kw], bias [o] or NULL -> y [n, oh, ow, o]. */
struct conv_args {
    int64_t n, h, w, c, oh, ow, o, kh, kw;
    int stride, pad[4]; /* top, bottom, left, right */
    struct param *weight, *bias;
    const float *x, *dy;
    float *y, *dx;
    bool add_dx;
    struct arena *scratch;
};

/* x [rows, in], weight [out, in], bias [out] or NULL -> y [rows, out]. */
struct linear_args {
    int64_t rows, in, out;
    struct param *weight, *bias;
    const float *x, *dy;
    float *y, *dx;
    bool add_dx;
    struct arena *scratch;
};

/* x [n, rows, c] -> y; mean and rstd [n, groups] are left for the backward. */
struct norm_args {
    int64_t n, rows, c, groups;
    float eps;
    bool silu;
    struct param *gamma, *beta;
    const float *x, *dy;
    float *y, *dx, *mean, *rstd;
    bool add_dx;
    struct arena *scratch;
};

/* q, k, v, y [n, t, c]; gradients that are not wanted are NULL. dq, dk, dv may be the
 * same buffer: dq is put first, then dk, then dv. */
struct attention_args {
    int64_t n, t, c, heads;
    const float *q, *k, *v, *dy;
    float *y, *dq, *dk, *dv;
    bool add_dq, add_dk, add_dv;
    struct arena *scratch;
};

struct backend {
    const char *name;
    void (*describe)(char *buf, size_t size);
    void (*conv)(const struct conv_args *a);
    void (*conv_dx)(const struct conv_args *a);
    void (*conv_dw)(const struct conv_args *a);
    void (*linear)(const struct linear_args *a);
    void (*linear_dx)(const struct linear_args *a);
    void (*linear_dw)(const struct linear_args *a);
    void (*norm)(const struct norm_args *a);
    void (*norm_dx)(const struct norm_args *a); /* and dgamma, dbeta where wanted */
    void (*silu)(int64_t n, const float *x, float *y);
    void (*silu_dx)(int64_t n, const float *x, const float *dy, float *dx, bool add);
    void (*attention)(const struct attention_args *a);
    void (*attention_dx)(const struct attention_args *a);
};

extern const struct backend backend_reference, backend_onednn;

/* To be called once, before backend_onednn is used. */
void onednn_open(int threads);

#endif

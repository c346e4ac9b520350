/* Inside of a back end: its table of kernels and their arguments. Activations are
 * channels last and of one dtype per call; parameters lie as in the file, in float32,
 * and are rounded to the dtype where they enter a product. Gradients of parameters are
 * added; gradients of activations are overwritten or, where the argument says so, added
 * to.
 *
 * What every kernel keeps: the result for an item depends on that item alone, bit for
 * bit, and on nothing that the number of threads decides. */
#ifndef SLUICE_STAGES_NN_KERNELS_H
#define SLUICE_STAGES_NN_KERNELS_H

#include "stages/nn/param.h"

/* What kernels keep with a parameter (packed copies, primitives) begins with this;
 * owner tells whose it is. */
struct packed {
    const void *owner;
    void (*destroy)(struct packed *p);
    struct packed *next;
};

/* The owner's, or NULL; and a new one, hung on the parameter. */
struct packed *packed_find(const struct param *p, const void *owner);
void packed_hang(struct param *p, struct packed *k);

/* x [n, h, w, c], weight [o, c, kh, kw] -> y [n, h, w, o]:
 * y = conv(x) + bias + shift + residual; each of the last three may be NULL. */
struct conv_args {
    int64_t n, h, w, c, oh, ow, o, kh, kw;
    int stride, pad[4]; /* top, bottom, left, right */
    enum dtype type;
    struct param *weight, *bias; /* bias [o] */
    const float *shift;          /* [n, o] */
    const void *residual;        /* as y */
    const void *x, *dy;
    void *y, *dx;
    bool add_dx;
    bool round_weight; /* float32 activations that stand for bfloat16 ones */
    struct arena *scratch;
};

/* Up to two inputs that stand for their concatenation along the channels. */
enum { PARTS = 2 };
struct part {
    int64_t c; /* 0: no such part */
    const void *x;
    void *dx; /* NULL: not wanted */
    bool add_dx;
};

/* part[].x [rows, c], c in all: in; weight [out, in], bias [out] or NULL, residual as y or
 * NULL -> y [rows, out]. The rows are n items of equally many. */
struct linear_args {
    int64_t n, rows, in, out;
    enum dtype type;
    struct part part[PARTS];
    struct param *weight, *bias;
    const void *residual, *dy;
    void *y;
    struct arena *scratch;
};

/* part[].x [n, rows, c], c in all: c -> y [n, rows, c]; mean and rstd [n, groups] are
 * left for the backward. */
struct norm_args {
    int64_t n, rows, c, groups;
    float eps;
    bool silu;
    enum dtype type;
    struct part part[PARTS];
    struct param *gamma, *beta;
    const void *dy;
    void *y;
    float *mean, *rstd;
    struct arena *scratch;
};

/* q, k, v, y [n, t, c]; gradients that are not wanted are NULL. dq, dk, dv may be the
 * same buffer: dq is put first, then dk, then dv. */
struct attention_args {
    int64_t n, t, c, heads;
    enum dtype type;
    const void *q, *k, *v, *dy;
    void *y, *dq, *dk, *dv;
    bool add_dq, add_dk, add_dv;
    struct arena *scratch;
};

struct backend {
    const char *name;
    void (*describe)(char *buf, size_t size);
    void (*conv)(const struct conv_args *a);
    void (*conv_dx)(const struct conv_args *a);
    void (*conv_dw)(const struct conv_args *a); /* of weight only, not of bias */
    void (*linear)(const struct linear_args *a);
    void (*linear_dx)(const struct linear_args *a);
    void (*linear_dw)(const struct linear_args *a); /* of weight only, not of bias */
    void (*norm)(const struct norm_args *a);
    void (*norm_dx)(const struct norm_args *a); /* and dgamma, dbeta where wanted */
    void (*silu)(int64_t n, enum dtype type, const void *x, void *y);
    void (*silu_dx)(int64_t n, enum dtype type, const void *x, const void *dy, void *dx,
                    bool add);
    void (*attention)(const struct attention_args *a);
    void (*attention_dx)(const struct attention_args *a);
};

extern const struct backend backend_reference, backend_onednn, backend_emulated;

#endif

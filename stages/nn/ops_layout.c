/* Operations that move values: concatenation, nearest-neighbour enlargement, the change
 * of layout and dtype at the network's border, views. */
#include "io/sys/err.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/node.h"
#include "stages/nn/profile.h"
#include "stages/nn/ops.h"
#include "stages/nn/vec.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))

static void concat_backward(struct tape *t, const struct node *n)
{
    const enum dtype type = n->out->type;
    const int64_t wide = n->out->dim[n->out->nd - 1];
    const char *from = n->out->raw_grad;
    for (int i = 0; i < 2; i++) {
        bool add;
        const int64_t c = n->in[i]->dim[n->in[i]->nd - 1],
                      rows = tensor_count(n->in[i]) / c;
        const size_t size = dtype_size(type);
        char *dx = tape_sink(t, n->in[i], &add);
        for (int64_t r = 0; r < rows && dx != NULL; r++)
            accumulate(c, type, from + (size_t)(r * wide) * size,
                       dx + (size_t)(r * c) * size, add);
        from += (size_t)c * size;
    }
}

struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b)
{
    struct tensor *const in[2] = {a, b};
    int64_t dim[4], wide = inputs_channels((struct inputs){a, b}), at = 0;
    memcpy(dim, a->dim, sizeof dim);
    dim[a->nd - 1] = wide;
    struct tensor *y =
        tape_result(t, a->nd, dim, a->type, a->wants_grad || b->wants_grad);
    const size_t size = dtype_size(a->type);
    for (int i = 0; i < 2; i++) {
        const int64_t c = in[i]->dim[a->nd - 1], rows = tensor_count(in[i]) / c;
#pragma omp parallel for schedule(static) if (rows * c > 32768)
        for (int64_t r = 0; r < rows; r++)
            memcpy((char *)y->raw + (size_t)(r * wide + at) * size,
                   (const char *)in[i]->raw + (size_t)(r * c) * size, (size_t)c * size);
        at += c;
    }
    struct node *n = tape_node(t, y, concat_backward, NULL, 0);
    if (n != NULL) {
        n->in[0] = a;
        n->in[1] = b;
    }
    return y;
}

/* One pixel: to (+)= the sum of 2 x 2 pixels at `up`, whose row below lies `below` on.
 */
INLINE void pool_pixel(enum dtype type, int64_t c, const void *dy, int64_t up,
                       int64_t below, void *dx, int64_t to, bool add)
{
    for (int64_t j = 0; j < c; j += LANES) {
        int64_t n = c - j;
        vec high = act_load(type, dy, up + j, n) + act_load(type, dy, up + c + j, n);
        vec low = act_load(type, dy, up + below + j, n) +
                  act_load(type, dy, up + below + c + j, n);
        vec sum = high + low;
        act_store(type, dx, to + j, n, add ? act_load(type, dx, to + j, n) + sum : sum);
    }
}

/* dx [.., w, c] (+)= sums of 2 x 2 pixels of dy. */
static void upsample_backward(struct tape *t, const struct node *n)
{
    const int64_t *d = n->in[0]->dim, w = d[2], c = d[3];
    const void *dy = n->out->raw_grad;
    bool add;
    void *dx = tape_sink(t, n->in[0], &add);
    double begun = profile_begin();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d[0] * d[1]; i++)
        for (int64_t x = 0; x < w; x++) {
            int64_t up = (2 * i * 2 * w + 2 * x) * c, to = (i * w + x) * c;
            if (n->out->type == DTYPE_F32)
                pool_pixel(DTYPE_F32, c, dy, up, 2 * w * c, dx, to, add);
            else
                pool_pixel(DTYPE_BF16, c, dy, up, 2 * w * c, dx, to, add);
        }
    profile_end(PROFILE_LAYOUT, begun, 0);
}

static void enlarge(const struct tensor *x, struct tensor *y)
{
    const int64_t w = x->dim[2];
    const size_t pixel = (size_t)x->dim[3] * dtype_size(x->type);
    double begun = profile_begin();
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->dim[0] * x->dim[1]; i++) {
        char *up = (char *)y->raw + (size_t)(2 * i * 2 * w) * pixel;
        for (int64_t p = 0; p < 2 * w; p++)
            memcpy(up + (size_t)p * pixel,
                   (const char *)x->raw + (size_t)(i * w + p / 2) * pixel, pixel);
        memcpy(up + (size_t)(2 * w) * pixel, up, (size_t)(2 * w) * pixel);
    }
    profile_end(PROFILE_LAYOUT, begun, 0);
}

static void upsample_remake(struct tape *t, const struct node *n)
{
    (void)t;
    enlarge(n->in[0], n->out);
}

struct tensor *op_upsample2(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4);
    int64_t dim[4] = {x->dim[0], 2 * x->dim[1], 2 * x->dim[2], x->dim[3]};
    struct tensor *y = tape_result(t, 4, dim, x->type, x->wants_grad);
    enlarge(x, y);
    struct node *n = tape_node(t, y, upsample_backward, NULL, 0);
    if (n != NULL) {
        n->in[0] = x;
        node_keep(n, x); /* a quarter of y */
        node_remake(n, upsample_remake);
    }
    return y;
}

/* An array of one of the dtypes, read or written value by value. */
static float value(enum dtype type, const void *x, int64_t i)
{
    return type == DTYPE_F32 ? ((const float *)x)[i]
                             : bf16_to_float(((const bf16 *)x)[i]);
}

static void put(enum dtype type, void *y, int64_t i, float v)
{
    if (type == DTYPE_F32)
        ((float *)y)[i] = v;
    else
        ((bf16 *)y)[i] = bf16_from_float(v);
}

struct matrix_of {
    enum dtype type;
    const void *at;
};

/* Per item: x [rows, columns] -> y [columns, rows]. */
static void transpose(int64_t items, int64_t rows, int64_t columns, struct matrix_of x,
                      enum dtype to, void *y, bool add)
{
#pragma omp parallel for schedule(static) if (items * rows * columns > 32768)
    for (int64_t n = 0; n < items; n++) {
        const int64_t at = n * rows * columns;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < rows; i++) {
                int64_t k = at + j * rows + i;
                float v = value(x.type, x.at, at + i * columns + j);
                put(to, y, k, add ? value(to, y, k) + v : v);
            }
    }
}

/* The gradient of a transposition is the transposition back. */
static void transpose_backward(struct tape *t, const struct node *n)
{
    bool add;
    void *dx = tape_sink(t, n->in[0], &add);
    const int64_t items = n->out->dim[0], rows = *(const int64_t *)n->saved;
    struct matrix_of dy = {n->out->type, n->out->raw_grad};
    transpose(items, tensor_count(n->out) / items / rows, rows, dy, n->in[0]->type, dx,
              add);
}

static struct tensor *transposed(struct tape *t, struct tensor *x, const int64_t dim[4],
                                 int64_t rows, enum dtype type)
{
    struct tensor *y = tape_result(t, 4, dim, type, x->wants_grad);
    const int64_t items = x->dim[0];
    struct matrix_of from = {x->type, x->raw};
    double begun = profile_begin();
    transpose(items, rows, tensor_count(x) / items / rows, from, type, y->raw, false);
    profile_end(PROFILE_LAYOUT, begun, 0);
    struct node *n = tape_node(t, y, transpose_backward, &rows, sizeof rows);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

struct tensor *op_to_channels_last(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4 || x->type != DTYPE_F32);
    int64_t dim[4] = {x->dim[0], x->dim[2], x->dim[3], x->dim[1]};
    return transposed(t, x, dim, x->dim[1], tape_dtype(t));
}

struct tensor *op_to_channels_first(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4);
    int64_t dim[4] = {x->dim[0], x->dim[3], x->dim[1], x->dim[2]};
    return transposed(t, x, dim, x->dim[1] * x->dim[2], DTYPE_F32);
}

struct tensor *op_view(struct tape *t, struct tensor *x, int nd, const int64_t *dim)
{
    return tape_alias(t, x, nd, dim);
}

/* Operations that move values: concatenation, nearest-neighbour enlargement, the layout
 * change at the network's border, views. */
#include "io/sys/err.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

/* Columns [at, at + c) of rows [rows, wide] <-> a dense [rows, c]. */
static void put_columns(int64_t rows, int64_t wide, int64_t at, int64_t c,
                        const float *dense, float *out)
{
#pragma omp parallel for schedule(static) if (rows * c > 32768)
    for (int64_t i = 0; i < rows; i++)
        memcpy(out + i * wide + at, dense + i * c, (size_t)c * sizeof *out);
}

static void get_columns(int64_t rows, int64_t wide, int64_t at, int64_t c, const float *x,
                        float *dense, bool add)
{
#pragma omp parallel for schedule(static) if (rows * c > 32768)
    for (int64_t i = 0; i < rows; i++) {
        const float *from = x + i * wide + at;
        float *to = dense + i * c;
        if (!add)
            memcpy(to, from, (size_t)c * sizeof *to);
        else
            for (int64_t j = 0; j < c; j++)
                to[j] += from[j];
    }
}

static void concat_backward(struct tape *t, const struct node *n)
{
    int64_t wide = n->out->dim[n->out->nd - 1], at = 0;
    (void)t;
    for (int i = 0; i < 2; i++) {
        bool add;
        int64_t c = n->in[i]->dim[n->in[i]->nd - 1];
        float *dx = tape_sink(n->in[i], &add);
        if (dx != NULL)
            get_columns(tensor_count(n->in[i]) / c, wide, at, c, n->out->grad, dx, add);
        at += c;
    }
}

struct tensor *op_concat(struct tape *t, struct tensor *a, struct tensor *b)
{
    int last = a->nd - 1;
    int64_t dim[4], ca = a->dim[last], cb = b->dim[last], rows = tensor_count(a) / ca;
    ERR_BUG_IF(a->nd != b->nd);
    ERR_BUG_IF(memcmp(a->dim, b->dim, (size_t)last * sizeof *dim) != 0);
    memcpy(dim, a->dim, sizeof dim);
    dim[last] = ca + cb;
    struct tensor *y = tape_tensor(t, a->nd, dim, a->grad != NULL || b->grad != NULL);
    put_columns(rows, ca + cb, 0, ca, a->data, y->data);
    put_columns(rows, ca + cb, ca, cb, b->data, y->data);
    struct node *n = tape_node(t, y, concat_backward);
    if (n != NULL) {
        n->in[0] = a;
        n->in[1] = b;
    }
    return y;
}

/* dx [.., w, c] (+)= sums of 2 x 2 pixels of dy. */
static void upsample_backward(struct tape *t, const struct node *n)
{
    const int64_t *d = n->in[0]->dim, w = d[2], c = d[3];
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    (void)t;
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < d[0] * d[1]; i++)
        for (int64_t x = 0; x < w; x++) {
            const float *up = n->out->grad + (2 * i * 2 * w + 2 * x) * c;
            const float *low = up + 2 * w * c;
            float *to = dx + (i * w + x) * c;
            if (add)
                for (int64_t j = 0; j < c; j++)
                    to[j] += (up[j] + up[j + c]) + (low[j] + low[j + c]);
            else
                for (int64_t j = 0; j < c; j++)
                    to[j] = (up[j] + up[j + c]) + (low[j] + low[j + c]);
        }
}

struct tensor *op_upsample2(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4);
    const int64_t w = x->dim[2], c = x->dim[3];
    int64_t dim[4] = {x->dim[0], 2 * x->dim[1], 2 * w, c};
    struct tensor *y = tape_tensor(t, 4, dim, x->grad != NULL);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < x->dim[0] * x->dim[1]; i++) {
        float *up = y->data + 2 * i * 2 * w * c;
        for (int64_t p = 0; p < 2 * w; p++)
            memcpy(up + p * c, x->data + (i * w + p / 2) * c, (size_t)c * sizeof *up);
        memcpy(up + 2 * w * c, up, (size_t)(2 * w * c) * sizeof *up);
    }
    struct node *n = tape_node(t, y, upsample_backward);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

/* Per item: [rows, columns] -> [columns, rows]. */
static void transpose(int64_t items, int64_t rows, int64_t columns, const float *x,
                      float *y, bool add)
{
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < items; n++) {
        const float *from = x + n * rows * columns;
        float *to = y + n * rows * columns;
        for (int64_t j = 0; j < columns; j++)
            for (int64_t i = 0; i < rows; i++)
                to[j * rows + i] = from[i * columns + j] + (add ? to[j * rows + i] : 0);
    }
}

/* The gradient of a transposition is the transposition back. */
static void transpose_backward(struct tape *t, const struct node *n)
{
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    int64_t count = tensor_count(n->out) / n->out->dim[0], rows = *(int64_t *)n->saved;
    (void)t;
    transpose(n->out->dim[0], count / rows, rows, n->out->grad, dx, add);
}

static struct tensor *transposed(struct tape *t, struct tensor *x, const int64_t dim[4],
                                 int64_t rows)
{
    struct tensor *y = tape_tensor(t, 4, dim, x->grad != NULL);
    int64_t count = tensor_count(x) / x->dim[0];
    transpose(x->dim[0], rows, count / rows, x->data, y->data, false);
    struct node *n = tape_node(t, y, transpose_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(tape_arena(t), 1, sizeof rows), &rows, sizeof rows);
    }
    return y;
}

struct tensor *op_to_channels_last(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4);
    int64_t dim[4] = {x->dim[0], x->dim[2], x->dim[3], x->dim[1]};
    return transposed(t, x, dim, x->dim[1]);
}

struct tensor *op_to_channels_first(struct tape *t, struct tensor *x)
{
    ERR_BUG_IF(x->nd != 4);
    int64_t dim[4] = {x->dim[0], x->dim[3], x->dim[1], x->dim[2]};
    return transposed(t, x, dim, x->dim[1] * x->dim[2]);
}

struct tensor *op_view(struct tape *t, struct tensor *x, int nd, const int64_t *dim)
{
    return tape_alias(t, x, nd, dim);
}

/* Operations with a weight matrix: convolution, linear map, embedding. */
#include "io/sys/err.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

static bool trains(const struct param *p)
{
    return p != NULL && p->t.grad != NULL;
}

static void conv_backward(struct tape *t, const struct node *n)
{
    struct conv_args a = *(const struct conv_args *)n->saved;
    a.dy = n->out->grad;
    a.dx = tape_sink(n->in[0], &a.add_dx);
    if (a.dx != NULL)
        tape_kernels(t)->conv_dx(&a);
    if (trains(a.weight))
        tape_kernels(t)->conv_dw(&a);
}

struct tensor *op_conv2d(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b, struct conv_shape s)
{
    const int64_t *k = w->t.dim;
    int64_t h = x->dim[1] + s.pad[0] + s.pad[1], v = x->dim[2] + s.pad[2] + s.pad[3];
    ERR_BUG_IF(x->nd != 4 || w->t.nd != 4 || x->dim[3] != k[1] || s.stride < 1);
    ERR_BUG_IF(h < k[2] || v < k[3] || (b != NULL && tensor_count(&b->t) != k[0]));
    struct conv_args a = {.n = x->dim[0],
                          .h = x->dim[1],
                          .w = x->dim[2],
                          .c = k[1],
                          .oh = (h - k[2]) / s.stride + 1,
                          .ow = (v - k[3]) / s.stride + 1,
                          .o = k[0],
                          .kh = k[2],
                          .kw = k[3],
                          .stride = s.stride,
                          .weight = w,
                          .bias = b,
                          .x = x->data,
                          .scratch = tape_arena(t)};
    memcpy(a.pad, s.pad, sizeof a.pad);
    int64_t dim[4] = {a.n, a.oh, a.ow, a.o};
    struct tensor *y = tape_tensor(t, 4, dim, x->grad != NULL || trains(w));
    a.y = y->data;
    struct arena_mark mark = arena_mark(a.scratch);
    tape_kernels(t)->conv(&a);
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, conv_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(a.scratch, 1, sizeof a), &a, sizeof a);
    }
    return y;
}

static void linear_backward(struct tape *t, const struct node *n)
{
    struct linear_args a = *(const struct linear_args *)n->saved;
    a.dy = n->out->grad;
    a.dx = tape_sink(n->in[0], &a.add_dx);
    if (a.dx != NULL)
        tape_kernels(t)->linear_dx(&a);
    if (trains(a.weight))
        tape_kernels(t)->linear_dw(&a);
}

struct tensor *op_linear(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b)
{
    int64_t in = w->t.dim[1], out = w->t.dim[0], dim[4];
    ERR_BUG_IF(tensor_count(&w->t) != in * out || x->dim[x->nd - 1] != in);
    ERR_BUG_IF(b != NULL && tensor_count(&b->t) != out);
    memcpy(dim, x->dim, sizeof dim);
    dim[x->nd - 1] = out;
    struct tensor *y = tape_tensor(t, x->nd, dim, x->grad != NULL || trains(w));
    struct linear_args a = {.rows = tensor_count(x) / in,
                            .in = in,
                            .out = out,
                            .weight = w,
                            .bias = b,
                            .x = x->data,
                            .y = y->data,
                            .scratch = tape_arena(t)};
    struct arena_mark mark = arena_mark(a.scratch);
    tape_kernels(t)->linear(&a);
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, linear_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(a.scratch, 1, sizeof a), &a, sizeof a);
    }
    return y;
}

struct rows {
    struct param *table;
    int64_t n;
    int64_t id[];
};

static void embedding_backward(struct tape *t, const struct node *n)
{
    const struct rows *r = n->saved;
    int64_t c = r->table->t.dim[1];
    (void)t;
    for (int64_t i = 0; i < r->n; i++)
        for (int64_t j = 0; j < c; j++)
            r->table->t.grad[r->id[i] * c + j] += n->out->grad[i * c + j];
}

struct tensor *op_embedding(struct tape *t, struct param *table, const int64_t *ids,
                            int64_t n)
{
    int64_t c = table->t.dim[1], dim[2] = {n, c};
    ERR_BUG_IF(table->t.nd != 2);
    struct tensor *y = tape_tensor(t, 2, dim, trains(table));
    for (int64_t i = 0; i < n; i++) {
        ERR_BUG_IF(ids[i] < 0 || ids[i] >= table->t.dim[0]);
        memcpy(y->data + i * c, table->t.data + ids[i] * c, (size_t)c * sizeof(float));
    }
    struct node *node = tape_node(t, y, embedding_backward);
    if (node != NULL) {
        struct rows *r =
            arena_take(tape_arena(t), 1, sizeof *r + (size_t)n * sizeof *ids);
        *r = (struct rows){.table = table, .n = n};
        memcpy(r->id, ids, (size_t)n * sizeof *ids);
        node->saved = r;
    }
    return y;
}

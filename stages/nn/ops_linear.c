/* Operations with a weight matrix: convolution, linear map, embedding. */
#include "io/sys/err.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/profile.h"

#include <string.h>

static bool trains(const struct param *p)
{
    return p != NULL && p->t.grad != NULL;
}

static bool wants(const struct tensor *x)
{
    return x != NULL && x->wants_grad;
}

int64_t inputs_channels(struct inputs x)
{
    const struct tensor *a = x.first, *b = x.second;
    const int last = a->nd - 1;
    if (b == NULL)
        return a->dim[last];
    ERR_BUG_IF(a->nd != b->nd || a->type != b->type);
    ERR_BUG_IF(memcmp(a->dim, b->dim, (size_t)last * sizeof *a->dim) != 0);
    return a->dim[last] + b->dim[last];
}

void inputs_parts(struct inputs x, struct part part[PARTS])
{
    struct tensor *const all[PARTS] = {x.first, x.second};
    for (int i = 0; i < PARTS && all[i] != NULL; i++)
        part[i] = (struct part){.c = all[i]->dim[all[i]->nd - 1], .x = all[i]->raw};
}

void inputs_keep(struct node *n, struct inputs x, bool values)
{
    struct tensor *const all[PARTS] = {x.first, x.second};
    for (int i = 0; i < PARTS && n != NULL && all[i] != NULL; i++) {
        n->in[i] = all[i];
        if (values)
            node_keep(n, all[i]);
    }
}

/* Gradients of a bias [O] and of a shift per item [N, O], from dy [N, .., O]. */
static void bias_backward(struct tape *t, const struct tensor *y, struct param *bias,
                          struct tensor *shift)
{
    const int64_t items = y->dim[0], c = y->dim[y->nd - 1];
    bool add;
    float *to = tape_sink(t, shift, &add);
    if (!trains(bias) && to == NULL)
        return;
    double *sums = arena_take(tape_scratch(t), items * c, sizeof *sums);
    double begun = profile_begin();
    accumulate_columns(items, tensor_count(y) / (items * c), c, y->type, y->raw_grad,
                       sums);
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
    for (int64_t i = 0; i < items * c && to != NULL; i++)
        to[i] = (float)sums[i] + (add ? to[i] : 0);
    if (!trains(bias))
        return;
    for (int64_t i = 1; i < items; i++)
        for (int64_t j = 0; j < c; j++)
            sums[j] += sums[i * c + j];
    for (int64_t j = 0; j < c; j++)
        bias->t.grad[j] += (float)sums[j];
}

enum { IN_X, IN_SHIFT, IN_RESIDUAL }; /* inputs of a convolution's node */

static double conv_flops(const struct conv_args *a)
{
    return 2 * (double)(a->n * a->oh * a->ow) * (double)(a->o * a->c * a->kh * a->kw);
}

static void conv_backward(struct tape *t, const struct node *n)
{
    struct conv_args a = *(const struct conv_args *)n->saved;
    a.dy = n->out->raw_grad;
    a.x = n->in[IN_X]->raw;
    a.dx = tape_sink(t, n->in[IN_X], &a.add_dx);
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin(), flops = conv_flops(&a);
    if (a.dx != NULL)
        tape_kernels(t)->conv_dx(&a);
    arena_release(a.scratch, mark);
    if (trains(a.weight))
        tape_kernels(t)->conv_dw(&a);
    arena_release(a.scratch, mark);
    profile_end(PROFILE_CONV, begun,
                (a.dx != NULL ? flops : 0) + (trains(a.weight) ? flops : 0));
    bias_backward(t, n->out, a.bias, n->in[IN_SHIFT]);
    tape_pass(t, n, n->in[IN_RESIDUAL]);
}

static void conv_check(const struct tensor *x, const struct tensor *y,
                       const struct param *bias, struct extras e)
{
    const int64_t n = y->dim[0], o = y->dim[3];
    ERR_BUG_IF(bias != NULL && tensor_count(&bias->t) != o);
    ERR_BUG_IF(e.shift != NULL && (e.shift->type != DTYPE_F32 || e.shift->dim[0] != n ||
                                   tensor_count(e.shift) != n * o));
    ERR_BUG_IF(e.residual != NULL &&
               (e.residual->type != x->type ||
                memcmp(e.residual->dim, y->dim, sizeof y->dim) != 0));
}

struct tensor *op_conv2d(struct tape *t, struct tensor *x, struct param *w,
                         struct param *b, struct conv_shape s, struct extras e)
{
    const int64_t *k = w->t.dim;
    int64_t h = x->dim[1] + s.pad[0] + s.pad[1], v = x->dim[2] + s.pad[2] + s.pad[3];
    ERR_BUG_IF(x->nd != 4 || w->t.nd != 4 || x->dim[3] != k[1] || s.stride < 1);
    ERR_BUG_IF(h < k[2] || v < k[3]);
    if (k[2] == 1 && k[3] == 1 && s.stride == 1 && h == x->dim[1] && v == x->dim[2] &&
        e.shift == NULL)
        return op_linear(t, (struct inputs){.first = x}, w, b, e.residual);
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
                          .type = x->type,
                          .weight = w,
                          .bias = b,
                          .shift = e.shift != NULL ? e.shift->data : NULL,
                          .residual = e.residual != NULL ? e.residual->raw : NULL,
                          .x = x->raw,
                          .scratch = tape_scratch(t)};
    memcpy(a.pad, s.pad, sizeof a.pad);
    int64_t dim[4] = {a.n, a.oh, a.ow, a.o};
    bool grad = wants(x) || wants(e.shift) || wants(e.residual) || trains(w);
    struct tensor *y = tape_result(t, 4, dim, x->type, grad);
    conv_check(x, y, b, e);
    a.y = y->raw;
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin();
    tape_kernels(t)->conv(&a);
    profile_end(PROFILE_CONV, begun, conv_flops(&a));
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, conv_backward, &a, sizeof a);
    if (n != NULL) {
        n->in[IN_X] = x;
        n->in[IN_SHIFT] = e.shift;
        n->in[IN_RESIDUAL] = e.residual;
        if (trains(w))
            node_keep(n, x);
    }
    return y;
}

static double linear_flops(const struct linear_args *a)
{
    return 2 * (double)a->rows * (double)(a->in * a->out);
}

static void linear_backward(struct tape *t, const struct node *n)
{
    struct linear_args a = *(const struct linear_args *)n->saved;
    bool any = false;
    a.dy = n->out->raw_grad;
    for (int i = 0; i < PARTS; i++) {
        if (n->in[i] != NULL)
            a.part[i].x = n->in[i]->raw;
        a.part[i].dx = tape_sink(t, n->in[i], &a.part[i].add_dx);
        any = any || a.part[i].dx != NULL;
    }
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin(), flops = linear_flops(&a);
    if (any)
        tape_kernels(t)->linear_dx(&a);
    arena_release(a.scratch, mark);
    if (trains(a.weight))
        tape_kernels(t)->linear_dw(&a);
    arena_release(a.scratch, mark);
    profile_end(PROFILE_MATMUL, begun,
                (any ? flops : 0) + (trains(a.weight) ? flops : 0));
    bias_backward(t, n->out, a.bias, NULL);
    tape_pass(t, n, n->in[PARTS]);
}

struct tensor *op_linear(struct tape *t, struct inputs x, struct param *w,
                         struct param *b, struct tensor *residual)
{
    const int64_t in = w->t.dim[1], out = w->t.dim[0];
    int64_t dim[4];
    ERR_BUG_IF(tensor_count(&w->t) != in * out || inputs_channels(x) != in);
    ERR_BUG_IF(b != NULL && tensor_count(&b->t) != out);
    memcpy(dim, x.first->dim, sizeof dim);
    dim[x.first->nd - 1] = out;
    bool grad = wants(x.first) || wants(x.second) || wants(residual) || trains(w);
    struct tensor *y = tape_result(t, x.first->nd, dim, x.first->type, grad);
    ERR_BUG_IF(residual != NULL && (tensor_count(residual) != tensor_count(y) ||
                                    residual->type != y->type));
    struct linear_args a = {.n = y->dim[0],
                            .rows = tensor_count(y) / out,
                            .in = in,
                            .out = out,
                            .type = y->type,
                            .weight = w,
                            .bias = b,
                            .residual = residual != NULL ? residual->raw : NULL,
                            .y = y->raw,
                            .scratch = tape_scratch(t)};
    inputs_parts(x, a.part);
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin();
    tape_kernels(t)->linear(&a);
    profile_end(PROFILE_MATMUL, begun, linear_flops(&a));
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, linear_backward, &a, sizeof a);
    if (n != NULL)
        n->in[PARTS] = residual;
    inputs_keep(n, x, trains(w));
    return y;
}

struct rows {
    struct param *table;
    int64_t n, *id;
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
    struct rows r = {.table = table, .n = n};
    r.id = memcpy(tape_keepsake(t, n, sizeof *ids), ids, (size_t)n * sizeof *ids);
    for (int64_t i = 0; i < n; i++) {
        ERR_BUG_IF(ids[i] < 0 || ids[i] >= table->t.dim[0]);
        memcpy(y->data + i * c, table->t.data + ids[i] * c, (size_t)c * sizeof(float));
    }
    tape_node(t, y, embedding_backward, &r, sizeof r);
    return y;
}

/* Group normalisation with an optional SiLU, and SiLU alone. */
#include "io/sys/err.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/profile.h"

#include <string.h>

static void parts_again(const struct node *n, struct part part[PARTS])
{
    for (int i = 0; i < PARTS && n->in[i] != NULL; i++)
        part[i].x = n->in[i]->raw;
}

static void norm_remake(struct tape *t, const struct node *n)
{
    struct norm_args a = *(const struct norm_args *)n->saved;
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin();
    parts_again(n, a.part);
    a.y = n->out->raw;
    tape_kernels(t)->norm(&a);
    profile_end(PROFILE_NORM, begun, 0);
    arena_release(a.scratch, mark);
}

static void norm_backward(struct tape *t, const struct node *n)
{
    struct norm_args a = *(const struct norm_args *)n->saved;
    a.dy = n->out->raw_grad;
    parts_again(n, a.part);
    for (int i = 0; i < PARTS; i++)
        a.part[i].dx = tape_sink(t, n->in[i], &a.part[i].add_dx);
    double begun = profile_begin();
    tape_kernels(t)->norm_dx(&a);
    profile_end(PROFILE_NORM, begun, 0);
}

struct tensor *op_group_norm(struct tape *t, struct inputs x, struct param *gamma,
                             struct param *beta, int groups, float eps, bool silu)
{
    struct tensor *a = x.first, *b = x.second;
    int64_t dim[4], c = inputs_channels(x);
    ERR_BUG_IF(a->nd < 2 || groups < 1 || c % groups != 0);
    ERR_BUG_IF(tensor_count(&gamma->t) != c || tensor_count(&beta->t) != c);
    bool grad = a->wants_grad || (b != NULL && b->wants_grad) || gamma->t.grad != NULL;
    memcpy(dim, a->dim, sizeof dim);
    dim[a->nd - 1] = c;
    struct tensor *y = tape_result(t, a->nd, dim, a->type, grad);
    struct norm_args k = {.n = dim[0],
                          .rows = tensor_count(y) / (dim[0] * c),
                          .c = c,
                          .groups = groups,
                          .eps = eps,
                          .silu = silu,
                          .type = a->type,
                          .gamma = gamma,
                          .beta = beta,
                          .y = y->raw,
                          .scratch = tape_scratch(t)};
    inputs_parts(x, k.part);
    k.mean = tape_keepsake(t, k.n * groups, sizeof(float));
    k.rstd = tape_keepsake(t, k.n * groups, sizeof(float));
    struct arena_mark mark = arena_mark(k.scratch);
    double begun = profile_begin();
    tape_kernels(t)->norm(&k);
    profile_end(PROFILE_NORM, begun, 0);
    arena_release(k.scratch, mark);
    struct node *n = tape_node(t, y, norm_backward, &k, sizeof k);
    inputs_keep(n, x, true);
    if (n != NULL)
        node_remake(n, norm_remake);
    return y;
}

static void silu_backward(struct tape *t, const struct node *n)
{
    bool add;
    void *dx = tape_sink(t, n->in[0], &add);
    tape_kernels(t)->silu_dx(tensor_count(n->out), n->out->type, n->in[0]->raw,
                             n->out->raw_grad, dx, add);
}

struct tensor *op_silu(struct tape *t, struct tensor *x)
{
    struct tensor *y = tape_result(t, x->nd, x->dim, x->type, x->wants_grad);
    tape_kernels(t)->silu(tensor_count(x), x->type, x->raw, y->raw);
    struct node *n = tape_node(t, y, silu_backward, NULL, 0);
    if (n != NULL) {
        n->in[0] = x;
        node_keep(n, x);
    }
    return y;
}

/* Group normalisation with an optional SiLU, and SiLU alone. */
#include "io/sys/err.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

static void norm_backward(struct tape *t, const struct node *n)
{
    struct norm_args a = *(const struct norm_args *)n->saved;
    a.dy = n->out->grad;
    a.dx = tape_sink(n->in[0], &a.add_dx);
    tape_kernels(t)->norm_dx(&a);
}

struct tensor *op_group_norm(struct tape *t, struct tensor *x, struct param *gamma,
                             struct param *beta, int groups, float eps, bool silu)
{
    int64_t c = x->dim[x->nd - 1];
    ERR_BUG_IF(x->nd < 2 || groups < 1 || c % groups != 0);
    ERR_BUG_IF(tensor_count(&gamma->t) != c || tensor_count(&beta->t) != c);
    bool grad = x->grad != NULL || gamma->t.grad != NULL;
    struct tensor *y = tape_tensor(t, x->nd, x->dim, grad);
    struct norm_args a = {.n = x->dim[0],
                          .rows = tensor_count(x) / (x->dim[0] * c),
                          .c = c,
                          .groups = groups,
                          .eps = eps,
                          .silu = silu,
                          .gamma = gamma,
                          .beta = beta,
                          .x = x->data,
                          .y = y->data,
                          .scratch = tape_arena(t)};
    a.mean = arena_take(a.scratch, a.n * groups, sizeof(float));
    a.rstd = arena_take(a.scratch, a.n * groups, sizeof(float));
    struct arena_mark mark = arena_mark(a.scratch);
    tape_kernels(t)->norm(&a);
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, norm_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(a.scratch, 1, sizeof a), &a, sizeof a);
    }
    return y;
}

static void silu_backward(struct tape *t, const struct node *n)
{
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    tape_kernels(t)->silu_dx(tensor_count(n->out), n->in[0]->data, n->out->grad, dx, add);
}

struct tensor *op_silu(struct tape *t, struct tensor *x)
{
    struct tensor *y = tape_tensor(t, x->nd, x->dim, x->grad != NULL);
    tape_kernels(t)->silu(tensor_count(x), x->data, y->data);
    struct node *n = tape_node(t, y, silu_backward);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

/* Multi-head self-attention's core. Probabilities are not kept: the backward computes
 * them again. */
#include "io/sys/err.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/profile.h"

#include <string.h>

static double attention_flops(const struct attention_args *a)
{
    return 4 * (double)(a->n * a->t) * (double)(a->t * a->c);
}

static void attention_backward(struct tape *t, const struct node *n)
{
    struct attention_args a = *(const struct attention_args *)n->saved;
    a.dy = n->out->raw_grad;
    a.q = n->in[0]->raw;
    a.k = n->in[1]->raw;
    a.v = n->in[2]->raw;
    a.dq = tape_sink(t, n->in[0], &a.add_dq);
    a.dk = tape_sink(t, n->in[1], &a.add_dk);
    a.dv = tape_sink(t, n->in[2], &a.add_dv);
    double begun = profile_begin();
    tape_kernels(t)->attention_dx(&a);
    profile_end(PROFILE_ATTENTION, begun, 2.5 * attention_flops(&a));
}

struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k,
                            struct tensor *v, int heads)
{
    ERR_BUG_IF(q->nd != 3 || heads < 1 || q->dim[2] % heads != 0);
    ERR_BUG_IF(memcmp(q->dim, k->dim, sizeof q->dim) != 0 || k->nd != 3);
    ERR_BUG_IF(memcmp(q->dim, v->dim, sizeof q->dim) != 0 || v->nd != 3);
    ERR_BUG_IF(q->type != k->type || q->type != v->type);
    bool grad = q->wants_grad || k->wants_grad || v->wants_grad;
    struct tensor *y = tape_result(t, 3, q->dim, q->type, grad);
    struct attention_args a = {.n = q->dim[0],
                               .t = q->dim[1],
                               .c = q->dim[2],
                               .heads = heads,
                               .type = q->type,
                               .q = q->raw,
                               .k = k->raw,
                               .v = v->raw,
                               .y = y->raw,
                               .scratch = tape_scratch(t)};
    struct arena_mark mark = arena_mark(a.scratch);
    double begun = profile_begin();
    tape_kernels(t)->attention(&a);
    profile_end(PROFILE_ATTENTION, begun, attention_flops(&a));
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, attention_backward, &a, sizeof a);
    struct tensor *const in[3] = {q, k, v};
    for (int i = 0; i < 3 && n != NULL; i++) {
        n->in[i] = in[i];
        node_keep(n, in[i]);
    }
    return y;
}

/* Multi-head self-attention's core. Probabilities are not kept: the backward computes
 * them again. */
#include "io/sys/err.h"
#include "stages/nn/kernels.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

static void attention_backward(struct tape *t, const struct node *n)
{
    struct attention_args a = *(const struct attention_args *)n->saved;
    a.dy = n->out->grad;
    a.dq = tape_sink(n->in[0], &a.add_dq);
    a.dk = tape_sink(n->in[1], &a.add_dk);
    a.dv = tape_sink(n->in[2], &a.add_dv);
    tape_kernels(t)->attention_dx(&a);
}

struct tensor *op_attention(struct tape *t, struct tensor *q, struct tensor *k,
                            struct tensor *v, int heads)
{
    ERR_BUG_IF(q->nd != 3 || heads < 1 || q->dim[2] % heads != 0);
    ERR_BUG_IF(memcmp(q->dim, k->dim, sizeof q->dim) != 0 || k->nd != 3);
    ERR_BUG_IF(memcmp(q->dim, v->dim, sizeof q->dim) != 0 || v->nd != 3);
    bool grad = q->grad != NULL || k->grad != NULL || v->grad != NULL;
    struct tensor *y = tape_tensor(t, 3, q->dim, grad);
    struct attention_args a = {.n = q->dim[0],
                               .t = q->dim[1],
                               .c = q->dim[2],
                               .heads = heads,
                               .q = q->data,
                               .k = k->data,
                               .v = v->data,
                               .y = y->data,
                               .scratch = tape_arena(t)};
    struct arena_mark mark = arena_mark(a.scratch);
    tape_kernels(t)->attention(&a);
    arena_release(a.scratch, mark);
    struct node *n = tape_node(t, y, attention_backward);
    if (n != NULL) {
        n->in[0] = q;
        n->in[1] = k;
        n->in[2] = v;
        n->saved = memcpy(arena_take(a.scratch, 1, sizeof a), &a, sizeof a);
    }
    return y;
}

/* Sums, scalings and casts. One loop serves every back end: these are bound by memory.
 */
#include "io/sys/err.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/vec.h"

#include <string.h>

static void add_backward(struct tape *t, const struct node *n)
{
    const float scale = *(const float *)n->saved;
    bool add;
    for (int i = 0; i < 2; i++) {
        if (scale == 1 && i == 1) {
            tape_pass(t, n, n->in[i]);
            continue;
        }
        void *dx = tape_sink(t, n->in[i], &add);
        if (dx != NULL)
            accumulate_scaled(tensor_count(n->out), n->out->type, scale,
                              n->out->raw_grad, dx, add);
    }
}

struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b, float divisor)
{
    ERR_BUG_IF(a->nd != b->nd || memcmp(a->dim, b->dim, sizeof a->dim) != 0);
    ERR_BUG_IF(a->type != b->type);
    const float scale = 1 / divisor;
    struct tensor *y =
        tape_result(t, a->nd, a->dim, a->type, a->wants_grad || b->wants_grad);
    accumulate_sum(tensor_count(y), y->type, a->raw, b->raw, scale, y->raw);
    struct node *n = tape_node(t, y, add_backward, &scale, sizeof scale);
    if (n != NULL) {
        n->in[0] = a;
        n->in[1] = b;
    }
    return y;
}

static void affine_backward(struct tape *t, const struct node *n)
{
    bool add;
    float *dx = tape_sink(t, n->in[0], &add);
    accumulate_scaled(tensor_count(n->out), DTYPE_F32, *(const float *)n->saved,
                      n->out->grad, dx, add);
}

struct tensor *op_affine(struct tape *t, struct tensor *x, float scale, float shift)
{
    ERR_BUG_IF(x->type != DTYPE_F32);
    struct tensor *y = tape_result(t, x->nd, x->dim, DTYPE_F32, x->wants_grad);
    const int64_t count = tensor_count(x);
    for (int64_t i = 0; i < count; i++)
        y->data[i] = scale * x->data[i] + shift;
    struct node *n = tape_node(t, y, affine_backward, &scale, sizeof scale);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

/* Operations with one number per item, or one for all. Bound by memory; one loop serves
 * every back end. */
#include "io/sys/err.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

static void affine_items_backward(struct tape *t, const struct node *n)
{
    const int64_t items = n->out->dim[0], each = tensor_count(n->out) / items;
    const float *scale = n->saved, *dy = n->out->grad;
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    (void)t;
    for (int64_t i = 0; i < items; i++)
        for (int64_t k = i * each; k < (i + 1) * each; k++)
            dx[k] = scale[i] * dy[k] + (add ? dx[k] : 0);
}

struct tensor *op_affine_items(struct tape *t, struct tensor *x, const float *scale,
                               const float *shift)
{
    const int64_t items = x->dim[0], each = tensor_count(x) / items;
    struct tensor *y = tape_tensor(t, x->nd, x->dim, x->grad != NULL);
    for (int64_t i = 0; i < items; i++)
        for (int64_t k = i * each; k < (i + 1) * each; k++)
            y->data[k] = scale[i] * x->data[k] + shift[i];
    struct node *n = tape_node(t, y, affine_items_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(tape_arena(t), items, sizeof *scale), scale,
                          (size_t)items * sizeof *scale);
    }
    return y;
}

static void add_scalar_backward(struct tape *t, const struct node *n)
{
    struct param *b = *(struct param *const *)n->saved;
    const int64_t count = tensor_count(n->out);
    const float *dy = n->out->grad;
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    (void)t;
    for (int64_t i = 0; i < count && dx != NULL; i++)
        dx[i] = dy[i] + (add ? dx[i] : 0);
    if (b->t.grad == NULL)
        return;
    double sum = 0;
    for (int64_t i = 0; i < count; i++)
        sum += (double)dy[i];
    b->t.grad[0] += (float)sum;
}

struct tensor *op_add_scalar(struct tape *t, struct tensor *x, struct param *b)
{
    const int64_t count = tensor_count(x);
    ERR_BUG_IF(tensor_count(&b->t) != 1);
    struct tensor *y =
        tape_tensor(t, x->nd, x->dim, x->grad != NULL || b->t.grad != NULL);
    for (int64_t i = 0; i < count; i++)
        y->data[i] = x->data[i] + b->t.data[0];
    struct node *n = tape_node(t, y, add_scalar_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved = memcpy(arena_take(tape_arena(t), 1, sizeof b), &b, sizeof b);
    }
    return y;
}

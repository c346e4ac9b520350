/* Operations with one number per item, or one for all, on float32. Bound by memory; one
 * loop serves every back end. */
#include "io/sys/err.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

static void affine_items_backward(struct tape *t, const struct node *n)
{
    const int64_t items = n->out->dim[0], each = tensor_count(n->out) / items;
    const float *scale = n->saved, *dy = n->out->grad;
    bool add;
    float *dx = tape_sink(t, n->in[0], &add);
    for (int64_t i = 0; i < items; i++)
        for (int64_t k = i * each; k < (i + 1) * each; k++)
            dx[k] = scale[i] * dy[k] + (add ? dx[k] : 0);
}

struct tensor *op_affine_items(struct tape *t, struct tensor *x, const float *scale,
                               const float *shift)
{
    const int64_t items = x->dim[0], each = tensor_count(x) / items;
    ERR_BUG_IF(x->type != DTYPE_F32);
    struct tensor *y = tape_result(t, x->nd, x->dim, DTYPE_F32, x->wants_grad);
    for (int64_t i = 0; i < items; i++)
        for (int64_t k = i * each; k < (i + 1) * each; k++)
            y->data[k] = scale[i] * x->data[k] + shift[i];
    struct node *n =
        tape_node(t, y, affine_items_backward, scale, (size_t)items * sizeof *scale);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

static void guide_backward(struct tape *t, const struct node *n)
{
    const float weight = *(const float *)n->saved;
    const int64_t half = tensor_count(n->out);
    bool add;
    float *dx = tape_sink(t, n->in[0], &add);
    accumulate_scaled(half, DTYPE_F32, weight, n->out->grad, dx, add);
    accumulate_scaled(half, DTYPE_F32, 1 - weight, n->out->grad, dx + half, add);
}

struct tensor *op_guide(struct tape *t, struct tensor *both, float weight)
{
    int64_t dim[4] = {both->dim[0] / 2, both->dim[1], both->dim[2], both->dim[3]};
    ERR_BUG_IF(both->type != DTYPE_F32 || both->dim[0] % 2 != 0);
    struct tensor *y = tape_result(t, both->nd, dim, DTYPE_F32, both->wants_grad);
    const int64_t half = tensor_count(y);
    const float *given = both->data, *without = both->data + half;
    for (int64_t i = 0; i < half; i++)
        y->data[i] = without[i] + weight * (given[i] - without[i]);
    struct node *n = tape_node(t, y, guide_backward, &weight, sizeof weight);
    if (n != NULL)
        n->in[0] = both;
    return y;
}

static void add_scalar_backward(struct tape *t, const struct node *n)
{
    struct param *b = *(struct param *const *)n->saved;
    const int64_t count = tensor_count(n->out);
    const float *dy = n->out->grad;
    bool add;
    float *dx = tape_sink(t, n->in[0], &add);
    if (dx != NULL)
        accumulate(count, DTYPE_F32, dy, dx, add);
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
    ERR_BUG_IF(tensor_count(&b->t) != 1 || x->type != DTYPE_F32);
    struct tensor *y =
        tape_result(t, x->nd, x->dim, DTYPE_F32, x->wants_grad || b->t.grad != NULL);
    for (int64_t i = 0; i < count; i++)
        y->data[i] = x->data[i] + b->t.data[0];
    struct node *n = tape_node(t, y, add_scalar_backward, &b, sizeof b);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

/* Sums and scalings. One loop serves every back end: these are bound by memory. */
#include "io/sys/err.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"

#include <string.h>

/* Below this many values a second thread costs more than it brings. */
#define ENOUGH 32768

/* y = scale * x + shift, or y += scale * x + shift. */
static void affine(int64_t n, const float *x, float scale, float shift, float *y,
                   bool add)
{
    if (add) {
#pragma omp parallel for simd schedule(static) if (n > ENOUGH)
        for (int64_t i = 0; i < n; i++)
            y[i] += scale * x[i] + shift;
    } else {
#pragma omp parallel for simd schedule(static) if (n > ENOUGH)
        for (int64_t i = 0; i < n; i++)
            y[i] = scale * x[i] + shift;
    }
}

/* dx (+)= dy / divisor */
static void quotient(int64_t n, const float *dy, float divisor, float *dx, bool add)
{
    if (add) {
#pragma omp parallel for simd schedule(static) if (n > ENOUGH)
        for (int64_t i = 0; i < n; i++)
            dx[i] += dy[i] / divisor;
    } else {
#pragma omp parallel for simd schedule(static) if (n > ENOUGH)
        for (int64_t i = 0; i < n; i++)
            dx[i] = dy[i] / divisor;
    }
}

static void add_backward(struct tape *t, const struct node *n)
{
    (void)t;
    for (int i = 0; i < 2; i++) {
        bool add;
        float *dx = tape_sink(n->in[i], &add);
        if (dx != NULL)
            quotient(tensor_count(n->out), n->out->grad, *(float *)n->saved, dx, add);
    }
}

struct tensor *op_add(struct tape *t, struct tensor *a, struct tensor *b, float divisor)
{
    ERR_BUG_IF(a->nd != b->nd || memcmp(a->dim, b->dim, sizeof a->dim) != 0);
    struct tensor *y = tape_tensor(t, a->nd, a->dim, a->grad != NULL || b->grad != NULL);
    const float *p = a->data, *q = b->data;
    float *out = y->data;
    int64_t count = tensor_count(y);
#pragma omp parallel for simd schedule(static) if (count > ENOUGH)
    for (int64_t i = 0; i < count; i++)
        out[i] = (p[i] + q[i]) / divisor;
    struct node *n = tape_node(t, y, add_backward);
    if (n != NULL) {
        n->in[0] = a;
        n->in[1] = b;
        n->saved =
            memcpy(arena_take(tape_arena(t), 1, sizeof divisor), &divisor, sizeof divisor);
    }
    return y;
}

/* out[c] (+)= sum of rows of x [rows, c]: float within blocks of rows, double across. */
static void sum_rows(int64_t rows, int64_t c, const float *x, double *total, float *part)
{
    memset(total, 0, (size_t)c * sizeof *total);
    for (int64_t first = 0; first < rows; first += 16) {
        int64_t last = first + 16 < rows ? first + 16 : rows;
        memcpy(part, x + first * c, (size_t)c * sizeof *part);
        for (int64_t i = first + 1; i < last; i++)
            for (int64_t j = 0; j < c; j++)
                part[j] += x[i * c + j];
        for (int64_t j = 0; j < c; j++)
            total[j] += part[j];
    }
}

static void add_channels_backward(struct tape *t, const struct node *n)
{
    const int64_t items = n->out->dim[0], c = n->out->dim[3];
    const int64_t rows = n->out->dim[1] * n->out->dim[2];
    const float *dy = n->out->grad;
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    if (dx != NULL)
        quotient(items * rows * c, dy, 1, dx, add);
    float *de = tape_sink(n->in[1], &add);
    if (de == NULL)
        return;
    double *total = arena_take(tape_arena(t), items * c, sizeof *total);
    float *part = arena_take(tape_arena(t), items * c, sizeof *part);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < items; i++) {
        sum_rows(rows, c, dy + i * rows * c, total + i * c, part + i * c);
        for (int64_t j = 0; j < c; j++)
            de[i * c + j] = (float)total[i * c + j] + (add ? de[i * c + j] : 0);
    }
}

struct tensor *op_add_channels(struct tape *t, struct tensor *x, struct tensor *e)
{
    const int64_t items = x->dim[0], c = x->dim[3], rows = x->dim[1] * x->dim[2];
    ERR_BUG_IF(x->nd != 4 || e->nd != 2 || e->dim[0] != items || e->dim[1] != c);
    struct tensor *y = tape_tensor(t, 4, x->dim, x->grad != NULL || e->grad != NULL);
#pragma omp parallel for schedule(static)
    for (int64_t i = 0; i < items; i++)
        for (int64_t r = 0; r < rows; r++) {
            const float *in = x->data + (i * rows + r) * c, *row = e->data + i * c;
            float *out = y->data + (i * rows + r) * c;
            for (int64_t j = 0; j < c; j++)
                out[j] = in[j] + row[j];
        }
    struct node *n = tape_node(t, y, add_channels_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->in[1] = e;
    }
    return y;
}

static void affine_backward(struct tape *t, const struct node *n)
{
    (void)t;
    bool add;
    float *dx = tape_sink(n->in[0], &add);
    affine(tensor_count(n->out), n->out->grad, *(float *)n->saved, 0, dx, add);
}

struct tensor *op_affine(struct tape *t, struct tensor *x, float scale, float shift)
{
    struct tensor *y = tape_tensor(t, x->nd, x->dim, x->grad != NULL);
    affine(tensor_count(x), x->data, scale, shift, y->data, false);
    struct node *n = tape_node(t, y, affine_backward);
    if (n != NULL) {
        n->in[0] = x;
        n->saved =
            memcpy(arena_take(tape_arena(t), 1, sizeof scale), &scale, sizeof scale);
    }
    return y;
}

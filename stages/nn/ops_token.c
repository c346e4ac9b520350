/* The rest of what a transformer's tokens need: GELU, and a learned table of positions. One
 * loop serves every back end. */
#include "io/sys/err.h"
#include "stages/nn/accumulate.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/profile.h"
#include "stages/nn/vec.h"

#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* Below this many values a second thread costs more than it brings; and how many values
 * a thread takes at a time. */
#define ENOUGH 32768
#define STRETCH 8192

/* 0.5 x (1 + tanh(u / 2)) = x sigmoid(u), u = 2 sqrt(2 / pi) (x + 0.044715 x^3). */
#define GELU_1 1.5957691216057308f
#define GELU_3 (1.5957691216057308f * 0.044715f)

/* Beyond +-16 the result is x or 0; so u stays finite. */
INLINE vec gelu_argument(vec x)
{
    x = VEC_MIN(SPLAT(16.0f), x);
    x = VEC_MAX(SPLAT(-16.0f), x);
    return x * MULADD(x * x, SPLAT(GELU_3), SPLAT(GELU_1));
}

INLINE void gelu(enum dtype type, int64_t first, int64_t last, const void *x, void *y)
{
    for (int64_t i = first; i < last; i += LANES) {
        vec v = act_load(type, x, i, last - i);
        act_store(type, y, i, last - i, v * vec_sigmoid(gelu_argument(v)));
    }
}

/* s + x s (1 - s) du/dx */
INLINE vec gelu_slope(vec x)
{
    vec s = vec_sigmoid(gelu_argument(x));
    vec c = VEC_MAX(SPLAT(-16.0f), VEC_MIN(SPLAT(16.0f), x));
    vec slope = MULADD(c * c, SPLAT(3 * GELU_3), SPLAT(GELU_1));
    return s * MULADD(c * (SPLAT(1.0f) - s), slope, SPLAT(1.0f));
}

INLINE void gelu_dx(enum dtype type, int64_t first, int64_t last, const void *x,
                    const void *dy, void *dx, bool add)
{
    for (int64_t i = first; i < last; i += LANES) {
        vec v = act_load(type, dy, i, last - i) *
                gelu_slope(act_load(type, x, i, last - i));
        act_store(type, dx, i, last - i,
                  add ? act_load(type, dx, i, last - i) + v : v);
    }
}

static void gelu_run(const struct tensor *x, void *y)
{
    const int64_t n = tensor_count(x);
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t first = 0; first < n; first += STRETCH) {
        int64_t last = first + STRETCH < n ? first + STRETCH : n;
        if (x->type == DTYPE_F32)
            gelu(DTYPE_F32, first, last, x->raw, y);
        else
            gelu(DTYPE_BF16, first, last, x->raw, y);
    }
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
}

static void gelu_backward(struct tape *t, const struct node *k)
{
    const int64_t n = tensor_count(k->out);
    const struct tensor *x = k->in[0];
    bool add;
    void *dx = tape_sink(t, k->in[0], &add);
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t first = 0; first < n; first += STRETCH) {
        int64_t last = first + STRETCH < n ? first + STRETCH : n;
        if (x->type == DTYPE_F32)
            gelu_dx(DTYPE_F32, first, last, x->raw, k->out->raw_grad, dx, add);
        else
            gelu_dx(DTYPE_BF16, first, last, x->raw, k->out->raw_grad, dx, add);
    }
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
}

static void gelu_remake(struct tape *t, const struct node *n)
{
    (void)t;
    gelu_run(n->in[0], n->out->raw);
}

struct tensor *op_gelu(struct tape *t, struct tensor *x)
{
    struct tensor *y = tape_result(t, x->nd, x->dim, x->type, x->wants_grad);
    gelu_run(x, y->raw);
    struct node *n = tape_node(t, y, gelu_backward, NULL, 0);
    if (n != NULL) {
        n->in[0] = x;
        node_keep(n, x);
        node_remake(n, gelu_remake);
    }
    return y;
}

static void add_table_backward(struct tape *t, const struct node *n)
{
    struct param *p = *(struct param *const *)n->saved;
    const int64_t each = tensor_count(&p->t), items = n->out->dim[0];
    if (p->t.grad != NULL) {
        double *sums = arena_take(tape_scratch(t), each, sizeof *sums);
        double begun = profile_begin();
        accumulate_columns(1, items, each, n->out->type, n->out->raw_grad, sums);
        for (int64_t j = 0; j < each; j++)
            p->t.grad[j] += (float)sums[j];
        profile_end(PROFILE_ELEMENTWISE, begun, 0);
    }
    tape_pass(t, n, n->in[0]);
}

INLINE void add_rows(enum dtype type, int64_t first, int64_t n, const void *x,
                     const float *table, void *y)
{
    for (int64_t j = 0; j < n; j += LANES)
        act_store(type, y, first + j, n - j,
                  act_load(type, x, first + j, n - j) + vec_load(table + j, n - j));
}

struct tensor *op_add_table(struct tape *t, struct tensor *x, struct param *table)
{
    const int64_t each = tensor_count(&table->t), items = x->dim[0];
    ERR_BUG_IF(tensor_count(x) != items * each);
    bool grad = x->wants_grad || table->t.grad != NULL;
    struct tensor *y = tape_result(t, x->nd, x->dim, x->type, grad);
    double begun = profile_begin();
    for (int64_t i = 0; i < items; i++) {
        if (x->type == DTYPE_F32)
            add_rows(DTYPE_F32, i * each, each, x->raw, table->t.data, y->raw);
        else
            add_rows(DTYPE_BF16, i * each, each, x->raw, table->t.data, y->raw);
    }
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
    struct node *n = tape_node(t, y, add_table_backward, &table, sizeof table);
    if (n != NULL)
        n->in[0] = x;
    return y;
}

/* What a condition does to the rows of a transformer: layer normalisation with scale and
 * shift per item, and the gate of a residual branch. Rows of an item are summed in order,
 * items are shared by threads; one loop serves every back end. */
#include "io/sys/err.h"
#include "stages/nn/node.h"
#include "stages/nn/ops.h"
#include "stages/nn/profile.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <string.h>

#define INLINE static inline __attribute__((always_inline))
/* Below this many values a second thread costs more than it brings. */
#define ENOUGH 32768
/* Rows that are summed in float before they go to the sums in double. */
#define STRETCH 16

struct modulation {
    int64_t items, rows, c, chunks; /* rows per item */
    int64_t shift, scale;           /* chunks of the table; a gate's is scale */
    float eps;
    float *mean, *rstd; /* [items, rows] */
};

/* Chunk k of item i in a table [items, chunks c]. */
static float *chunk(const struct modulation *m, float *table, int64_t i, int64_t k)
{
    return table + (i * m->chunks + k) * m->c;
}

/* The first n lanes. */
INLINE vec lanes(vec v, int64_t n)
{
    for (int64_t k = n; k < LANES; k++)
        v[k] = 0;
    return v;
}

INLINE void row_statistics(enum dtype type, int64_t c, const void *x, int64_t at,
                           float eps, float *mean, float *rstd)
{
    vec sum = {0}, squares = {0};
    for (int64_t j = 0; j < c; j += LANES)
        sum += act_load(type, x, at + j, c - j);
    *mean = vec_sum(sum) / (float)c;
    for (int64_t j = 0; j < c; j += LANES) {
        vec v = act_load(type, x, at + j, c - j) - SPLAT(*mean);
        v = c - j < LANES ? lanes(v, c - j) : v;
        squares = MULADD(v, v, squares);
    }
    *rstd = 1 / sqrtf(vec_sum(squares) / (float)c + eps);
}

INLINE void norm_item(enum dtype type, const struct modulation *m, const void *x,
                      float *table, int64_t i, void *y)
{
    const float *shift = chunk(m, table, i, m->shift),
                *scale = chunk(m, table, i, m->scale);
    for (int64_t r = i * m->rows; r < (i + 1) * m->rows; r++) {
        const int64_t at = r * m->c;
        row_statistics(type, m->c, x, at, m->eps, &m->mean[r], &m->rstd[r]);
        for (int64_t j = 0; j < m->c; j += LANES) {
            int64_t n = m->c - j;
            vec v = (act_load(type, x, at + j, n) - SPLAT(m->mean[r])) *
                    SPLAT(m->rstd[r]);
            v = MULADD(v, SPLAT(1.0f) + vec_load(scale + j, n), vec_load(shift + j, n));
            act_store(type, y, at + j, n, v);
        }
    }
}

static void norm_run(const struct modulation *m, enum dtype type, const void *x,
                     float *table, void *y)
{
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (m->items * m->rows * m->c > ENOUGH)
    for (int64_t i = 0; i < m->items; i++) {
        if (type == DTYPE_F32)
            norm_item(DTYPE_F32, m, x, table, i, y);
        else
            norm_item(DTYPE_BF16, m, x, table, i, y);
    }
    profile_end(PROFILE_NORM, begun, 0);
}

/* Gradients of one item's rows: dx is NULL where it is not wanted; part [2, c] is working
 * memory, sums [2, c] receive those of shift and scale. */
struct norm_grads {
    const void *x, *dy;
    void *dx;
    bool add;
    float *table, *part;
    double *sums;
};

/* dx of one row, from dy: with n the normalised row and g = dy (1 + scale),
 * dx = rstd (g - mean(g) - n mean(g n)). */
INLINE void norm_row_dx(enum dtype type, const struct modulation *m,
                        const struct norm_grads *g, const float *scale, int64_t r)
{
    const int64_t at = r * m->c;
    const vec mean = SPLAT(m->mean[r]), rstd = SPLAT(m->rstd[r]);
    vec sum = {0}, product = {0};
    for (int64_t j = 0; j < m->c; j += LANES) {
        int64_t n = m->c - j;
        vec dy = act_load(type, g->dy, at + j, n);
        vec v = (act_load(type, g->x, at + j, n) - mean) * rstd;
        vec shifts = vec_load(g->part + j, n), scales = vec_load(g->part + m->c + j, n);
        vec_store(g->part + j, n, shifts + dy);
        vec_store(g->part + m->c + j, n, MULADD(dy, v, scales));
        dy *= SPLAT(1.0f) + vec_load(scale + j, n);
        sum += dy; /* 0 in lanes beyond the row */
        product = MULADD(dy, v, product);
    }
    const vec flat = SPLAT(vec_sum(sum) / (float)m->c),
              slope = SPLAT(vec_sum(product) / (float)m->c);
    for (int64_t j = 0; j < m->c && g->dx != NULL; j += LANES) {
        int64_t n = m->c - j;
        vec v = (act_load(type, g->x, at + j, n) - mean) * rstd;
        vec dy = act_load(type, g->dy, at + j, n) *
                 (SPLAT(1.0f) + vec_load(scale + j, n));
        vec dx = rstd * (dy - flat - v * slope);
        act_store(type, g->dx, at + j, n,
                  g->add ? act_load(type, g->dx, at + j, n) + dx : dx);
    }
}

/* sums += part, part = 0; n values. */
static void flush(int64_t n, float *part, double *sums)
{
    for (int64_t j = 0; j < n; j++) {
        sums[j] += (double)part[j];
        part[j] = 0;
    }
}

INLINE void norm_item_dx(enum dtype type, const struct modulation *m,
                         const struct norm_grads *g, int64_t i)
{
    const float *scale = chunk(m, g->table, i, m->scale);
    memset(g->part, 0, (size_t)(2 * m->c) * sizeof *g->part);
    memset(g->sums, 0, (size_t)(2 * m->c) * sizeof *g->sums);
    for (int64_t r = 0; r < m->rows; r++) {
        norm_row_dx(type, m, g, scale, i * m->rows + r);
        if (r % STRETCH == STRETCH - 1 || r == m->rows - 1)
            flush(2 * m->c, g->part, g->sums);
    }
}

/* The table's gradient, ready to be added to. NULL: not wanted. */
static float *table_sink(struct tape *t, struct tensor *table)
{
    bool add;
    float *to = tape_sink(t, table, &add);
    if (to != NULL && !add)
        memset(to, 0, (size_t)tensor_count(table) * sizeof *to);
    return to;
}

static void table_add(const struct modulation *m, float *to, int64_t i, int64_t k,
                      const double *sums)
{
    float *at = chunk(m, to, i, k);
    for (int64_t j = 0; j < m->c; j++)
        at[j] += (float)sums[j];
}

static void norm_backward(struct tape *t, const struct node *n)
{
    const struct modulation *m = n->saved;
    const enum dtype type = n->out->type;
    struct norm_grads all = {.x = n->in[0]->raw, .dy = n->out->raw_grad};
    float *to = table_sink(t, n->in[1]);
    all.dx = tape_sink(t, n->in[0], &all.add);
    all.table = n->in[1]->data;
    all.part = arena_take(tape_scratch(t), m->items * 2 * m->c, sizeof *all.part);
    all.sums = arena_take(tape_scratch(t), m->items * 2 * m->c, sizeof *all.sums);
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (m->items * m->rows * m->c > ENOUGH)
    for (int64_t i = 0; i < m->items; i++) {
        struct norm_grads g = all;
        g.part += i * 2 * m->c;
        g.sums += i * 2 * m->c;
        if (type == DTYPE_F32)
            norm_item_dx(DTYPE_F32, m, &g, i);
        else
            norm_item_dx(DTYPE_BF16, m, &g, i);
        if (to != NULL) {
            table_add(m, to, i, m->shift, g.sums);
            table_add(m, to, i, m->scale, g.sums + m->c);
        }
    }
    profile_end(PROFILE_NORM, begun, 0);
}

static void norm_remake(struct tape *t, const struct node *n)
{
    (void)t;
    norm_run(n->saved, n->out->type, n->in[0]->raw, n->in[1]->data, n->out->raw);
}

static struct modulation modulation_of(const struct tensor *x,
                                       const struct tensor *table)
{
    struct modulation m = {.items = x->dim[0], .c = x->dim[x->nd - 1]};
    ERR_BUG_IF(x->nd < 2 || table->type != DTYPE_F32 || table->dim[0] != m.items);
    m.rows = tensor_count(x) / (m.items * m.c);
    m.chunks = tensor_count(table) / (m.items * m.c);
    ERR_BUG_IF(m.chunks * m.items * m.c != tensor_count(table));
    return m;
}

struct tensor *op_modulated_norm(struct tape *t, struct tensor *x, struct tensor *table,
                                 struct modulate at, float eps)
{
    struct modulation m = modulation_of(x, table);
    m.shift = at.shift;
    m.scale = at.scale;
    m.eps = eps;
    ERR_BUG_IF(m.shift < 0 || m.shift >= m.chunks || m.scale < 0 || m.scale >= m.chunks);
    m.mean = tape_keepsake(t, m.items * m.rows, sizeof *m.mean);
    m.rstd = tape_keepsake(t, m.items * m.rows, sizeof *m.rstd);
    struct tensor *y =
        tape_result(t, x->nd, x->dim, x->type, x->wants_grad || table->wants_grad);
    norm_run(&m, x->type, x->raw, table->data, y->raw);
    struct node *n = tape_node(t, y, norm_backward, &m, sizeof m);
    if (n != NULL) {
        n->in[0] = x;
        n->in[1] = table;
        node_keep(n, x);
        node_keep(n, table);
        node_remake(n, norm_remake);
    }
    return y;
}

INLINE void gate_item(enum dtype type, const struct modulation *m, const float *gate,
                      int64_t i, const void *x, const void *h, void *y)
{
    for (int64_t r = i * m->rows; r < (i + 1) * m->rows; r++)
        for (int64_t j = 0; j < m->c; j += LANES) {
            int64_t at = r * m->c + j, n = m->c - j;
            act_store(type, y, at, n,
                      MULADD(vec_load(gate + j, n), act_load(type, h, at, n),
                             act_load(type, x, at, n)));
        }
}

struct gate_grads {
    const void *h, *dy;
    void *dh; /* NULL: not wanted */
    bool add;
    const float *gate;
    float *part;
    double *sums;
};

INLINE void gate_item_dx(enum dtype type, const struct modulation *m,
                         const struct gate_grads *g, int64_t i)
{
    memset(g->part, 0, (size_t)m->c * sizeof *g->part);
    memset(g->sums, 0, (size_t)m->c * sizeof *g->sums);
    for (int64_t r = 0; r < m->rows; r++) {
        for (int64_t j = 0; j < m->c; j += LANES) {
            int64_t at = (i * m->rows + r) * m->c + j, n = m->c - j;
            vec dy = act_load(type, g->dy, at, n);
            vec_store(g->part + j, n,
                      MULADD(dy, act_load(type, g->h, at, n), vec_load(g->part + j, n)));
            if (g->dh == NULL)
                continue;
            vec dh = dy * vec_load(g->gate + j, n);
            act_store(type, g->dh, at, n,
                      g->add ? act_load(type, g->dh, at, n) + dh : dh);
        }
        if (r % STRETCH == STRETCH - 1 || r == m->rows - 1)
            flush(m->c, g->part, g->sums);
    }
}

static void gate_backward(struct tape *t, const struct node *n)
{
    const struct modulation *m = n->saved;
    const enum dtype type = n->out->type;
    struct gate_grads all = {.h = n->in[1]->raw, .dy = n->out->raw_grad};
    float *to = table_sink(t, n->in[2]);
    all.dh = tape_sink(t, n->in[1], &all.add);
    all.part = arena_take(tape_scratch(t), m->items * m->c, sizeof *all.part);
    all.sums = arena_take(tape_scratch(t), m->items * m->c, sizeof *all.sums);
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (m->items * m->rows * m->c > ENOUGH)
    for (int64_t i = 0; i < m->items; i++) {
        struct gate_grads g = all;
        g.gate = chunk(m, n->in[2]->data, i, m->scale);
        g.part += i * m->c;
        g.sums += i * m->c;
        if (type == DTYPE_F32)
            gate_item_dx(DTYPE_F32, m, &g, i);
        else
            gate_item_dx(DTYPE_BF16, m, &g, i);
        if (to != NULL)
            table_add(m, to, i, m->scale, g.sums);
    }
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
    tape_pass(t, n, n->in[0]);
}

struct tensor *op_gate(struct tape *t, struct tensor *x, struct tensor *h,
                       struct tensor *table, int64_t gate)
{
    struct modulation m = modulation_of(x, table);
    ERR_BUG_IF(x->nd != h->nd || memcmp(x->dim, h->dim, sizeof x->dim) != 0);
    ERR_BUG_IF(x->type != h->type || gate < 0 || gate >= m.chunks);
    m.scale = gate;
    bool grad = x->wants_grad || h->wants_grad || table->wants_grad;
    struct tensor *y = tape_result(t, x->nd, x->dim, x->type, grad);
    double begun = profile_begin();
#pragma omp parallel for schedule(static) if (m.items * m.rows * m.c > ENOUGH)
    for (int64_t i = 0; i < m.items; i++) {
        const float *g = chunk(&m, table->data, i, gate);
        if (x->type == DTYPE_F32)
            gate_item(DTYPE_F32, &m, g, i, x->raw, h->raw, y->raw);
        else
            gate_item(DTYPE_BF16, &m, g, i, x->raw, h->raw, y->raw);
    }
    profile_end(PROFILE_ELEMENTWISE, begun, 0);
    struct node *n = tape_node(t, y, gate_backward, &m, sizeof m);
    if (n != NULL) {
        n->in[0] = x;
        n->in[1] = h;
        n->in[2] = table;
        node_keep(n, h);
        node_keep(n, table);
    }
    return y;
}

/* Kernels called directly on random items, and what every table of them promises: an
 * item's result depends neither on its place nor on the batch, nor on the threads, bit
 * for bit. The test gives struct shape's meaning by params_of and run_any. */
#ifndef SLUICE_TESTS_KERNEL_H
#define SLUICE_TESTS_KERNEL_H

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/vec.h"
#include "tests/tap.h"

#include <omp.h>

/* l linear: rows, c0 + c1 inputs, x outputs. a attention: rows, c0 channels, x heads.
 * Others are the test's own. */
struct shape {
    char what;
    int64_t rows, c0, c1;
    int64_t x;    /* outputs, groups or heads */
    bool more;    /* gradients are added, residuals */
    int64_t wide; /* of pictures: pixels in a row */
};

enum { Y, D0, D1, D2, STATS, GRADS, OUTS };

/* Results in float32; `size` values per item, or in all for GRADS. */
struct result {
    int64_t size[OUTS];
    float *out[OUTS];
};

struct setting {
    const struct backend *b;
    const struct shape *s;
    enum dtype type;
    int64_t n;
    const int64_t *which; /* content of each item */
    struct arena *arena;
    struct param_set *params;
};

/* The test's own. */
static struct param_set *params_of(const struct shape *s);
static void run_any(const struct setting *t, struct result *r);

/* Items of `size` values by their contents. */
static inline void *make(const struct setting *t, int64_t size, int64_t salt)
{
    float *x = arena_take(t->arena, t->n * size, sizeof *x);
    for (int64_t i = 0; i < t->n; i++)
        rng_normal(rng_key(9, RNG_TEST, t->which[i], salt, 0, 0), x + i * size, size);
    if (t->type == DTYPE_F32)
        return x;
    bf16 *h = arena_take(t->arena, t->n * size, sizeof *h);
    for (int64_t i = 0; i < t->n * size; i++)
        h[i] = bf16_from_float(x[i]);
    return h;
}

static inline void keep(const struct setting *t, struct result *r, int which,
                        int64_t size, const void *x)
{
    r->size[which] = size;
    r->out[which] = mem_alloc(t->n * size, sizeof(float));
    for (int64_t i = 0; i < t->n * size; i++)
        r->out[which][i] = t->type == DTYPE_BF16 && which < STATS
                               ? bf16_to_float(((const bf16 *)x)[i])
                               : ((const float *)x)[i];
}

static inline void run_linear(const struct setting *t, struct result *r)
{
    const struct shape *s = t->s;
    struct linear_args a = {.n = t->n,
                            .rows = t->n * s->rows,
                            .in = s->c0 + s->c1,
                            .out = s->x,
                            .type = t->type,
                            .part = {{s->c0, make(t, s->rows * s->c0, 0),
                                      make(t, s->rows * s->c0, 1), s->more},
                                     {s->c1, make(t, s->rows * s->c1, 2),
                                      make(t, s->rows * s->c1, 3), false}},
                            .weight = param_at(t->params, 0),
                            .bias = param_at(t->params, 1),
                            .residual = s->more ? make(t, s->rows * s->x, 4) : NULL,
                            .dy = make(t, s->rows * s->x, 5),
                            .y = make(t, s->rows * s->x, 6),
                            .scratch = t->arena};
    t->b->linear(&a);
    t->b->linear_dx(&a);
    t->b->linear_dw(&a);
    keep(t, r, Y, s->rows * s->x, a.y);
    keep(t, r, D0, s->rows * s->c0, a.part[0].dx);
    keep(t, r, D1, s->rows * s->c1, a.part[1].dx);
}

static inline void run_attention(const struct setting *t, struct result *r)
{
    const struct shape *s = t->s;
    const int64_t size = s->rows * s->c0;
    struct attention_args a = {.n = t->n,
                               .t = s->rows,
                               .c = s->c0,
                               .heads = s->x,
                               .type = t->type,
                               .q = make(t, size, 0),
                               .k = make(t, size, 1),
                               .v = make(t, size, 2),
                               .dy = make(t, size, 5),
                               .y = make(t, size, 6),
                               .dq = make(t, size, 7),
                               .dk = make(t, size, 8),
                               .dv = make(t, size, 9),
                               .add_dk = s->more,
                               .scratch = t->arena};
    t->b->attention(&a);
    t->b->attention_dx(&a);
    keep(t, r, Y, size, a.y);
    keep(t, r, D0, size, a.dq);
    keep(t, r, D1, size, a.dk);
    keep(t, r, D2, size, a.dv);
}

static inline struct result run(const struct backend *b, const struct shape *s,
                                enum dtype type, int64_t n, const int64_t *which)
{
    struct result r = {0};
    struct setting t = {b, s, type, n, which, arena_create(), params_of(s)};
    run_any(&t, &r);
    r.size[GRADS] = param_total(t.params);
    r.out[GRADS] = memcpy(mem_alloc(r.size[GRADS], sizeof(float)),
                          param_grads(t.params), (size_t)r.size[GRADS] * sizeof(float));
    param_destroy(t.params);
    arena_destroy(t.arena);
    return r;
}

static inline void result_free(struct result r)
{
    for (int k = 0; k < OUTS; k++)
        mem_free(r.out[k]);
}

static const int64_t order[8] = {0, 1, 2, 3, 4, 5, 6, 7};

static inline int64_t items_differ(struct result a, int64_t i, struct result b,
                                   int64_t j)
{
    int64_t bad = 0;
    for (int k = 0; k < GRADS; k++)
        bad += a.out[k] != NULL &&
               memcmp(a.out[k] + i * a.size[k], b.out[k] + j * b.size[k],
                      (size_t)a.size[k] * sizeof(float)) != 0;
    return bad;
}

/* Contents 0..6 together against each alone, and in another order among strangers. */
static inline void check_position(const struct backend *b, const struct shape *s,
                                  enum dtype type)
{
    int64_t other[5] = {100, 4, 101, 2, 0}, bad = 0;
    struct result all = run(b, s, type, 7, order);
    struct result moved = run(b, s, type, 5, other);
    for (int64_t i = 0; i < 5; i++)
        if (other[i] < 7)
            bad += items_differ(all, other[i], moved, i);
    for (int64_t i = 0; i < 7; i++) {
        struct result one = run(b, s, type, 1, order + i);
        bad += items_differ(all, i, one, 0);
        result_free(one);
    }
    tap_ok(bad == 0, "%s %s: %c %lld [%lld, %lld]: place and batch change %lld results",
           b->name, dtype_name(type), s->what, (long long)s->rows, (long long)s->c0,
           (long long)s->c1, (long long)bad);
    result_free(all);
    result_free(moved);
}

static inline void check_threads(const struct backend *b, const struct shape *s,
                                 enum dtype type)
{
    int64_t bad = 0;
    omp_set_num_threads(1);
    struct result one = run(b, s, type, 5, order);
    for (int threads = 2; threads <= 3; threads++) {
        omp_set_num_threads(threads);
        struct result r = run(b, s, type, 5, order);
        for (int64_t i = 0; i < 5; i++)
            bad += items_differ(one, i, r, i);
        bad += memcmp(one.out[GRADS], r.out[GRADS],
                      (size_t)r.size[GRADS] * sizeof(float)) != 0;
        result_free(r);
    }
    omp_set_num_threads(2);
    tap_ok(bad == 0, "%s %s: %c %lld [%lld, %lld]: threads change %lld results",
           b->name, dtype_name(type), s->what, (long long)s->rows, (long long)s->c0,
           (long long)s->c1, (long long)bad);
    result_free(one);
}

#endif

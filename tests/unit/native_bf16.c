/* Kernels by oneDNN's matrix product, called directly; one rank. In float32, which
 * every processor has, against the reference; in bfloat16, by the table "onednn" where
 * the processor computes it, against float32 arithmetic between bfloat16 ends (the
 * table "emulated") and the reference. Convolutions are part of the bfloat16 tests.
 * And:
 * - an item's result does not depend on its place or the batch, bit for bit;
 * - all bits are the same at 1, 2 and 3 threads. */
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/backend.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn.h"
#include "stages/nn/vec.h"
#include "tests/tap.h"

#include <omp.h>

static const struct backend products = {
    .name = "products",
    .conv = onednn_conv,
    .conv_dx = onednn_conv_dx,
    .conv_dw = native_conv_dw,
    .linear = native_linear,
    .linear_dx = native_linear_dx,
    .linear_dw = native_linear_dw,
    .attention = native_attention,
    .attention_dx = native_attention_dx,
};

/* l linear: rows, c0 + c1 inputs, x outputs. a attention: rows, c0 channels, x heads.
 * c convolution: rows x wide pixels, c0 channels, x outputs, stride c1 (3: 1 x 1). */
struct shape {
    char what;
    int64_t rows, wide, c0, c1, x;
    bool more; /* gradients are added; residuals */
};

static const struct shape shapes[] = {
    {'l', 1, 0, 64, 0, 256, false},   {'l', 16, 0, 24, 40, 33, true},
    {'l', 64, 0, 300, 0, 70, true},   {'l', 300, 0, 96, 64, 290, true},
    {'l', 77, 0, 1100, 0, 40, false}, {'l', 33, 0, 33, 0, 600, true},
    {'l', 256, 0, 64, 0, 64, false},  {'a', 64, 0, 64, 0, 8, false},
    {'a', 17, 0, 33, 0, 3, true},     {'a', 64, 0, 32, 0, 1, true},
    {'a', 300, 0, 80, 0, 2, true},    {'c', 8, 8, 64, 1, 64, false},
    {'c', 5, 7, 17, 1, 33, true},     {'c', 32, 32, 16, 1, 48, true},
    {'c', 4, 4, 290, 1, 64, false},   {'c', 40, 3, 32, 1, 16, true},
    {'c', 9, 9, 3, 1, 32, false},     {'c', 8, 8, 32, 1, 3, true},
    {'c', 8, 8, 32, 2, 32, true},     {'c', 6, 6, 32, 3, 64, false},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

enum { Y, D0, D1, D2, GRADS, OUTS };

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

static struct param_set *params_of(const struct shape *s)
{
    const int64_t k = s->what == 'c' && s->c1 < 3 ? 3 : 1;
    const int64_t in = s->what == 'c' ? s->c0 : s->c0 + s->c1;
    struct param_set *p = param_create();
    param_declare(p, "weight", 4, (const int64_t[]){s->x, in, k, k});
    param_declare(p, "bias", 1, (const int64_t[]){s->x});
    param_allocate(p, 1);
    rng_normal(rng_key(9, RNG_TEST, 77, 0, 0, 0), param_values(p), param_total(p));
    rng_normal(rng_key(9, RNG_TEST, 78, 0, 0, 0), param_grads(p), param_total(p));
    param_touch(p);
    return p;
}

/* Items of `size` values by their contents. */
static void *make(const struct setting *t, int64_t size, int64_t salt)
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

static void keep(const struct setting *t, struct result *r, int which, int64_t size,
                 const void *x)
{
    r->size[which] = size;
    r->out[which] = mem_alloc(t->n * size, sizeof(float));
    for (int64_t i = 0; i < t->n * size; i++)
        r->out[which][i] = t->type == DTYPE_BF16 ? bf16_to_float(((const bf16 *)x)[i])
                                                 : ((const float *)x)[i];
}

static void run_linear(const struct setting *t, struct result *r)
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

static void run_attention(const struct setting *t, struct result *r)
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

static void run_conv(const struct setting *t, struct result *r)
{
    const struct shape *s = t->s;
    const int64_t stride = s->c1 == 2 ? 2 : 1, k = s->c1 == 3 ? 1 : 3;
    const int64_t oh = (s->rows - 1) / stride + 1, ow = (s->wide - 1) / stride + 1;
    const int64_t in = s->rows * s->wide * s->c0, out = oh * ow * s->x;
    const int pad = (int)k / 2;
    float *shift = arena_take(t->arena, t->n * s->x, sizeof *shift);
    for (int64_t i = 0; i < t->n; i++)
        rng_normal(rng_key(9, RNG_TEST, t->which[i], 3, 0, 0), shift + i * s->x, s->x);
    struct conv_args a = {.n = t->n,
                          .h = s->rows,
                          .w = s->wide,
                          .c = s->c0,
                          .oh = oh,
                          .ow = ow,
                          .o = s->x,
                          .kh = k,
                          .kw = k,
                          .stride = (int)stride,
                          .pad = {pad, pad, pad, pad},
                          .type = t->type,
                          .weight = param_at(t->params, 0),
                          .bias = param_at(t->params, 1),
                          .shift = s->more ? shift : NULL,
                          .residual = s->more ? make(t, out, 4) : NULL,
                          .x = make(t, in, 0),
                          .dx = make(t, in, 1),
                          .add_dx = s->more,
                          .dy = make(t, out, 5),
                          .y = make(t, out, 6),
                          .scratch = t->arena};
    t->b->conv(&a);
    t->b->conv_dx(&a);
    t->b->conv_dw(&a);
    keep(t, r, Y, out, a.y);
    keep(t, r, D0, in, a.dx);
}

static void run_any(const struct setting *t, struct result *r)
{
    if (t->s->what == 'l')
        run_linear(t, r);
    else if (t->s->what == 'a')
        run_attention(t, r);
    else
        run_conv(t, r);
}

static struct result run(const struct backend *b, const struct shape *s,
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

static void result_free(struct result r)
{
    for (int k = 0; k < OUTS; k++)
        mem_free(r.out[k]);
}

static const int64_t order[8] = {0, 1, 2, 3, 4, 5, 6, 7};

/* |got - want| / |want| over all values. */
static double distance(const float *got, const float *want, int64_t n)
{
    double num = 0, den = 1e-30;
    for (int64_t i = 0; i < n; i++) {
        num += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        den += (double)want[i] * want[i];
    }
    return sqrt(num / den);
}

/* Results that are rounded to bfloat16 may fall on the other side now and then: half a
 * unit, 2^-9, of few values; a sum of two rounded ones is rounded twice. Attention
 * rounds probabilities and gradients of scores as well. */
static void check_values(const struct backend *b, const struct backend *other,
                         const struct shape *s, enum dtype type)
{
    const int64_t n = 3;
    struct result got = run(b, s, type, n, order), want = run(other, s, type, n, order);
    double worst = 0, grads = 0;
    for (int k = 0; k < GRADS; k++)
        if (want.out[k] != NULL)
            worst = fmax(worst, distance(got.out[k], want.out[k], n * want.size[k]));
    grads = distance(got.out[GRADS], want.out[GRADS], want.size[GRADS]);
    double allowed = 1e-6;
    if (type == DTYPE_BF16)
        allowed = s->what == 'a' ? 6e-3 : s->more ? 4e-3 : 2.5e-3;
    tap_ok(worst <= allowed && grads <= 2e-6,
           "%s %s against %s: %c %lld [%lld, %lld] %lld: %.1e, gradients %.1e", b->name,
           dtype_name(type), other->name, s->what, (long long)s->rows, (long long)s->c0,
           (long long)s->c1, (long long)s->x, worst, grads);
    result_free(got);
    result_free(want);
}

static int64_t items_differ(struct result a, int64_t i, struct result b, int64_t j)
{
    int64_t bad = 0;
    for (int k = 0; k < GRADS; k++)
        bad += a.out[k] != NULL &&
               memcmp(a.out[k] + i * a.size[k], b.out[k] + j * b.size[k],
                      (size_t)a.size[k] * sizeof(float)) != 0;
    return bad;
}

/* Contents 0..6 together against some alone, and in another order among strangers. */
static void check_position(const struct backend *b, const struct shape *s,
                           enum dtype type)
{
    int64_t other[5] = {100, 4, 101, 2, 0}, bad = 0;
    struct result all = run(b, s, type, 7, order);
    struct result moved = run(b, s, type, 5, other);
    for (int64_t i = 0; i < 5; i++)
        if (other[i] < 7)
            bad += items_differ(all, other[i], moved, i);
    for (int64_t i = 0; i < 7; i += 3) {
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

/* Nothing is allocated once the shapes were seen; new weights are no new shape. */
static void check_memory(const struct backend *b, enum dtype type)
{
    int64_t bad = 0;
    for (size_t i = 0; i < SHAPES; i++) {
        struct setting t = {b, &shapes[i], type, 3, order, NULL, params_of(&shapes[i])};
        int64_t live[3];
        for (int step = 0; step < 3; step++) {
            struct result r = {0};
            t.arena = arena_create();
            run_any(&t, &r);
            result_free(r);
            arena_destroy(t.arena);
            param_touch(t.params);
            live[step] = mem_live();
        }
        bad += live[1] != live[0] || live[2] != live[0];
        param_destroy(t.params);
    }
    tap_ok(bad == 0, "%s %s: memory grows for %lld shapes", b->name, dtype_name(type),
           (long long)bad);
}

static void check_threads(const struct backend *b, const struct shape *s,
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
    tap_ok(bad == 0, "%s %s: %c %lld [%lld, %lld]: threads change %lld results",
           b->name, dtype_name(type), s->what, (long long)s->rows, (long long)s->c0,
           (long long)s->c1, (long long)bad);
    result_free(one);
}

int main(void)
{
    const struct backend *onednn = backend_get("onednn", 3);
    const struct backend *emulated = backend_get("emulated", 3);
    const bool native = backend_has_bf16("onednn");
    const int64_t kept = mem_live();
    for (size_t i = 0; i < SHAPES; i++) {
        check_values(&products, &backend_reference, &shapes[i], DTYPE_F32);
        check_position(&products, &shapes[i], DTYPE_F32);
        check_threads(&products, &shapes[i], DTYPE_F32);
    }
    check_memory(&products, DTYPE_F32);
    if (!native)
        tap_skip("bfloat16 by oneDNN", "this processor has no such instructions");
    for (size_t i = 0; i < SHAPES && native; i++) {
        check_values(onednn, emulated, &shapes[i], DTYPE_BF16);
        check_values(onednn, &backend_reference, &shapes[i], DTYPE_BF16);
        check_position(onednn, &shapes[i], DTYPE_BF16);
        check_threads(onednn, &shapes[i], DTYPE_BF16);
    }
    if (native)
        check_memory(onednn, DTYPE_BF16);
    backend_clear();
    tap_ok(mem_live() == kept, "no memory is left");
    return tap_done();
}

/* Kernels by oneDNN's matrix product, called directly; one rank. In float32, which
 * every processor has, against the reference; in bfloat16, by the table "onednn" where
 * the processor computes it, against float32 arithmetic between bfloat16 ends (the
 * table "emulated") and the reference. Convolutions are part of the bfloat16 tests.
 * And:
 * - an item's result does not depend on its place or the batch, bit for bit;
 * - all bits are the same at 1, 2 and 3 threads. */
#include "stages/nn/native.h"
#include "stages/nn/onednn.h"
#include "tests/kernel.h"

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

/* c convolution: rows x wide pixels, c0 channels, x outputs, stride c1 (3: 1 x 1). */
static const struct shape shapes[] = {
    {'l', 1, 64, 0, 256, false, 0},   {'l', 16, 24, 40, 33, true, 0},
    {'l', 64, 300, 0, 70, true, 0},   {'l', 300, 96, 64, 290, true, 0},
    {'l', 77, 1100, 0, 40, false, 0}, {'l', 33, 33, 0, 600, true, 0},
    {'l', 256, 64, 0, 64, false, 0},  {'a', 64, 64, 0, 8, false, 0},
    {'a', 17, 33, 0, 3, true, 0},     {'a', 64, 32, 0, 1, true, 0},
    {'a', 300, 80, 0, 2, true, 0},    {'c', 8, 64, 1, 64, false, 8},
    {'c', 5, 17, 1, 33, true, 7},     {'c', 32, 16, 1, 48, true, 32},
    {'c', 4, 290, 1, 64, false, 4},   {'c', 40, 32, 1, 16, true, 3},
    {'c', 9, 3, 1, 32, false, 9},     {'c', 8, 32, 1, 3, true, 8},
    {'c', 8, 32, 2, 32, true, 8},     {'c', 6, 32, 3, 64, false, 6},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

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

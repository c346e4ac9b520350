/* The tables of kernels, called directly; one rank. Our vector loops against the
 * reference in both dtypes, with odd shapes, two-part inputs whose groups straddle the
 * boundary, sums onto gradients and residuals; and what kernels promise:
 * - an item's result does not depend on its place or the batch, bit for bit;
 * - all bits are the same at 1, 2 and 3 threads. */
#include "stages/nn/fast.h"
#include "tests/kernel.h"

static const struct backend fast = {
    .name = "fast",
    .linear = fast_linear,
    .linear_dx = fast_linear_dx,
    .linear_dw = fast_linear_dw,
    .norm = fast_norm,
    .norm_dx = fast_norm_dx,
    .silu = fast_silu,
    .silu_dx = fast_silu_dx,
    .attention = fast_attention,
    .attention_dx = fast_attention_dx,
};

/* l linear, n norm, e norm + silu, s silu, a attention */
static const struct shape shapes[] = {
    {'l', 1, 64, 0, 256, false, 0}, {'l', 1, 37, 0, 19, true, 0},
    {'l', 64, 300, 0, 70, true, 0}, {'l', 50, 24, 40, 33, true, 0},
    {'l', 9, 257, 13, 8, false, 0}, {'l', 120, 7, 300, 290, true, 0},
    {'n', 64, 64, 0, 8, false, 0},  {'e', 100, 32, 0, 8, true, 0},
    {'e', 33, 30, 0, 5, false, 0},  {'e', 65, 24, 16, 5, true, 0},
    {'n', 49, 20, 28, 4, false, 0}, {'e', 7, 5, 13, 3, true, 0},
    {'e', 1, 8, 0, 2, false, 0},    {'s', 100, 31, 0, 1, true, 0},
    {'s', 300, 64, 0, 1, false, 0}, {'a', 64, 64, 0, 8, false, 0},
    {'a', 17, 33, 0, 3, true, 0},   {'a', 64, 32, 0, 1, true, 0},
    {'a', 300, 24, 0, 2, false, 0},
};
#define SHAPES (sizeof shapes / sizeof shapes[0])

static struct param_set *params_of(const struct shape *s)
{
    const int64_t c = s->c0 + s->c1;
    struct param_set *p = param_create();
    param_declare(p, "weight", 2, (const int64_t[]){s->what == 'l' ? s->x : 1, c});
    param_declare(p, "bias", 1, (const int64_t[]){s->what == 'l' ? s->x : c});
    param_allocate(p, 1);
    rng_normal(rng_key(9, RNG_TEST, 77, 0, 0, 0), param_values(p), param_total(p));
    rng_normal(rng_key(9, RNG_TEST, 78, 0, 0, 0), param_grads(p), param_total(p));
    param_touch(p);
    return p;
}

static void run_norm(const struct setting *t, struct result *r)
{
    const struct shape *s = t->s;
    const int64_t c = s->c0 + s->c1;
    float *stats = arena_take(t->arena, 2 * t->n * s->x, sizeof *stats);
    struct norm_args a = {.n = t->n,
                          .rows = s->rows,
                          .c = c,
                          .groups = s->x,
                          .eps = 1e-5f,
                          .silu = s->what == 'e',
                          .type = t->type,
                          .part = {{s->c0, make(t, s->rows * s->c0, 0),
                                    make(t, s->rows * s->c0, 1), s->more},
                                   {s->c1, make(t, s->rows * s->c1, 2),
                                    make(t, s->rows * s->c1, 3), false}},
                          .gamma = param_at(t->params, 0),
                          .beta = param_at(t->params, 1),
                          .dy = make(t, s->rows * c, 5),
                          .y = make(t, s->rows * c, 6),
                          .mean = stats,
                          .rstd = stats + t->n * s->x,
                          .scratch = t->arena};
    t->b->norm(&a);
    t->b->norm_dx(&a);
    keep(t, r, Y, s->rows * c, a.y);
    keep(t, r, D0, s->rows * s->c0, a.part[0].dx);
    keep(t, r, D1, s->rows * s->c1, a.part[1].dx);
    keep(t, r, STATS, s->x, a.rstd);
}

static void run_silu(const struct setting *t, struct result *r)
{
    const int64_t size = t->s->rows * t->s->c0;
    const void *x = make(t, size, 0), *dy = make(t, size, 5);
    void *y = make(t, size, 6), *dx = make(t, size, 1);
    t->b->silu(t->n * size, t->type, x, y);
    t->b->silu_dx(t->n * size, t->type, x, dy, dx, t->s->more);
    keep(t, r, Y, size, y);
    keep(t, r, D0, size, dx);
}

static void run_any(const struct setting *t, struct result *r)
{
    if (t->s->what == 'l')
        run_linear(t, r);
    else if (t->s->what == 'a')
        run_attention(t, r);
    else if (t->s->what == 's')
        run_silu(t, r);
    else
        run_norm(t, r);
}

/* Largest difference in units of what is allowed: a few float32 roundings of the
 * largest value, and in bf16 one unit in the last place of the value, 2^-7, itself. */
static double distance(const float *got, const float *want, int64_t n, enum dtype type)
{
    double top = 0, worst = 0;
    for (int64_t i = 0; i < n; i++)
        top = fmax(top, fabs(want[i]));
    for (int64_t i = 0; i < n; i++) {
        double allowed = 4e-6 * top + (type == DTYPE_BF16 ? fabs(want[i]) / 127 : 0);
        double d = fabs(got[i] - want[i]) / (allowed + 1e-30);
        worst = !(d <= worst) ? d : worst;
    }
    return worst;
}

static void check_reference(const struct shape *s, enum dtype type)
{
    const int64_t n = 3;
    struct result got = run(&fast, s, type, n, order);
    struct result want = run(&backend_reference, s, type, n, order);
    double worst = 0;
    for (int k = 0; k < OUTS; k++)
        if (want.out[k] != NULL) {
            int64_t count = k == GRADS ? want.size[k] : n * want.size[k];
            worst = fmax(worst, distance(got.out[k], want.out[k], count,
                                         k < STATS ? type : DTYPE_F32));
        }
    tap_ok(worst <= 1, "%c %lld [%lld + %lld] %lld %s: %.2f of what may differ",
           s->what, (long long)s->rows, (long long)s->c0, (long long)s->c1,
           (long long)s->x, dtype_name(type), worst);
    result_free(got);
    result_free(want);
}

/* All bf16 values come back; the halves between them go to the even one; specials. */
static void check_bf16(void)
{
    int64_t back = 0, ties = 0, vector = 0;
    for (uint32_t h = 0; h < 65536; h++) {
        const uint32_t low[] = {0, 1, 0x7fff, 0x8000, 0x8001, 0xffff};
        for (int i = 0; i < 6; i++) {
            uint32_t bits = h << 16 | low[i];
            float v;
            bf16 out[LANES], got;
            memcpy(&v, &bits, sizeof v);
            got = bf16_from_float(v);
            vec_store_bf16(out, LANES, SPLAT(v));
            vector += out[0] != got || out[LANES - 1] != got;
            if (isnan(v)) {
                back += !isnan(bf16_to_float(got)) || !(got & 0x40);
                continue;
            }
            bf16 up = (bf16)(h + 1), down = (bf16)h;
            bf16 want = low[i] < 0x8000   ? down
                        : low[i] > 0x8000 ? up
                        : h & 1           ? up
                                          : down;
            back += low[i] == 0 && (got != h || bf16_to_float(got) != v);
            ties += got != want;
        }
    }
    tap_ok(back == 0, "bf16: %lld values do not come back", (long long)back);
    tap_ok(ties == 0, "bf16: %lld values round wrongly", (long long)ties);
    tap_ok(vector == 0, "bf16: %lld values differ between vector and scalar",
           (long long)vector);
    float tail[LANES] = {1, 2, 3};
    bf16 three[LANES] = {0};
    vec_store_bf16(three, 3, vec_load(tail, 3));
    vec v = vec_load_bf16(three, 2);
    tap_ok(v[0] == 1 && v[1] == 2 && v[2] == 0 && three[3] == 0,
           "bf16: tails stay inside");
}

/* exp and sigmoid against double precision, in units in the last place of float32. */
static void check_functions(void)
{
    double worst_exp = 0, worst_sigmoid = 0;
    for (int i = -870000; i <= 870000; i += 7) {
        float x = (float)i * 1e-4f;
        double e = exp((double)x), s = 1 / (1 + exp(-(double)x));
        worst_exp = fmax(worst_exp, fabs(vec_exp(SPLAT(x))[0] / e - 1) * 0x1p23);
        worst_sigmoid =
            fmax(worst_sigmoid, fabs(vec_sigmoid(SPLAT(x))[0] / s - 1) * 0x1p23);
    }
    tap_ok(worst_exp <= 2.1, "exp: within %.2f units of 2^-23", worst_exp);
    tap_ok(worst_sigmoid <= 2.5, "sigmoid: within %.2f units of 2^-23", worst_sigmoid);
    vec nan = SPLAT(NAN);
    tap_ok(isnan(vec_exp(nan)[0]) && isnan(vec_silu(nan)[0]) &&
               isnan(vec_silu_slope(nan)[0]) && vec_exp(SPLAT(0.0f))[0] == 1,
           "NaN stays NaN, exp 0 is 1");
}

/* Mean 1000, deviation 1 (so that a value keeps 14 bits of its deviation), against
 * double precision over the same values; and a first block of rows unlike the others.
 */
static void check_large_mean(float start)
{
    enum { ROWS = 1024, C = 16 };
    const struct shape s = {'n', ROWS, C, 0, 2, false, 0};
    struct arena *arena = arena_create();
    struct param_set *p = params_of(&s);
    float *x = arena_take(arena, ROWS * C, sizeof *x), stats[4];
    float *y = arena_take(arena, ROWS * C, sizeof *y);
    double worst = 0, worst_rstd = 0;
    rng_normal(rng_key(9, RNG_TEST, 5, 0, 0, 0), x, ROWS * C);
    for (int64_t i = 0; i < ROWS * C; i++)
        x[i] += i / C < 32 ? start : 1000;
    for (int64_t i = 0; i < 2 * C; i++)
        param_values(p)[i] = i < C;
    struct norm_args a = {.n = 1,
                          .rows = ROWS,
                          .c = C,
                          .groups = 2,
                          .eps = 1e-5f,
                          .part = {{.c = C, .x = x}},
                          .gamma = param_at(p, 0),
                          .beta = param_at(p, 1),
                          .y = y,
                          .mean = stats,
                          .rstd = stats + 2,
                          .scratch = arena};
    fast_norm(&a);
    for (int64_t g = 0; g < 2; g++) {
        double mean = 0, var = 0, count = ROWS * C / 2;
        for (int64_t i = 0; i < ROWS * C; i++)
            mean += i % C / 8 == g ? x[i] / count : 0;
        for (int64_t i = 0; i < ROWS * C; i++)
            var += i % C / 8 == g ? (x[i] - mean) * (x[i] - mean) / count : 0;
        double rstd = 1 / sqrt(var + 1e-5);
        worst_rstd = fmax(worst_rstd, fabs(stats[2 + g] / rstd - 1));
        for (int64_t i = 0; i < ROWS * C; i++)
            if (i % C / 8 == g)
                worst = fmax(worst, fabs(y[i] - (x[i] - mean) * rstd));
    }
    tap_ok(worst_rstd < 1e-6, "norm about 1000 from %g: rstd off by %.1e",
           (double)start, worst_rstd);
    tap_ok(worst < 2e-6, "norm about 1000 from %g: y off by %.1e", (double)start,
           worst);
    param_destroy(p);
    arena_destroy(arena);
}

/* The gradient of sum(y * seed) by central differences, at some places. */
static void check_differences(const struct shape *s)
{
    const int64_t which[1] = {3}, c = s->c0 + s->c1, size = s->rows * c;
    struct setting t = {&fast, s, DTYPE_F32, 1, which, arena_create(), params_of(s)};
    float *x[3] = {make(&t, size, 0), make(&t, size, 1), make(&t, size, 2)};
    float *dx[3] = {make(&t, size, 3), make(&t, size, 3), make(&t, size, 3)};
    float *dy = make(&t, size, 5), *y = make(&t, size, 6), stats[2][16];
    struct attention_args at = {.n = 1,
                                .t = s->rows,
                                .c = c,
                                .heads = s->x,
                                .q = x[0],
                                .k = x[1],
                                .v = x[2],
                                .dy = dy,
                                .y = y,
                                .dq = dx[0],
                                .dk = dx[1],
                                .dv = dx[2],
                                .scratch = t.arena};
    struct norm_args no = {
        .n = 1,
        .rows = s->rows,
        .c = c,
        .groups = s->x,
        .eps = 1e-5f,
        .silu = true,
        .part = {{s->c0, x[0], dx[0], false}, {s->c1, x[1], dx[1], false}},
        .gamma = param_at(t.params, 0),
        .beta = param_at(t.params, 1),
        .dy = dy,
        .y = y,
        .mean = stats[0],
        .rstd = stats[1],
        .scratch = t.arena};
    double worst = 0, top = 0;
    if (s->what == 'a')
        fast_attention(&at), fast_attention_dx(&at);
    else
        fast_norm(&no), fast_norm_dx(&no);
    for (int k = 0; k < (s->what == 'a' ? 3 : 2); k++)
        for (int64_t i = 0; i < s->rows * (s->what == 'a' || k == 0 ? s->c0 : s->c1);
             i += 11) {
            const float old = x[k][i], step = 0.01f;
            double sum[2] = {0, 0};
            for (int side = 0; side < 2; side++) {
                x[k][i] = side ? old + step : old - step;
                s->what == 'a' ? fast_attention(&at) : fast_norm(&no);
                for (int64_t j = 0; j < size; j++)
                    sum[side] += (double)y[j] * dy[j];
            }
            x[k][i] = old;
            double slope = (sum[1] - sum[0]) / (2 * (double)step);
            worst = fmax(worst, fabs(slope - dx[k][i]));
            top = fmax(top, fabs(slope));
        }
    tap_ok(worst < 2e-3 * top, "%c [%lld + %lld]: differences off by %.1e of %.1e",
           s->what, (long long)s->c0, (long long)s->c1, worst, top);
    param_destroy(t.params);
    arena_destroy(t.arena);
}

/* One buffer for dq, dk and dv gets their sum. */
static void check_shared_gradient(void)
{
    const struct shape s = {'a', 20, 16, 0, 2, false, 0};
    const int64_t which[1] = {3}, size = 320;
    struct setting t = {&fast, &s, DTYPE_F32, 1, which, arena_create(), params_of(&s)};
    float *x = make(&t, size, 0), *d[4];
    for (int i = 0; i < 4; i++)
        d[i] = make(&t, size, 1);
    struct attention_args a = {.n = 1,
                               .t = 20,
                               .c = 16,
                               .heads = 2,
                               .q = x,
                               .k = x,
                               .v = x,
                               .dy = make(&t, size, 5),
                               .dq = d[0],
                               .dk = d[1],
                               .dv = d[2],
                               .scratch = t.arena};
    fast_attention_dx(&a);
    a.dq = a.dk = a.dv = d[3];
    a.add_dk = a.add_dv = true;
    fast_attention_dx(&a);
    int64_t bad = 0;
    for (int64_t i = 0; i < size; i++)
        bad += d[3][i] != d[0][i] + d[1][i] + d[2][i];
    tap_ok(bad == 0, "attention: one buffer for all gradients, %lld differ",
           (long long)bad);
    param_destroy(t.params);
    arena_destroy(t.arena);
}

int main(void)
{
    omp_set_num_threads(2);
    check_bf16();
    check_functions();
    check_large_mean(1000);
    check_large_mean(0);
    for (size_t i = 0; i < SHAPES; i++)
        for (int type = DTYPE_F32; type <= DTYPE_BF16; type++) {
            check_reference(&shapes[i], (enum dtype)type);
            check_position(&fast, &shapes[i], (enum dtype)type);
            check_threads(&fast, &shapes[i], (enum dtype)type);
        }
    check_differences(&(struct shape){'e', 20, 24, 16, 5, false, 0});
    check_differences(&(struct shape){'a', 12, 16, 0, 2, false, 0});
    check_shared_gradient();
    return tap_done();
}

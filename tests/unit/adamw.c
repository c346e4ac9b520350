/* AdamW with clipping against the peer's four steps and the worked example; EMA. */
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/nn/optim.h"
#include "tests/tap.h"

#define N 46 /* 5 x 7 and 11 values */

/* Algorithms reference, section 18. */
static void worked_example(void)
{
    struct adamw o = {
        .lr = 1e-3, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.01};
    static const float g[] = {0.5f, -0.2f, 0.1f};
    static const double want[] = {.998990000020, .998634404281, .998245026164};
    float theta = 1, m = 0, v = 0;
    for (int k = 0; k < 3; k++) {
        optim_adamw(&o, k + 1, 1, &g[k], &theta, &m, &v, 1);
        tap_near((double)theta, want[k], 1.5e-7, "theta");
    }
    tap_near((double)m, .0325, 1e-8, "m");
    tap_near((double)v, .00029946025, 1e-10, "v");
}

static void both(const struct st_file *f, const char *format, int step, double *out)
{
    int64_t at = 0;
    for (int p = 0; p < 2; p++) {
        char name[64];
        snprintf(name, sizeof name, format, p, step);
        const struct st_tensor *t = st_find(f, name);
        if (t == NULL || at + t->count > N || st_to_f64(t, out + at) != 0)
            ERR_BUG("tensor %s", name);
        at += t->count;
    }
}

static void both_f32(const struct st_file *f, const char *format, int step, float *out)
{
    double v[N];
    both(f, format, step, v);
    for (int i = 0; i < N; i++)
        out[i] = (float)v[i];
}

static double apart(const float *got, const double *want)
{
    double worst = 0;
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs((double)got[i] - want[i]) / (1 + fabs(want[i])));
    return worst;
}

static int64_t other_bits(const struct st_file *f, const char *format, int step,
                          const float *got)
{
    float want[N];
    int64_t n = 0;
    both_f32(f, format, step, want);
    for (int i = 0; i < N; i++)
        n += got[i] != want[i];
    return n;
}

static void goldens(void)
{
    const char *path = tap_shared("goldens/adamw/adamw.safetensors");
    struct st_file *f = path != NULL ? st_open(path) : NULL;
    if (f == NULL) {
        tap_skip("adamw", "the reference numbers are absent");
        return;
    }
    struct adamw o = {
        .lr = 1e-2, .beta1 = 0.9, .beta2 = 0.999, .eps = 1e-8, .weight_decay = 0.1};
    float theta[N], m[N] = {0}, v[N] = {0}, g[N];
    double want[N], norm_want;
    both_f32(f, "p%d.initial", 0, theta);
    for (int k = 0; k < 4; k++) {
        char name[32];
        double norm2 = 0;
        both_f32(f, "g%d.step%d", k, g);
        for (int i = 0; i < N; i++)
            norm2 += (double)g[i] * (double)g[i];
        snprintf(name, sizeof name, "norm%d_f64", k);
        st_to_f64(st_find(f, name), &norm_want);
        tap_near(sqrt(norm2), norm_want, 1e-9 * norm_want, "norm");
        optim_adamw(&o, k + 1, optim_clip_scale(1, sqrt(norm2)), g, theta, m, v, N);
        both(f, "p%d.step%d_f64", k, want);
        tap_ok(apart(theta, want) < 3e-7,
               "step %d: %.3g from float64, %lld of %d values "
               "differ from the peer's float",
               k, apart(theta, want),
               (long long)other_bits(f, "p%d.step%d_f32", k, theta), N);
    }
    both(f, "m%d_f64", 0, want);
    tap_near(apart(m, want), 0, 1e-7, "m");
    both(f, "v%d_f64", 0, want);
    tap_near(apart(v, want), 0, 1e-7, "v");
    st_close(f);
}

static void slices_and_helpers(void)
{
    struct adamw o = {.lr = 0.1, .beta1 = 0.9, .beta2 = 0.99, .eps = 1e-8};
    float a[3][N], b[3][N], g[N];
    for (int i = 0; i < N; i++) {
        g[i] = (float)sin(i);
        for (int k = 0; k < 3; k++)
            a[k][i] = b[k][i] = (float)(0.1 * k + 0.01 * i);
    }
    optim_adamw(&o, 7, 0.3, g, a[0], a[1], a[2], N);
    optim_adamw(&o, 7, 0.3, g, b[0], b[1], b[2], 13);
    optim_adamw(&o, 7, 0.3, g + 13, b[0] + 13, b[1] + 13, b[2] + 13, N - 13);
    tap_ok(memcmp(a, b, sizeof a) == 0, "slices give the bits of the whole");
    tap_near(optim_clip_scale(1, 4), 1 / 4.000001, 1e-15, "clip scale");
    tap_ok(optim_clip_scale(1, 0.5) == 1 && optim_clip_scale(0, 9) == 1, "no clipping");
    tap_near(optim_ema_decay(0.999, 1, 1), 2.0 / 11, 1e-15, "EMA warm-up");
    tap_near(optim_ema_decay(0.999, 1 << 20, 1), 0.999, 0, "EMA after warm-up");
    tap_near(optim_ema_decay(0.999, 1, 0), 0.999, 0, "EMA without warm-up");
    float ema = 1, theta = 3;
    optim_ema(0.75, &theta, &ema, 1);
    tap_near((double)ema, 1.5, 0, "EMA");
}

int main(void)
{
    worked_example();
    goldens();
    slices_and_helpers();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

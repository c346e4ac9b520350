/* Learned rewards: the ridge against a direct solution, gradients against differences,
 * random features against their kernel, resampling, and the worked example of the bonus
 * through the whole path. */
#include "stages/reward/learned.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/schema.h"
#include "stages/reward/features.h"
#include "tests/tap.h"

static struct coding letters = {.kind = CODING_TEXT, .alphabet = "ACGT"};

/* A model for samples [channels, 1, width]; overrides end with NULL. */
static struct learned *open_learned(int64_t channels, int64_t width, bool text,
                                    const char *const *overrides)
{
    struct config *c = config_create(schema);
    struct learned *l = NULL;
    for (; *overrides != NULL; overrides++)
        if (config_override(c, *overrides) != 0)
            ERR_BUG("%s", err_text());
    const struct reward_scene s = {.channels = channels, .height = 1, .width = width,
                                   .coding = text ? &letters : NULL, .config = c,
                                   .seed = 11};
    if (learned_open(&s, &l) != 0)
        l = NULL;
    config_destroy(c);
    return l;
}

static void make_data(struct learned_data *data, int64_t n, int64_t d)
{
    float *x = mem_alloc(n * d, sizeof *x);
    double *y = mem_alloc(n, sizeof *y);
    rng_normal(rng_key(4, RNG_TEST, n, d, 0, 0), x, n * d);
    for (int64_t i = 0; i < n; i++)
        y[i] = 3 + sin((double)x[i * d]) + 0.1 * rng_uniform(77, i);
    *data = (struct learned_data){.n = n, .sample = x, .answer = y};
}

static void free_data(struct learned_data *data)
{
    mem_free((void *)data->sample);
    mem_free((void *)data->answer);
}

static void fit(struct learned *l, int64_t round, const struct learned_data *data)
{
    struct comm self = comm_self();
    if (learned_fit(l, &self, round, data) != 0)
        ERR_BUG("%s", err_text());
}

/* x with A x = b by Gauss-Jordan elimination with pivots, in place; b becomes x. */
static void eliminate(int64_t m, double *a, double *b)
{
    for (int64_t k = 0; k < m; k++) {
        int64_t p = k;
        for (int64_t i = k + 1; i < m; i++)
            if (fabs(a[i * m + k]) > fabs(a[p * m + k]))
                p = i;
        for (int64_t j = 0; j < m; j++) {
            double swap = a[k * m + j];
            a[k * m + j] = a[p * m + j];
            a[p * m + j] = swap;
        }
        double swap = b[k];
        b[k] = b[p];
        b[p] = swap;
        for (int64_t i = 0; i < m; i++) {
            double f = a[i * m + k] / a[k * m + k];
            if (i == k)
                continue;
            for (int64_t j = k; j < m; j++)
                a[i * m + j] -= f * a[k * m + j];
            b[i] -= f * b[k];
        }
    }
    for (int64_t k = 0; k < m; k++)
        b[k] /= a[k * m + k];
}

/* Mean and bonus of UCB on linear features, written out. */
static void direct(void)
{
    enum { N = 30, D = 5, M = D + 1 };
    const char *const keys[] = {"surrogate.kind=ucb", "surrogate.feature_kind=linear",
                                "surrogate.lambda=0.3", "surrogate.bonus=0.7", NULL};
    struct learned *l = open_learned(1, D, false, keys);
    struct learned_data data;
    double a[M * M], b[M] = {0}, c[M * M], q[M], r[M], mean = 0, gap = 0, extra = 0;
    make_data(&data, N, D);
    fit(l, 0, &data);
    for (int i = 0; i < N; i++)
        mean += data.answer[i] / N;
    for (int i = 0; i < M * M; i++)
        a[i] = i % (M + 1) == 0 ? 0.3 : 0;
    for (int k = 0; k < N; k++)
        for (int i = 0; i < M; i++) {
            double u = i == 0 ? 1 : (double)data.sample[k * D + i - 1];
            b[i] += u * (data.answer[k] - mean);
            for (int j = 0; j < M; j++)
                a[i * M + j] += u * (j == 0 ? 1 : (double)data.sample[k * D + j - 1]);
        }
    memcpy(c, a, sizeof c);
    eliminate(M, c, b);
    for (int k = 0; k < 4; k++) {
        const float *x = data.sample + k * D;
        double bonus, value = learned_value(l, x, &bonus, NULL), want = mean, var = 0;
        for (int i = 0; i < M; i++)
            q[i] = r[i] = i == 0 ? 1 : 2 * (double)x[i - 1];
        float twice[D];
        for (int i = 0; i < D; i++)
            twice[i] = 2 * x[i];
        value = learned_value(l, twice, &bonus, NULL);
        memcpy(c, a, sizeof c);
        eliminate(M, c, r);
        for (int i = 0; i < M; i++) {
            want += q[i] * b[i];
            var += q[i] * r[i];
        }
        gap = fmax(gap, fabs(value - bonus - want));
        extra = fmax(extra, fabs(bonus - 0.7 * sqrt(var)));
    }
    tap_ok(gap < 1e-12 && extra < 1e-12,
           "posterior against a direct solution: mean %.1e, bonus %.1e apart", gap, extra);
    free_data(&data);
    learned_close(l);
}

/* d value / d x against central differences. */
static void gradient(const char *kind, const char *features, bool text)
{
    enum { N = 40, C = 4, T = 3, D = C * T };
    char one[64], two[64];
    snprintf(one, sizeof one, "surrogate.kind=%s", kind);
    snprintf(two, sizeof two, "surrogate.feature_kind=%s", features);
    const char *const keys[] = {one, two, "surrogate.features=30", "surrogate.length=3",
                                "surrogate.bonus=0.5", NULL};
    struct learned *l = open_learned(C, T, text, keys);
    struct learned_data data;
    double worst = 0, bonus;
    make_data(&data, N, D);
    fit(l, 2, &data);
    for (int k = 0; k < 3; k++) {
        float x[D], g[D];
        memcpy(x, data.sample + k * D, sizeof x);
        learned_value(l, x, &bonus, g);
        for (int j = 0; j < D; j++) {
            float at = x[j], up = at + 0x1p-10f, down = at - 0x1p-10f;
            x[j] = up;
            double high = learned_value(l, x, &bonus, NULL);
            x[j] = down;
            double low = learned_value(l, x, &bonus, NULL);
            x[j] = at;
            worst = fmax(worst, fabs((high - low) / (double)(up - down) - (double)g[j]));
        }
    }
    tap_ok(worst < 2e-6, "%s on %s features: gradient %.1e from differences", kind, features,
           worst);
    free_data(&data);
    learned_close(l);
}

/* Inner products of Fourier features approach the Gaussian kernel. */
static void kernel(void)
{
    struct config *c = config_create(schema);
    const char *const keys[] = {"surrogate.feature_kind=fourier", "surrogate.features=8000",
                                "surrogate.length=2"};
    for (int i = 0; i < 3; i++)
        if (config_override(c, keys[i]) != 0)
            ERR_BUG("%s", err_text());
    const struct reward_scene s = {.channels = 1, .height = 1, .width = 3, .config = c,
                                   .seed = 5};
    struct features *f = features_create(&s);
    int64_t m = features_count(f);
    double *p = mem_alloc(2 * m, sizeof *p), worst = 0;
    for (int k = 0; k < 5; k++) {
        float x[6];
        double far = 0, dot = -1; /* the constant feature's part */
        rng_normal(rng_key(9, RNG_TEST, k, 0, 0, 0), x, 6);
        features_of(f, x, p);
        features_of(f, x + 3, p + m);
        for (int j = 0; j < 3; j++)
            far += (double)((x[j] - x[j + 3]) * (x[j] - x[j + 3]));
        for (int64_t i = 0; i < m; i++)
            dot += p[i] * p[m + i];
        worst = fmax(worst, fabs(dot - exp(-far / 8)));
    }
    tap_ok(worst < 0.04 && m == 8001, "Fourier features: %.3f from the kernel", worst);
    mem_free(p);
    features_destroy(f);
    config_destroy(c);
}

/* Rounds and answers; other rounds give other resamples and draws. */
static void rounds(void)
{
    const char *const keys[] = {"surrogate.kind=bootstrap", "surrogate.period=3",
                                "surrogate.rounds=2",       "surrogate.queries=5",
                                "surrogate.noise=2",        "surrogate.heads=3", NULL};
    const char *const none[] = {"surrogate.kind=none", NULL};
    const char *const pairs[] = {"surrogate.kind=ucb", "surrogate.feature_kind=onehot_pairs",
                                 NULL};
    struct learned *l = open_learned(1, 4, false, keys);
    bool good = true;
    for (int64_t i = 0; i < 12; i++)
        good &= learned_asks(l, i) == (i == 0 || i == 3) && learned_round(l, i) == (i >= 3);
    tap_ok(good && learned_asked(l, 9) == 5 && learned_asked(l, 4) == 4,
           "which iterations ask, and how many samples");
    double sum = 0, squares = 0;
    for (int64_t i = 0; i < 2000; i++) {
        double e = learned_noise(l, 3, i);
        sum += e / 2000;
        squares += e * e / 2000;
    }
    tap_ok(fabs(sum) < 0.2 && fabs(squares - 4) < 0.5 &&
               learned_noise(l, 3, 1) != learned_noise(l, 0, 1),
           "noise of answers: mean %.3f, variance %.3f", sum, squares);
    struct learned_data data;
    make_data(&data, 20, 4);
    double bonus, first, again, other;
    fit(l, 0, &data);
    first = learned_value(l, data.sample, &bonus, NULL);
    fit(l, 0, &data);
    again = learned_value(l, data.sample, &bonus, NULL);
    fit(l, 1, &data);
    other = learned_value(l, data.sample, &bonus, NULL);
    tap_ok(first == again && first != other && bonus >= 0, "resamples are keyed by rounds");
    data.n = 0;
    struct comm self = comm_self();
    tap_ok(learned_fit(l, &self, 0, &data) != 0 && err_code() == ERR_REWARD,
           "no answers: %s", err_text());
    free_data(&data);
    learned_close(l);
    tap_ok(open_learned(1, 4, false, none) == NULL && err_code() == ERR_REWARD,
           "no learned reward by default");
    tap_ok(open_learned(1, 4, false, pairs) == NULL && err_code() == ERR_USAGE, "%s",
           err_text());
    tap_ok(open_learned(4, 40, true, pairs) == NULL && err_code() == ERR_USAGE, "%s",
           err_text());
}

int main(void)
{
    direct();
    static const char *const kinds[] = {"greedy", "ucb", "bootstrap", "thompson"};
    for (int k = 0; k < 4; k++)
        gradient(kinds[k], "fourier", false);
    gradient("ucb", "linear", false);
    gradient("ucb", "onehot_pairs", true);
    gradient("greedy", "onehot_pairs", true);
    kernel();
    rounds();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* Features. Fourier features' random numbers are keyed by the seed, the feature and the
 * run alone, so every rank makes the same ones. */
#include "stages/reward/features.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

enum { MOST = 8192, FOURIER_AUTO = 256 };

enum kind { LINEAR, PAIRS, FOURIER };

struct features {
    enum kind kind;
    int64_t n, d;
    int64_t letters, places; /* pairs */
    float *w;                /* fourier: [n - 1, d], divided by the length */
    double *b, scale;        /* [n - 1] */
    double *u, *du;          /* [d] work */
};

static void make_fourier(struct features *f, const struct reward_scene *s)
{
    const char *key = "surrogate.length";
    double length = config_is(s->config, key, "auto") ? sqrt((double)f->d)
                                                      : config_real(s->config, key);
    int64_t waves = config_is(s->config, "surrogate.features", "auto")
                        ? FOURIER_AUTO
                        : config_int(s->config, "surrogate.features");
    f->n = waves + 1;
    f->scale = sqrt(2.0 / (double)waves);
    f->w = mem_alloc(waves * f->d, sizeof *f->w);
    f->b = mem_alloc(waves, sizeof *f->b);
    for (int64_t i = 0; i < waves; i++) {
        float *w = f->w + i * f->d;
        rng_normal(rng_key(s->seed, RNG_FEATURES, 0, i, 0, 0), w, f->d);
        for (int64_t j = 0; j < f->d; j++)
            w[j] = (float)(w[j] / length);
        f->b[i] = 2 * M_PI * rng_uniform(rng_key(s->seed, RNG_FEATURES, 1, i, 0, 0), 0);
    }
}

static int choose(struct features *f, const struct reward_scene *s)
{
    const char *key = "surrogate.feature_kind";
    bool text = s->coding != NULL && s->coding->kind == CODING_TEXT;
    if (config_is(s->config, key, "onehot_pairs") ||
        (config_is(s->config, key, "auto") && text))
        f->kind = PAIRS;
    else
        f->kind = config_is(s->config, key, "linear") ? LINEAR : FOURIER;
    f->letters = s->channels;
    f->places = s->height * s->width;
    f->n = 1 + f->d;
    if (f->kind != PAIRS)
        return 0;
    f->n += f->places * (f->places - 1) / 2 * f->letters * f->letters;
    if (text && f->n <= MOST)
        return 0;
    return text ? err_set(ERR_USAGE,
                          "surrogate.feature_kind: texts of %lld characters out of %lld have "
                          "%lld pairs, at most %d are possible: use fourier",
                          (long long)f->places, (long long)f->letters, (long long)f->n,
                          MOST)
                : err_set(ERR_USAGE, "surrogate.feature_kind: onehot_pairs needs a network "
                                     "of texts; use fourier or linear");
}

struct features *features_create(const struct reward_scene *s)
{
    struct features *f = mem_alloc(1, sizeof *f);
    f->d = s->channels * s->height * s->width;
    if (choose(f, s) != 0) {
        features_destroy(f);
        return NULL;
    }
    if (f->kind == FOURIER)
        make_fourier(f, s);
    f->u = mem_alloc(f->d, sizeof *f->u);
    f->du = mem_alloc(f->d, sizeof *f->du);
    return f;
}

void features_destroy(struct features *f)
{
    if (f == NULL)
        return;
    mem_free(f->w);
    mem_free(f->b);
    mem_free(f->u);
    mem_free(f->du);
    mem_free(f);
}

int64_t features_count(const struct features *f)
{
    return f->n;
}

/* u[place, letter] from x[letter, place]. */
static void code(const struct features *f, const float *x)
{
    for (int64_t p = 0; p < f->places; p++)
        for (int64_t a = 0; a < f->letters; a++)
            f->u[p * f->letters + a] = ((double)x[a * f->places + p] + 1) / 2;
}

static void pairs(const struct features *f, double *phi)
{
    int64_t a = f->letters;
    for (int64_t i = 0; i < f->d; i++)
        *phi++ = f->u[i];
    for (int64_t i = 0; i < f->d; i++) /* with every later place */
        for (int64_t j = (i / a + 1) * a; j < f->d; j++)
            *phi++ = f->u[i] * f->u[j];
}

static void pull_pairs(const struct features *f, const double *g, float *dx)
{
    int64_t a = f->letters;
    memcpy(f->du, g, (size_t)f->d * sizeof *g);
    g += f->d;
    for (int64_t i = 0; i < f->d; i++)
        for (int64_t j = (i / a + 1) * a; j < f->d; j++, g++) {
            f->du[i] += *g * f->u[j];
            f->du[j] += *g * f->u[i];
        }
    for (int64_t p = 0; p < f->places; p++)
        for (int64_t k = 0; k < a; k++)
            dx[k * f->places + p] = (float)(f->du[p * a + k] / 2);
}

static double phase(const struct features *f, const float *x, int64_t i)
{
    const float *w = f->w + i * f->d;
    double s = f->b[i];
    for (int64_t j = 0; j < f->d; j++)
        s += (double)w[j] * (double)x[j];
    return s;
}

void features_of(const struct features *f, const float *x, double *phi)
{
    *phi++ = 1;
    switch (f->kind) {
    case LINEAR:
        for (int64_t j = 0; j < f->d; j++)
            phi[j] = (double)x[j];
        break;
    case PAIRS:
        code(f, x);
        pairs(f, phi);
        break;
    case FOURIER:
        for (int64_t i = 0; i < f->n - 1; i++)
            phi[i] = f->scale * cos(phase(f, x, i));
        break;
    }
}

void features_pull(const struct features *f, const float *x, const double *g, float *dx)
{
    g++;
    switch (f->kind) {
    case LINEAR:
        for (int64_t j = 0; j < f->d; j++)
            dx[j] = (float)g[j];
        break;
    case PAIRS:
        code(f, x);
        pull_pairs(f, g, dx);
        break;
    case FOURIER:
        memset(f->du, 0, (size_t)f->d * sizeof *f->du);
        for (int64_t i = 0; i < f->n - 1; i++) {
            const float *w = f->w + i * f->d;
            double by = -f->scale * sin(phase(f, x, i)) * g[i];
            for (int64_t j = 0; j < f->d; j++)
                f->du[j] += by * (double)w[j];
        }
        for (int64_t j = 0; j < f->d; j++)
            dx[j] = (float)f->du[j];
        break;
    }
}

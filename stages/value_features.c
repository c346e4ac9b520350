/* Features of states. Sums over the elements run in double in an order that depends on d
 * alone. */
#include "stages/value_features.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>

struct value_features {
    int64_t d, linear, cosines, classes, knots, steps, base;
    const int64_t *class;
    bool projected;
    float *w;      /* [linear if projected, then cosines; d] */
    double *phase; /* [cosines] */
};

struct value_features *value_features_create(const struct task *t)
{
    const struct value_options *o = &t->value;
    struct value_features *f = mem_alloc(1, sizeof *f);
    f->d = t->d;
    f->projected = t->d > o->linear;
    f->linear = f->projected ? o->linear : t->d;
    f->cosines = o->features;
    f->classes = t->n_classes > 1 && t->n_classes <= VALUE_CLASSES_MAX ? t->n_classes : 0;
    f->class = t->classes;
    f->steps = t->sampler.steps;
    f->knots = o->knots < f->steps ? o->knots : f->steps;
    f->base = 2 + f->linear + f->classes + f->cosines;
    int64_t rows = (f->projected ? f->linear : 0) + f->cosines;
    f->w = mem_alloc(rows * f->d, sizeof *f->w);
    f->phase = mem_alloc(f->cosines, sizeof *f->phase);
    for (int64_t i = 0; i < rows; i++)
        rng_normal(rng_key(t->seed, RNG_FEATURES, 1, i, 0, 0), f->w + i * f->d, f->d);
    uint64_t key = rng_key(t->seed, RNG_FEATURES, 2, 0, 0, 0);
    for (int64_t i = 0; i < f->cosines; i++)
        f->phase[i] = 2 * M_PI * rng_uniform(key, i);
    return f;
}

void value_features_destroy(struct value_features *f)
{
    if (f == NULL)
        return;
    mem_free(f->w);
    mem_free(f->phase);
    mem_free(f);
}

int64_t value_features_base(const struct value_features *f)
{
    return f->base;
}

int64_t value_features_knots(const struct value_features *f)
{
    return f->knots;
}

static double dot(int64_t d, const float *a, const float *b)
{
    double lane[8] = {0};
    int64_t j = 0;
    for (; j + 8 <= d; j += 8)
        for (int k = 0; k < 8; k++)
            lane[k] += (double)a[j + k] * (double)b[j + k];
    for (int k = 0; j < d; j++, k++)
        lane[k] += (double)a[j] * (double)b[j];
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

void value_features_of(const struct value_features *f, const float *x, int64_t label,
                       double *out)
{
    double d = (double)f->d, root = 1 / sqrt(d);
    const float *w = f->w;
    *out++ = 1;
    *out++ = (dot(f->d, x, x) / d - 1) * sqrt(d / 2);
    double share = 1 / sqrt((double)f->linear);
    for (int64_t i = 0; i < f->linear; i++)
        if (f->projected) {
            *out++ = share * root * dot(f->d, w, x);
            w += f->d;
        } else {
            *out++ = share * (double)x[i];
        }
    for (int64_t i = 0; i < f->classes; i++)
        *out++ = f->class[i] == label;
    for (int64_t i = 0; i < f->cosines; i++, w += f->d)
        *out++ = sqrt(2 / (double)f->cosines) * cos(root * dot(f->d, w, x) + f->phase[i]);
}

void value_features_step(const struct value_features *f, int64_t step, int64_t *knot,
                         double *next)
{
    *knot = 0;
    *next = 0;
    if (f->knots < 2)
        return;
    double at = (double)step / (double)(f->steps - 1) * (double)(f->knots - 1);
    *knot = (int64_t)at < f->knots - 2 ? (int64_t)at : f->knots - 2;
    *next = at - (double)*knot;
}

/* The regression of values: what it can represent it finds, no value knows its own
 * sample's outcome, noise is left alone. */
#include "stages/value_fit.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/tap.h"

#include <math.h>
#include <string.h>

enum { N = 40, STEPS = 5, D = 3 };

static const int64_t classes[] = {4, 7};

/* A scene's values [N, STEPS] for targets [N, STEPS]; the same states for all. */
struct scene {
    struct task t;
    struct value_features *f;
    double *z, target[N * STEPS], value[N * STEPS], penalty, explained;
    uint8_t live[STEPS];
};

static void scene_open(struct scene *s, double ridge)
{
    *s = (struct scene){
        .t = {.seed = 5, .d = D, .classes = classes, .n_classes = 2,
              .sampler = {.steps = STEPS},
              .value = {.linear = 8, .features = 6, .knots = 3, .folds = 4, .ridge = ridge}},
        .live = {1, 1, 1, 1, 0}};
    s->f = value_features_create(&s->t);
    s->z = mem_alloc(N * STEPS * value_features_base(s->f), sizeof *s->z);
    for (int i = 0; i < N * STEPS; i++) {
        float x[D];
        rng_normal(rng_key(1, RNG_TEST, i, 0, 0, 0), x, D);
        value_features_of(s->f, x, classes[i / STEPS % 2],
                          s->z + i * value_features_base(s->f));
    }
}

static void scene_close(struct scene *s)
{
    mem_free(s->z);
    value_features_destroy(s->f);
}

static int try_fit(struct scene *s, const double *memory, double *kept)
{
    struct comm c = comm_self();
    struct value_fit *v = value_fit_create(&s->t, s->f);
    int64_t n, base = value_features_base(s->f);
    double *sums = value_fit_memory(v, &n);
    if (memory != NULL)
        memcpy(sums, memory, (size_t)n * sizeof *sums);
    for (int i = 0; i < N; i++) {
        struct value_rows r = {.sample = i,
                               .z = s->z + i * STEPS * base,
                               .y = s->target + i * STEPS,
                               .live = s->live};
        value_fit_add(v, &c, &r);
    }
    int rc = value_fit_solve(v, &c);
    for (int i = 0; i < N * STEPS; i++)
        s->value[i] = value_fit_at(v, i / STEPS, i % STEPS, s->z + i * base);
    s->penalty = value_fit_penalty(v);
    double square = 0, mean = 0, rest = 0; /* over the live steps */
    for (int i = 0; i < N * STEPS; i++)
        if (s->live[i % STEPS]) {
            square += s->target[i] * s->target[i] / (N * 4);
            mean += s->target[i] / (N * 4);
            rest += pow(s->target[i] - s->value[i], 2) / (N * 4);
        }
    s->explained = 1 - rest / (square - mean * mean);
    if (kept != NULL)
        memcpy(kept, sums, (size_t)n * sizeof *sums);
    value_fit_destroy(v);
    return rc;
}

static void fit(struct scene *s, const double *memory, double *kept)
{
    if (try_fit(s, memory, kept) != 0)
        ERR_BUG("%s", err_text());
}

/* Linear in the features, with coefficients that are linear between the knots. */
static void set_linear(struct scene *s)
{
    int64_t base = value_features_base(s->f);
    for (int i = 0; i < N * STEPS; i++) {
        double at = fabs(i % STEPS - 2.0), sum = 3;
        for (int64_t l = 0; l < base; l++)
            sum += (1 + .5 * at) * cos((double)l) * s->z[i * base + l];
        s->target[i] = sum;
    }
}

static double worst_of(const double *a, const double *b, int fold)
{
    double worst = 0;
    for (int i = 0; i < N * STEPS; i++)
        if (i % STEPS != STEPS - 1 && (fold < 0 || i / STEPS % 4 == fold))
            worst = fmax(worst, fabs(a[i] - b[i]));
    return worst;
}

static void finds(void)
{
    struct scene s;
    double before[N * STEPS];
    scene_open(&s, 1e-9);
    set_linear(&s);
    s.target[4] = 1e9; /* a masked step */
    fit(&s, NULL, NULL);
    tap_near(worst_of(s.value, s.target, -1), 0, 1e-3, "what it can represent");
    memcpy(before, s.value, sizeof before);
    for (int i = 0; i < N; i += 4)
        for (int k = 0; k < STEPS; k++)
            s.target[i * STEPS + k] += 10;
    fit(&s, NULL, NULL);
    tap_near(worst_of(s.value, before, 0), 0, 1e-6,
             "a fold's values know nothing of its own targets");
    tap_ok(worst_of(s.value, before, 1) > 1, "the other folds' do");
    scene_close(&s);
}

static void chooses(void)
{
    struct scene s;
    double mean = 0;
    scene_open(&s, -1);
    set_linear(&s);
    fit(&s, NULL, NULL);
    tap_ok(s.penalty < .01 && s.explained > .95, "no noise: penalty %g explains %.3f",
           s.penalty, s.explained);
    for (int i = 0; i < N * STEPS; i++)
        s.target[i] = rng_uniform(8, i);
    fit(&s, NULL, NULL);
    tap_ok(s.penalty >= 1 && s.explained < .1, "noise: penalty %g explains %.3f", s.penalty,
           s.explained);
    for (int i = 0; i < N * STEPS; i++)
        mean += s.value[i] / (N * STEPS);
    tap_near(mean, .5, .1, "and the mean is left");
    scene_close(&s);
}

/* With memory, a second iteration of other targets moves the values half the way. */
static void remembers(void)
{
    struct scene s;
    double memory[4096], moved = 0;
    scene_open(&s, 1e-9);
    s.t.value.memory = .75; /* as much as the three other folds, but its own states */
    set_linear(&s);
    fit(&s, NULL, memory);
    for (int i = 0; i < N * STEPS; i++)
        s.target[i] += 1;
    fit(&s, memory, NULL);
    for (int i = 0; i < N * STEPS; i++)
        if (i % STEPS != STEPS - 1)
            moved += (s.value[i] - s.target[i] + 1) / (N * (STEPS - 1));
    tap_near(moved, .4, .2, "memory holds values back");
    scene_close(&s);
}

static void features(void)
{
    struct scene s;
    const float x[D] = {1, 2, -1};
    double z[64], next;
    int64_t knot;
    scene_open(&s, -1);
    tap_ok(value_features_base(s.f) == 2 + D + 2 + 6, "number of features");
    value_features_of(s.f, x, 7, z);
    tap_ok(z[0] == 1 && z[5] == 0 && z[6] == 1, "the constant and the class");
    tap_near(z[1], sqrt(1.5), 1e-12, "the mean square");
    tap_near(z[3], 2 / sqrt(3), 1e-12, "an element");
    value_features_step(s.f, 0, &knot, &next);
    tap_ok(knot == 0 && next == 0, "the first knot");
    value_features_step(s.f, 3, &knot, &next);
    tap_ok(knot == 1 && next == .5, "between two");
    value_features_step(s.f, 4, &knot, &next);
    tap_ok(knot == 1 && next == 1, "the last one");
    scene_close(&s);
}

/* Features that are multiples of each other: a penalty is needed. */
static void depends(void)
{
    struct scene s;
    scene_open(&s, 0);
    int64_t base = value_features_base(s.f);
    set_linear(&s);
    for (int i = 0; i < N * STEPS; i++)
        for (int64_t l = 1; l < base; l++)
            s.z[i * base + l] = (double)l * s.z[i * base + 1];
    tap_ok(try_fit(&s, NULL, NULL) != 0 && strstr(err_text(), "value.ridge is 0") != NULL,
           "no penalty: %s", err_text());
    s.t.value.ridge = -1;
    fit(&s, NULL, NULL);
    tap_ok(s.penalty > 0, "a penalty is chosen: %g", s.penalty);
    for (int i = 0; i < N * STEPS; i++)
        s.target[i] = (double)NAN;
    tap_ok(try_fit(&s, NULL, NULL) != 0 && strstr(err_text(), "value.ridge: auto") != NULL,
           "no penalty helps: %s", err_text());
    scene_close(&s);
}

int main(void)
{
    depends();
    features();
    finds();
    chooses();
    remembers();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

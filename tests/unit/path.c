/* Losses of the methods that follow the reward's gradient, one pair at a time. */
#include "stages/algo/adjoint.h"
#include "stages/algo/alignprop.h"
#include "stages/algo/draft.h"
#include "tests/scene.h"

#include "io/sys/mem.h"

static struct path_options to(double target)
{
    return (struct path_options){.target = target};
}

static void test_target(void)
{
    struct path_options none = to((double)NAN), three = to(3);
    double slope;
    tap_ok(path_loss(&none, 2, &slope) == -2 && slope == -1, "without a target: -r");
    tap_ok(path_loss(&three, 2, &slope) == 1 && slope == -1, "below the target");
    tap_ok(path_loss(&three, 5, &slope) == 2 && slope == 1, "above it");
    tap_ok(path_loss(&three, 3, &slope) == 0 && slope == 0, "at it");
}

/* The regression is 0 where mu = mu_base - sigma^2 a, and only there. */
static void test_minimum(void)
{
    struct scene s;
    float a[SCENE_D], by_x, by_o, mu[SCENE_D], base[SCENE_D];
    double far = 0;
    struct adjoint_options own = {.weight = 1};
    const struct algo_options o = {.own = &own};
    scene_open(&s, 40, true);
    rng_normal(99, a, SCENE_D);
    s.pair.adjoint_next = s.pair.adjoint = a;
    s.pair.weight = 0.25;
    scene_differences(&s, &adjoint_matching, &o, "away from its minimum");
    double sigma = (double)s.sampler.step[SCENE_STEP].sigma;
    sampler_slopes(&s.sampler, SCENE_STEP, &by_x, &by_o);
    for (int j = 0; j < SCENE_D; j++)
        s.o[j] = (float)((double)s.reference[j] -
                         sigma * sigma * (double)a[j] / (double)by_o);
    sampler_mean(&s.sampler, SCENE_STEP, SCENE_D, s.x, s.o, mu, NULL);
    sampler_mean(&s.sampler, SCENE_STEP, SCENE_D, s.x, s.reference, base, NULL);
    for (int j = 0; j < SCENE_D; j++)
        far = fmax(
            far, fabs((double)mu[j] - (double)base[j] + sigma * sigma * (double)a[j]));
    struct algo_result r = scene_loss(&s, &adjoint_matching, &o);
    tap_ok(far < 1e-5 && r.loss < 1e-9 && scene_norm(s.grad) < 1e-3,
           "its minimum is mu_base - sigma^2 a: loss %.2g, gradient %.2g", r.loss,
           scene_norm(s.grad));
    scene_close(&s);
}

/* How often each step of `steps` is kept, over many samples. */
static void count(const struct algo *a, const void *own, struct scene *s, double *kept)
{
    enum { SAMPLES = 16384 };
    float zero[SCENE_D] = {0}, cotangent[SCENE_D];
    const struct algo_options o = {.own = own};
    for (int64_t i = 0; i < s->sampler.steps; i++)
        kept[i] = 0;
    for (int i = 0; i < SAMPLES; i++) {
        uint8_t keep[64] = {0};
        const struct algo_walk w = {.sampler = &s->sampler,
                                    .d = SCENE_D,
                                    .key = rng_key(1, RNG_TEST, i, 0, 0, 0),
                                    .gradient = zero};
        a->start(&o, &w, keep, cotangent);
        for (int64_t k = 0; k < s->sampler.steps; k++)
            kept[k] += (double)keep[k] / SAMPLES /* exact */;
    }
}

static void test_truncation(void)
{
    struct scene s;
    double kept[64], worst = 0;
    struct alignprop_options own = {
        .path = to((double)NAN), .mean = 0.84, .deviation = 0.1};
    scene_open(&s, 41, true);
    own.truncation = TRUNCATION_PER_STEP;
    count(&alignprop, &own, &s, kept);
    for (int k = 0; k < 20; k++)
        worst = fmax(worst, fabs(kept[k] - (k + 1) / 21.0));
    tap_ok(worst < 0.03, "per step: kept with probability (i + 1)/(N + 1), within %.2g",
           worst);
    own.truncation = TRUNCATION_UNIFORM;
    count(&alignprop, &own, &s, kept);
    worst = 0;
    for (int k = 0; k < 20; k++)
        worst = fmax(worst, fabs(kept[k] - (k + 1) / 20.0));
    tap_ok(worst < 0.03 && kept[19] == 1, "uniform: within %.2g", worst);
    own.truncation = TRUNCATION_GAUSSIAN;
    count(&alignprop, &own, &s, kept);
    tap_ok(fabs(kept[15] - 0.3446) < 0.015 && fabs(kept[17] - 0.7257) < 0.015 &&
               kept[19] == 1,
           "gaussian: %.3f, %.3f, %.3f", kept[15], kept[17], kept[19]);
    own.truncation = TRUNCATION_FIXED;
    count(&alignprop, &own, &s, kept);
    tap_ok(kept[15] == 0 && kept[16] == 1 && kept[19] == 1,
           "fixed: the last four of 20");
    struct draft_options draft = {.path = own.path, .k = 3};
    count(&draft_k, &draft, &s, kept);
    tap_ok(kept[16] == 0 && kept[17] == 1, "draft_k: the last three");
    struct adjoint_options some = {.weight = 1}, all = {.all = true};
    count(&adjoint_matching, &some, &s, kept);
    double first = 0, last = 0;
    for (int k = 0; k < 20; k++)
        *(k < 12 ? &first : &last) += kept[k];
    tap_ok(fabs(first - 2) < 1e-9 && fabs(last - 2) < 1e-9 && kept[19] == 0,
           "adjoint_matching: two and two steps, none without a density");
    count(&adjoint_matching, &all, &s, kept);
    tap_ok(kept[0] == 1 && kept[18] == 1 && kept[19] == 0, "or all of them");
    scene_close(&s);
}

int main(void)
{
    test_target();
    test_minimum();
    test_truncation();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

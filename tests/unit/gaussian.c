/* A network is not needed to test samplers and DDPO end to end: for Gaussian data the
 * exact denoiser is known, the chain is linear, and its moments and the policy gradient
 * have closed forms. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/diffusion/sampler.h"
#include "tests/tap.h"

#define MEAN 0.5
#define VARIANCE 0.25
#define STEPS 50

/* eps*(x, t), plus a constant that is the policy's only parameter. */
static double exact_noise(const struct sampler *s, int64_t i, double x, double c)
{
    double bar = (double)s->step[i].abar;
    return sqrt(1 - bar) * (x - sqrt(bar) * MEAN) / (bar * VARIANCE + 1 - bar) + c;
}

static double mean_at(const struct sampler *s, int64_t i, double x, double c)
{
    float xf = (float)x, o = (float)exact_noise(s, i, (double)xf, c), mu;
    sampler_mean(s, i, 1, &xf, &o, &mu, NULL);
    return (double)mu;
}

/* mu = slope x + offset: the slope from far points and the offset at 0, so that float
 * rounding matters little. */
static double slope_at(const struct sampler *s, int64_t i, double c)
{
    return (mean_at(s, i, 64, c) - mean_at(s, i, -64, c)) / 128;
}

static void moments(const struct sampler *s, double *mean, double *variance)
{
    *mean = 0;
    *variance = 1;
    for (int64_t i = 0; i < s->steps; i++) {
        double slope = slope_at(s, i, 0), sigma = (double)s->step[i].sigma;
        *mean = slope * *mean + mean_at(s, i, 0, 0);
        *variance = slope * slope * *variance + sigma * sigma;
    }
}

struct row {
    const char *name;
    enum schedule_beta beta;
    enum schedule_spacing spacing;
    int64_t steps, offset;
    bool to_one;
    double want[2][2]; /* [eta 0, 1][mean, variance] */
};

static const struct row rows[] = {
    {"SD, leading, offset 1, N=50",
     BETA_SCALED_LINEAR,
     SPACING_LEADING,
     50,
     1,
     false,
     {{.4816024517, .2290325215}, {.4990602184, .2057383543}}},
    {"linear, trailing, N=50",
     BETA_LINEAR,
     SPACING_TRAILING,
     50,
     0,
     true,
     {{.4985026323, .2222204803}, {.4999949551, .1972248826}}},
    {"linear, leading, N=50",
     BETA_LINEAR,
     SPACING_LEADING,
     50,
     0,
     true,
     {{.4981849864, .2231987155}, {.4999926200, .1972451130}}},
    {"linear, trailing, N=10",
     BETA_LINEAR,
     SPACING_TRAILING,
     10,
     0,
     true,
     {{.4988248722, .1368665608}, {.4999949551, .1112056170}}},
    {"cosine, leading, N=50",
     BETA_SQUAREDCOS_CAP_V2,
     SPACING_LEADING,
     50,
     0,
     true,
     {{.4928198446, .2352671000}, {.4998903618, .2187989898}}},
    {"linear, trailing, N=1000",
     BETA_LINEAR,
     SPACING_TRAILING,
     1000,
     0,
     true,
     {{.4984165751, .2484975472}, {.4999949551, .2461252114}}},
};

static struct schedule schedule_of(const struct row *r)
{
    struct schedule s;
    if (schedule_read(&s, NULL) != 0)
        ERR_BUG("%s", err_text());
    s.beta = r->beta;
    s.beta_start = r->beta == BETA_SCALED_LINEAR ? 0.00085 : 1e-4;
    s.beta_end = r->beta == BETA_SCALED_LINEAR ? 0.012 : 0.02;
    s.spacing = r->spacing;
    s.steps_offset = r->offset;
    s.set_alpha_to_one = r->to_one;
    s.clip_sample = false;
    if (schedule_build(&s) != 0)
        ERR_BUG("%s", err_text());
    return s;
}

static void one_chain(const struct row *r, int eta)
{
    struct schedule schedule = schedule_of(r);
    struct sampler s;
    struct sampler_options o = {
        .steps = r->steps, .eta = eta, .spacing = -1, .clip_sample = -1};
    double mean, variance;
    if (sampler_init(&s, &schedule, &o) != 0)
        ERR_BUG("%s", err_text());
    moments(&s, &mean, &variance);
    double off_mean = fabs(mean - r->want[eta][0]);
    double off_variance = fabs(variance - r->want[eta][1]);
    tap_ok(off_mean < 1e-5 && off_variance < 1e-5,
           "%s, eta %d: mean %.8f (off %.1e), variance %.8f (off %.1e)", r->name, eta,
           mean, off_mean, variance, off_variance);
    sampler_free(&s);
    schedule_free(&schedule);
}

/* E[x0] for a policy with constant c: the recursion of means. */
static double final_mean(const struct sampler *s, double c)
{
    double mean = 0;
    for (int64_t i = 0; i < s->steps; i++)
        mean = slope_at(s, i, c) * mean + mean_at(s, i, 0, c);
    return mean;
}

/* Everything is linear in c, so a wide difference is exact up to float rounding. */
static void exact_gradient(const struct sampler *s)
{
    double slope = (final_mean(s, 8) - final_mean(s, -8)) / 16;
    tap_near(slope, -1.4035960086, 2e-5, "d E[x0] / d c by differences");
}

/* One trajectory's score d log p / d c, from the sampler's own gradient with respect to
 * the network output; returns x0. */
static double trajectory(const struct sampler *s, int64_t number, double *score)
{
    float z[STEPS + 1], x;
    rng_normal(rng_key(2023, RNG_TEST, number, 0, 0, 0), z, STEPS + 1);
    x = z[STEPS];
    *score = 0;
    for (int64_t i = 0; i < s->steps; i++) {
        float o = (float)exact_noise(s, i, (double)x, 0), mu, next, slope;
        sampler_mean(s, i, 1, &x, &o, &mu, NULL);
        sampler_advance(s, i, 1, &mu, &z[i], &next);
        sampler_log_prob_grad(s, i, 1, &x, &o, &next, 1, &slope);
        *score += (double)slope;
        x = next;
    }
    return (double)x;
}

/* DDPO-SF's estimator with the baseline E[r], reward x0. */
static void score_function(const struct sampler *s)
{
    enum { TRAJECTORIES = 40000 };
    double sum = 0, square = 0, sum_x = 0, square_x = 0, baseline = final_mean(s, 0);
    for (int64_t k = 0; k < TRAJECTORIES; k++) {
        double score, x0 = trajectory(s, k, &score), g = score * (x0 - baseline);
        sum += g;
        square += g * g;
        sum_x += x0;
        square_x += x0 * x0;
    }
    double n = TRAJECTORIES, mean = sum / n, std = sqrt(square / n - mean * mean);
    tap_near(mean, -1.4035960086, 4 * std / sqrt(n),
             "REINFORCE over 40000 trajectories");
    tap_near(std, 2.575, 0.1, "its standard deviation per trajectory");
    double mean_x = sum_x / n, variance_x = square_x / n - mean_x * mean_x;
    tap_near(mean_x, .4990602184, 4 * sqrt(variance_x / n), "mean of x0");
    tap_near(variance_x, .2057383543, 4 * variance_x * sqrt(2 / n), "variance of x0");
}

int main(void)
{
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++)
        for (int eta = 0; eta < 2; eta++)
            one_chain(&rows[k], eta);
    struct schedule schedule = schedule_of(&rows[0]);
    struct sampler s;
    struct sampler_options o = {
        .steps = STEPS, .eta = 1, .spacing = -1, .clip_sample = -1};
    if (sampler_init(&s, &schedule, &o) != 0)
        ERR_BUG("%s", err_text());
    exact_gradient(&s);
    score_function(&s);
    sampler_free(&s);
    schedule_free(&schedule);
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

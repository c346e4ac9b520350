/* DiffusionNFT: the worked example, loss and gradient against a plain form. */
#include "stages/algo/nft.h"

#include "io/sys/mem.h"
#include "tests/scene.h"

static struct nft_options own = {.beta = 1};
static struct algo_options options = {
    .logprob = LOGPROB_MEAN, .adv_clip = 5, .own = &own};

/* Algorithms reference, 13: a flow's scalar sample. */
static void example(void)
{
    const float x = -.16f, clean = .2f, old = .3f, o = .5f;
    const struct nft_point p = {
        .d = 1, .from_x = 1, .from_o = -.6, .x = &x, .clean = &clean, .old = &old, .o = &o};
    float grad = 0;
    double loss = nft_loss(&p, 1, .6, 5, &grad);
    tap_near(loss, .564, 1e-6, "the published bracket");
    tap_near(5 * loss, 2.82, 5e-6, "the published loss");
    /* 5 (.6 * 2 * -.66 / .66 * -.6 + .4 * 2 * -.42 / .42 * .6) */
    tap_near((double)grad, 5 * (.72 - .48), 1e-6, "its gradient");
}

/* x_0 hat of element j for the output o. */
static double clean_of(const struct scene *s, int j, double o)
{
    double a = sqrt(s->pair.alpha_bar), b = sqrt(1 - s->pair.alpha_bar);
    double x = (double)s->x[j];
    return s->sampler.prediction == PREDICT_EPSILON  ? (x - b * o) / a
           : s->sampler.prediction == PREDICT_SAMPLE ? o
                                                     : a * x - b * o;
}

/* Element j's error on the positive (0) or negative (1) side, with `by` added to o. */
static double error_of(const struct scene *s, int j, int side, double by)
{
    double old = (double)s->behaviour[j], away = (double)s->o[j] + by - old;
    double o = side == 0 ? old + own.beta * away : old - own.beta * away;
    return clean_of(s, j, o) - (double)s->clean[j];
}

/* W carries no gradient: differences with W held. */
static void against_plain(enum schedule_prediction prediction, double beta)
{
    struct scene s;
    double w[2] = {0}, square[2] = {0}, share[2] = {.7, .3}, worst = 0, h = 1e-4;
    scene_open(&s, 31, false);
    s.sampler.prediction = prediction;
    s.pair.advantage = 2; /* r = 2 / 10 + 0.5 */
    s.pair.weight = .25;
    own.beta = beta;
    struct algo_result r = scene_loss(&s, &nft, &options);
    for (int side = 0; side < 2; side++)
        for (int j = 0; j < SCENE_D; j++) {
            double e = error_of(&s, j, side, 0);
            w[side] += fabs(e) / SCENE_D;
            square[side] += e * e / SCENE_D;
        }
    double loss = share[0] * square[0] / w[0] + share[1] * square[1] / w[1];
    tap_near(r.loss / (.25 * 5 * loss / beta), 1, 1e-12, "loss");
    for (int j = 0; j < SCENE_D; j++) {
        double slope = 0;
        for (int side = 0; side < 2; side++) {
            double up = error_of(&s, j, side, h), down = error_of(&s, j, side, -h);
            slope += .25 * 5 * share[side] * (up * up - down * down) /
                     (w[side] * beta * SCENE_D * 2 * h);
        }
        worst = fmax(worst, fabs(slope - (double)s.grad[j]));
    }
    tap_ok(scene_norm(s.grad) > 0 && worst < 1e-6 * scene_norm(s.grad) && r.ratio == 1,
           "prediction %d, beta %g: gradient %.3g, differences within %.3g",
           (int)prediction, beta, scene_norm(s.grad), worst);
    scene_close(&s);
}

static void ends(void)
{
    struct scene s;
    struct algo_result r;
    own.beta = 1;
    scene_open(&s, 8, false);
    s.pair.advantage = 0;
    s.pair.behaviour = s.o;
    scene_loss(&s, &nft, &options);
    tap_ok(scene_norm(s.grad) == 0, "advantage 0 at the old policy: no gradient");
    s.pair.behaviour = s.behaviour;
    s.pair.advantage = 5;
    double best = scene_loss(&s, &nft, &options).loss;
    s.pair.advantage = 50;
    tap_ok(scene_loss(&s, &nft, &options).loss == best, "advantages are clipped");
    struct algo_options held = options;
    held.kl_weight = .5;
    r = scene_loss(&s, &nft, &held);
    tap_near(r.loss, best + .5 * r.kl, 1e-12, "distance to version 0");
    for (int j = 0; j < SCENE_D; j++) { /* no error at all: W is at its floor */
        s.behaviour[j] = s.o[j];
        s.clean[j] = (float)clean_of(&s, j, (double)s.o[j]);
    }
    r = scene_loss(&s, &nft, &options);
    tap_ok(r.loss >= 0 && r.loss < 1e-3 && isfinite(scene_norm(s.grad)),
           "a perfect sample: loss %.3g", r.loss);
    s.o[1] = INFINITY;
    tap_ok(nft.loss(&options, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "an infinity: %s", err_text());
    err_clear();
    s.pair.weight = 0;
    r = scene_loss(&s, &nft, &options);
    tap_ok(r.loss == 0 && r.ratio == 1 && scene_norm(s.grad) == 0,
           "padding is not looked at");
    scene_close(&s);
}

int main(void)
{
    example();
    for (int p = PREDICT_EPSILON; p <= PREDICT_V; p++) {
        against_plain((enum schedule_prediction)p, 1);
        against_plain((enum schedule_prediction)p, 0.1);
    }
    ends();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* The surrogate that policy-gradient methods share: ways of clipping, KL, and DPOK and
 * GRPO, which stand on it. */
#include "stages/algo/surrogate.h"

#include "io/sys/mem.h"
#include "stages/algo/dpok.h"
#include "stages/algo/grpo.h"
#include "tests/scene.h"

static const struct algo_options plain = {
    .logprob = LOGPROB_MEAN, .clip_range = 0.2, .adv_clip = 5};

/* Algorithms reference, 21.1: SD's schedule, t = 481 -> 461. */
static void kl_value(void)
{
    const float x[] = {.5f, -1, .25f}, o[] = {.1f, -.2f, .3f}, o2[] = {.12f, -.21f, .3f};
    float mu[3], other[3];
    struct schedule schedule = {.train_steps = 1000,
                                .beta = BETA_SCALED_LINEAR,
                                .beta_start = .00085,
                                .beta_end = .012,
                                .steps_offset = 1};
    struct sampler s;
    if (schedule_build(&schedule) != 0 ||
        sampler_init(&s, &schedule,
                     &(struct sampler_options){.steps = 50, .eta = 1, .spacing = -1}) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(s.step[25].t == 481 && s.step[25].p == 461, "t 481 -> 461");
    sampler_mean(&s, 25, 3, x, o, mu, NULL);
    sampler_mean(&s, 25, 3, x, o2, other, NULL);
    tap_near(sampler_kl(&s, 25, 3, mu, other), 3.5284792912e-05, 2e-9, "published KL");
    tap_ok(sampler_kl(&s, 25, 3, mu, mu) == 0, "KL to itself is exactly 0");
    sampler_free(&s);
    schedule_free(&schedule);
}

/* -a clamp(ratio): where the pessimistic surrogate and DPOK's differ. */
static void clipping(void)
{
    static const struct {
        double a, ratio, loss[3]; /* none, pessimistic, both */
        int moves[3];
    } row[] = {
        {1, 1.3, {-1.3, -1.2, -1.2}, {1, 0, 0}}, {1, 0.7, {-.7, -.7, -.8}, {1, 1, 0}},
        {-1, 1.3, {1.3, 1.3, 1.2}, {1, 1, 0}},   {-1, .7, {.7, .8, .8}, {1, 0, 0}},
        {1, 1.1, {-1.1, -1.1, -1.1}, {1, 1, 1}},
    };
    struct scene s;
    scene_open(&s, 11, true);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++)
        for (int k = 0; k < 3; k++) {
            struct algo_result r;
            scene_ratio(&s, log(row[i].ratio));
            if (surrogate_loss(&plain, (enum surrogate_clip)k, row[i].a, &s.pair, &r,
                               s.grad) != 0)
                ERR_BUG("%s", err_text());
            tap_ok(fabs(r.loss - row[i].loss[k]) < 1e-12 &&
                       (scene_norm(s.grad) > 0) == row[i].moves[k],
                   "a %g, ratio %g, way %d: loss %g, gradient %d", row[i].a, row[i].ratio,
                   k, r.loss, row[i].moves[k]);
        }
    scene_close(&s);
}

static void kl_loss(void)
{
    struct dpok_options own = {.reward_weight = 2};
    struct scene s;
    scene_open(&s, 5, true);
    s.pair.weight = 0.5;
    scene_ratio(&s, 0.05);
    for (int k = 0; k < 2; k++) {
        struct algo_options o = plain;
        o.logprob = k ? LOGPROB_SUM : LOGPROB_MEAN;
        o.clip_range = 100;
        o.own = &own;
        struct algo_result bare = scene_loss(&s, &flow_grpo, &o);
        o.kl_weight = 3;
        struct algo_result r = scene_loss(&s, &flow_grpo, &o);
        double square = 0;
        for (int j = 0; j < SCENE_D; j++)
            square += pow((double)s.o[j] - (double)s.reference[j], 2);
        double want = (double)s.sampler.step[SCENE_STEP].kl_weight * square;
        tap_near(r.kl / (want / (k ? 1 : SCENE_D)), 1, 1e-5, "KL is S |o - o_0|^2");
        tap_near(r.loss, bare.loss + 0.5 * 3 * r.kl, 1e-12, "its part of the loss");
        tap_ok(r.ratio == bare.ratio, "the ratio does not change");
        scene_differences(&s, &flow_grpo, &o, k ? "sum, KL" : "mean, KL");
        scene_differences(&s, &dance_grpo, &o, k ? "sum, KL" : "mean, KL");
        scene_differences(&s, &dpok, &o, k ? "sum, KL" : "mean, KL");
        s.pair.advantage = 0;
        scene_differences(&s, &dpok, &o, "KL alone");
        s.pair.advantage = 1;
    }
    scene_close(&s);
}

static const float *previous; /* a test's */

static int held_loss(const struct algo_options *o, const struct algo_pair *p,
                     struct algo_result *r, float *grad)
{
    int rc = flow_grpo.loss(o, p, r, grad);
    return rc != 0 ? rc : surrogate_add_previous(o, p, previous, r, grad);
}

/* The KL to the round's first version beside that to version 0: differences, and the
 * optimum of both together, which is the weighted mean of both networks. */
static void two_versions(void)
{
    struct algo held = flow_grpo;
    struct algo_options o = plain;
    struct scene s;
    float far[SCENE_D];
    held.loss = held_loss;
    o.kl_weight = 3;
    o.kl_previous_weight = 12;
    scene_open(&s, 21, true);
    memcpy(far, s.behaviour, sizeof far);
    previous = far;
    scene_differences(&s, &held, &o, "KL to two versions");
    struct algo_result one = scene_loss(&s, &flow_grpo, &o), both = scene_loss(&s, &held, &o);
    tap_ok(both.kl == one.kl && both.kl_previous > 0 && one.kl_previous == 0 &&
               fabs(both.loss - one.loss - 12 * both.kl_previous) < 1e-12 &&
               both.ratio == one.ratio,
           "its part of the loss, and nothing else changes");
    s.pair.advantage = 0;
    for (int j = 0; j < SCENE_D; j++)
        s.o[j] = (3 * s.reference[j] + 12 * far[j]) / 15;
    scene_loss(&s, &flow_grpo, &o);
    double pull = scene_norm(s.grad);
    scene_loss(&s, &held, &o);
    tap_ok(pull > 0 && scene_norm(s.grad) < 1e-5 * pull,
           "both hold at their weighted mean: %.1e of one's pull",
           scene_norm(s.grad) / pull);
    s.pair.step = 19;
    both = scene_loss(&s, &held, &o);
    tap_ok(both.kl_previous == 0 && both.loss == 0, "a masked step: none");
    scene_close(&s);
}

/* Before the first step of all: ratio 1, KL 0, the gradient is that without KL. */
static void exactly(void)
{
    int64_t off = 0;
    struct algo_options bare = plain, held = plain;
    held.kl_weight = 10;
    for (uint64_t i = 0; i < 100; i++) {
        struct scene s;
        float grad[SCENE_D];
        scene_open(&s, 1000 + 10 * i, true);
        s.pair.reference = s.o;
        scene_loss(&s, &flow_grpo, &bare);
        memcpy(grad, s.grad, sizeof grad);
        struct algo_result r = scene_loss(&s, &flow_grpo, &held);
        off += r.kl != 0 || r.ratio != 1;
        for (int j = 0; j < SCENE_D; j++)
            off += grad[j] != s.grad[j];
        scene_close(&s);
    }
    tap_ok(off == 0, "ratio 1 and KL 0 exactly while the policy is version 0");
}

static void left_out(void)
{
    struct algo_options o = plain;
    struct algo_result r;
    struct scene s;
    o.kl_weight = 1;
    scene_open(&s, 5, true);
    s.pair.step = 19;
    r = scene_loss(&s, &flow_grpo, &o);
    tap_ok(!s.sampler.step[19].mask && r.loss == 0 && r.ratio == 1 && r.kl == 0 &&
               scene_norm(s.grad) == 0,
           "a masked step: loss 0, ratio 1, KL 0");
    s.pair.step = SCENE_STEP;
    s.reference[3] = NAN;
    tap_ok(flow_grpo.loss(&o, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "a NaN of version 0: %s", err_text());
    err_clear();
    s.pair.weight = 0;
    r = scene_loss(&s, &flow_grpo, &o);
    tap_ok(r.loss == 0 && r.ratio == 1 && scene_norm(s.grad) == 0,
           "padding is not looked at");
    scene_close(&s);
}

/* Algorithms reference, 7.1. */
static void groups(void)
{
    struct grpo_options own = {0};
    struct algo_options o = plain;
    const double reward[] = {.2, .5, 1, .5, 1, .8, NAN, 3, .1, .1, .1};
    const uint8_t usable[] = {1, 1, 1, 1, 1, 1, 0, 1, 1, 1, 1};
    const char *prompt[] = {"a", "a", "b", "a", "b", "a", "a", "c", "d", "d", "d"};
    double adv[11];
    struct algo_signal s = {
        .n = 11, .reward = reward, .prompt = prompt, .usable = usable, .advantage = adv};
    o.own = &own;
    tap_ok(flow_grpo.signal(&o, NULL, &s) == 0, "flow_grpo");
    tap_near(adv[0], -1.413547, 5e-7, "population deviation, eps 1e-4");
    tap_near(adv[5], 1.413547, 5e-7, "population deviation, eps 1e-4");
    tap_ok(fabs(adv[1]) < 1e-12 && fabs(adv[3]) < 1e-12, "the mean gets 0");
    tap_ok(adv[2] == 0 && adv[4] == 0 && adv[7] == 0 && adv[9] == 0,
           "equal rewards and single samples get exactly 0");
    tap_ok(adv[6] == 0, "a failed sample gets 0 and enters no mean");
    own.batch_std = true;
    tap_ok(flow_grpo.signal(&o, NULL, &s) == 0, "group_std: batch");
    double mean = 7.3 / 10, square = 0;
    for (int i = 0; i < 11; i++)
        square += usable[i] ? (reward[i] - mean) * (reward[i] - mean) : 0;
    tap_near(adv[0], -.3 / (sqrt(square / 10) + 1e-4), 1e-12, "deviation of the iteration");
    tap_ok(adv[9] == 0, "equal rewards get exactly 0");
    tap_ok(dance_grpo.signal(&o, NULL, &s) == 0, "dance_grpo");
    tap_near(adv[0], -1.224745, 5e-7, "sample deviation, eps 1e-8");
    tap_ok(adv[7] == 0 && adv[9] == 0, "no signal: 0");
    tap_ok(dpok.signal(&o, NULL, &s) == 0, "dpok");
    tap_near(adv[0], .2 - 1.8 / 3, 1e-12, "less the mean of the prompt's others");
    tap_near(adv[7], 3 - 4.3 / 9, 1e-12, "a single sample: of the iteration's others");
    tap_ok(adv[6] == 0 && adv[2] == 0, "failed, or no signal: 0");
    s.usable = (const uint8_t[11]){0};
    tap_ok(flow_grpo.signal(&o, NULL, &s) == 0 && dpok.signal(&o, NULL, &s) == 0 &&
               adv[0] == 0,
           "no usable sample at all");
    s.usable = (const uint8_t[]){1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};
    tap_ok(flow_grpo.signal(&o, NULL, &s) == -1 && dpok.signal(&o, NULL, &s) == -1 &&
               err_code() == ERR_NUMERIC,
           "%s", err_text());
    err_clear();
}

int main(void)
{
    kl_value();
    clipping();
    kl_loss();
    two_versions();
    exactly();
    left_out();
    groups();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* Methods with values of states: losses against differences, and closed forms. */
#include "io/sys/mem.h"
#include "stages/algo/control.h"
#include "stages/algo/ddpo.h"
#include "stages/algo/pcl.h"
#include "stages/algo/ppo.h"
#include "stages/algo/signal.h"
#include "tests/scene.h"

static const struct algo_options plain = {
    .logprob = LOGPROB_MEAN, .clip_range = 0.2, .adv_clip = 5};

static void gradients(void)
{
    struct control_options held = {.alpha = .7};
    struct pcl_options path = {.alpha = .3};
    struct algo_options o = plain;
    struct scene s;
    scene_open(&s, 17, true);
    scene_ratio(&s, .01);
    for (int sum = 0; sum < 2; sum++) {
        o.logprob = sum ? LOGPROB_SUM : LOGPROB_MEAN;
        o.clip_range = 10;
        s.pair.advantage = -.8;
        o.own = NULL;
        scene_differences(&s, &ppo, &o, sum ? "sum" : "mean");
        o.own = &held;
        scene_differences(&s, &control, &o, sum ? "sum" : "mean");
        struct algo_result r = scene_loss(&s, &control, &o);
        struct algo_result bare = scene_loss(&s, &ppo, &o);
        tap_near(r.loss - bare.loss, held.alpha * r.kl, 1e-12, "control: alpha KL");
    }
    s.pair.weight = .5;
    o.own = &path;
    s.pair.advantage = path.alpha * s.log_prob - .4;
    scene_differences(&s, &pcl, &o, "squared residual");
    tap_near(scene_loss(&s, &pcl, &o).loss, .5 * .16, 1e-9, "pcl: its loss");
    o.kl_weight = .2;
    scene_differences(&s, &pcl, &o, "with a KL");
    o.kl_weight = 0;
    s.pair.advantage = path.alpha * s.log_prob;
    struct algo_result r = scene_loss(&s, &pcl, &o);
    tap_ok(r.loss == 0 && scene_norm(s.grad) == 0, "pcl: consistent, exactly nothing");
    s.pair.weight = 0;
    s.x[0] = NAN;
    r = scene_loss(&s, &pcl, &o);
    tap_ok(r.loss == 0 && r.ratio == 1, "padding is not looked at");
    scene_close(&s);
}

enum { N = 6, STEPS = 4 };

/* The arrays of a struct algo_steps. */
struct chains {
    double reward[N], log_prob[N * STEPS], reference[N * STEPS], kl[N * STEPS];
    double target[N * STEPS], value[N * STEPS], advantage[N * STEPS];
    struct algo_steps s;
};

static struct algo_steps *chains_open(struct chains *c, uint64_t key)
{
    static const uint8_t usable[N] = {1, 1, 1, 0, 1, 1}, live[STEPS] = {1, 1, 1, 0};
    static const char *const prompt[N] = {"a", "b", "a", "a", "b", "a"};
    for (int i = 0; i < N; i++)
        c->reward[i] = 2 * rng_uniform(key, i);
    for (int i = 0; i < N * STEPS; i++) {
        bool on = live[i % STEPS];
        c->log_prob[i] = on ? rng_uniform(key, 100 + i) : 0;
        c->reference[i] = on ? rng_uniform(key, 200 + i) : 0;
        c->kl[i] = on ? rng_uniform(key, 300 + i) : 0;
        c->value[i] = rng_uniform(key, 400 + i);
    }
    c->s = (struct algo_steps){.n = N,
                               .steps = STEPS,
                               .reward = c->reward,
                               .prompt = prompt,
                               .usable = usable,
                               .live = live,
                               .log_prob = c->log_prob,
                               .log_prob_reference = c->reference,
                               .kl_reference = c->kl,
                               .target = c->target,
                               .value = c->value,
                               .advantage = c->advantage};
    return &c->s;
}

/* lambda 1 and a value that knows nothing: DDPO's normalised reward, at every step. */
static void as_ddpo(void)
{
    struct ppo_options own = {.gamma = 1, .lambda = 1};
    struct algo_options o = plain;
    struct chains c;
    double advantage[N], worst = 0;
    struct algo_steps *s = chains_open(&c, 3);
    struct algo_signal a = {.n = N,
                            .reward = c.reward,
                            .prompt = s->prompt,
                            .usable = s->usable,
                            .advantage = advantage};
    o.own = &own;
    memset(c.value, 0, sizeof c.value);
    tap_ok(ppo.returns(&o, s) == 0 && ppo.steps(&o, s) == 0 &&
               ddpo_is.signal(&o, NULL, &a) == 0,
           "ppo and ddpo_is");
    for (int i = 0; i < N * STEPS; i++)
        worst = fmax(worst, fabs(c.advantage[i] -
                                 (s->live[i % STEPS] ? advantage[i / STEPS] : 0)));
    tap_near(worst, 0, 1e-12, "the same advantages");
    tap_ok(c.target[0] == c.reward[0] && c.target[3] == 0, "returns are the reward");
}

static void control_numbers(void)
{
    struct control_options own = {.alpha = .5, .lambda = 1};
    struct algo_options o = plain;
    struct chains c;
    struct algo_steps *s = chains_open(&c, 5);
    double after = c.reward[1] - .5 * (c.kl[STEPS + 1] + c.kl[STEPS + 2]);
    o.own = &own;
    tap_ok(control.returns(&o, s) == 0 && control.steps(&o, s) == 0, "control");
    tap_near(c.target[STEPS], after, 1e-14, "the reward less later steps' alpha KL");
    tap_near(c.advantage[STEPS], after - c.value[STEPS], 1e-14, "less the value");
    tap_near(c.advantage[STEPS + 2], c.reward[1] - c.value[STEPS + 2], 1e-14,
             "the last step pays for nothing");
    tap_ok(c.advantage[3 * STEPS] == 0 && c.advantage[STEPS + 3] == 0,
           "unusable or masked: 0");
}

/* sum over chains of (v + alpha sum of log-ratios - r)^2 at its best v per prompt. */
static double balance(const struct chains *c, double alpha)
{
    double total = 0;
    for (int p = 0; p < 2; p++) {
        double rest[N] = {0}, mean = 0, count = 0;
        for (int i = 0; i < N; i++) {
            if (!c->s.usable[i] || (c->s.prompt[i][0] == 'b') != p)
                continue;
            rest[i] = c->reward[i];
            for (int k = 0; k < STEPS - 1; k++)
                rest[i] -= alpha * (c->log_prob[i * STEPS + k] - c->reference[i * STEPS + k]);
            mean += rest[i];
            count++;
        }
        mean /= count;
        for (int i = 0; i < N; i++)
            if (c->s.usable[i] && (c->s.prompt[i][0] == 'b') == p)
                total += (rest[i] - mean) * (rest[i] - mean);
    }
    return total;
}

/* The advantage is minus the loss's derivative by the step's log-density, v's movement
 * included. */
static void balance_gradient(void)
{
    struct pcl_options own = {.alpha = .3};
    struct algo_options o = plain;
    struct chains c;
    struct algo_steps *s = chains_open(&c, 7);
    double worst = 0, h = 1e-5;
    o.own = &own;
    tap_ok(trajectory_balance.steps(&o, s) == 0, "trajectory_balance");
    for (int i = 0; i < N * STEPS; i++) {
        double keep = c.log_prob[i], slope;
        c.log_prob[i] = keep + h;
        slope = balance(&c, own.alpha);
        c.log_prob[i] = keep - h;
        slope = (slope - balance(&c, own.alpha)) / (2 * h);
        c.log_prob[i] = keep;
        worst = fmax(worst, fabs(slope + c.advantage[i]));
    }
    tap_near(worst, 0, 1e-9, "minus the derivative of the squared imbalance");
}

/* Algorithms reference, 21.5: the exact denoiser of N(.5, .25) makes the chain linear,
 * x' = mul x + add + sigma z, and with reward w x the soft value is linear in x too:
 * v_k(x) = w (G_k x + C_k) + w^2 Var_k / (2 alpha). The optimal policy moves each mean by
 * sigma^2 w G_{k+1} / alpha; with it every residual is 0, on any path. */
struct linear {
    double mul[50], add[50], sigma[50], gain[51], shift[51], variance[51];
};

static void linear_chain(struct linear *l, const struct sampler *s)
{
    l->gain[50] = 1;
    l->shift[50] = l->variance[50] = 0;
    for (int k = 49; k >= 0; k--) {
        const struct sampler_step *p = &s->step[k];
        double a = (double)p->abar, next = (double)p->abar_p, sigma = (double)p->sigma;
        double slope = sqrt(1 - a) / (a * .25 + 1 - a), b = sqrt(next / a);
        double c = sqrt(1 - next - sigma * sigma) - b * sqrt(1 - a);
        l->mul[k] = b + c * slope;
        l->add[k] = -c * slope * sqrt(a) * .5;
        l->sigma[k] = sigma;
        l->gain[k] = l->gain[k + 1] * l->mul[k];
        l->shift[k] = l->shift[k + 1] + l->gain[k + 1] * l->add[k];
        l->variance[k] = l->variance[k + 1] + pow(l->gain[k + 1] * sigma, 2);
    }
}

static double density(double x, double mean, double sigma)
{
    return -pow((x - mean) / sigma, 2) / 2 - log(sigma) - .5 * log(2 * M_PI);
}

static void soft_value(void)
{
    enum { CHAINS = 3 };
    const double w = 1.5, alpha = .5;
    struct pcl_options own = {.alpha = alpha};
    struct algo_options o = plain;
    struct schedule schedule = {.train_steps = 1000,
                                .beta = BETA_SCALED_LINEAR,
                                .beta_start = .00085,
                                .beta_end = .012,
                                .steps_offset = 1};
    struct sampler sampler;
    struct linear l;
    double reward[CHAINS], p[CHAINS * 50], p0[CHAINS * 50], value[CHAINS * 50];
    double target[CHAINS * 50], advantage[CHAINS * 50], kl[CHAINS * 50] = {0};
    double residual = 0, returns = 0;
    uint8_t on[50];
    if (schedule_build(&schedule) != 0 ||
        sampler_init(&sampler, &schedule,
                     &(struct sampler_options){
                         .steps = 50, .eta = 1, .clamp_last = true, .spacing = -1}) != 0)
        ERR_BUG("%s", err_text());
    linear_chain(&l, &sampler);
    tap_near(l.gain[0], .01913863, 1e-7, "the published adjoint at the start");
    tap_near(l.gain[25], .17828338, 1e-6, "and at step 25");
    for (int i = 0; i < CHAINS; i++) {
        double x = i - 1;
        for (int k = 0; k < 50; k++) {
            int at = 50 * i + k;
            double mean = l.mul[k] * x + l.add[k], sigma = l.sigma[k];
            double better = mean + sigma * sigma * w * l.gain[k + 1] / alpha;
            value[at] = w * (l.gain[k] * x + l.shift[k]) +
                        w * w * l.variance[k] / (2 * alpha);
            x = mean + 3 * sigma * (rng_uniform(9, at) - .5); /* nobody's policy */
            p[at] = density(x, better, sigma);
            p0[at] = density(x, mean, sigma);
            on[k] = 1;
        }
        reward[i] = w * x;
    }
    struct algo_steps s = {.n = CHAINS,
                           .steps = 50,
                           .reward = reward,
                           .prompt = (const char *const[]){"", "", ""},
                           .usable = on,
                           .live = on,
                           .log_prob = p,
                           .log_prob_reference = p0,
                           .kl_reference = kl,
                           .target = target,
                           .value = value,
                           .advantage = advantage};
    o.own = &own;
    tap_ok(pcl.returns(&o, &s) == 0 && pcl.steps(&o, &s) == 0, "pcl");
    for (int i = 0; i < CHAINS * 50; i++) {
        residual = fmax(residual, fabs(alpha * p[i] - advantage[i]));
        returns = fmax(returns, fabs(target[i] - value[i]));
    }
    tap_near(residual, 0, 1e-12, "every step is consistent at the optimum");
    tap_near(returns, 0, 1e-11, "and what follows every state is its soft value");
    for (int i = 0; i < CHAINS; i++) /* all x_T have one value only on average */
        reward[i] -= value[50 * i];
    tap_ok(trajectory_balance.steps(&o, &s) == 0, "trajectory_balance");
    for (int i = 0; i < CHAINS * 50; i++)
        residual = fmax(residual, fabs(advantage[i]));
    tap_near(residual, 0, 1e-11, "whole chains balance");
    sampler_free(&sampler);
    schedule_free(&schedule);
}

int main(void)
{
    gradients();
    as_ddpo();
    control_numbers();
    balance_gradient();
    soft_value();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

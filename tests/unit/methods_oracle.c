/* Whole iterations of the methods against closed forms, on the exact denoiser of Gaussian
 * data with one learned shift of the predicted noise (tests/oracle.h). */
#include "tests/oracle.h"

#define N 16384
#define DATA_MEAN 0.5 /* of the data that the denoiser is exact for */
#define DATA_VARIANCE 0.25

/* Gradient of the first optimizer step, from AdamW's first moment; metric receives the
 * iteration's numbers. */
static double gradient(const char *name, const char *model, const char *options,
                       double metric[METRICS])
{
    float m = 0;
    char *all = text_new("run.seed=7 rollout.samples=%d rollout.shard_samples=4096 %s", N,
                         options);
    char *dir = run(name, model, all);
    struct policy *p = open_policy(dir, 1);
    must(policy_slice(p, POLICY_ADAM_M, 0, 1, &m));
    must(policy_metrics(p, metric));
    policy_close(p);
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "%s: ratios are exactly 1", name);
    mem_free(dir);
    mem_free(all);
    return (double)m / (1 - 0.9);
}

/* alpha-bar of the schedule at each training timestep. */
static void levels(double alpha_bar[1000])
{
    double product = 1, root0 = sqrt(.00085), root1 = sqrt(.012);
    for (int i = 0; i < 1000; i++) {
        double root = root0 + (root1 - root0) * i / 999;
        alpha_bar[i] = product *= 1 - root * root;
    }
}

/* KL of step i per squared shift, S = B^2 / (2 sigma^2), mean over the chain's steps. */
static double mean_kl(void)
{
    double alpha_bar[1000], sum = 0;
    levels(alpha_bar);
    for (int t = 981; t > 0; t -= 20) {
        double a = alpha_bar[t], next = alpha_bar[t > 20 ? t - 20 : 0];
        double variance = (1 - next) / (1 - a) * (1 - a / next);
        double slope = sqrt(1 - next - variance) - sqrt(next * (1 - a) / a);
        sum += slope * slope / (2 * variance);
    }
    return sum / STEPS;
}

/* One iteration on the chain: d E[reward] / d shift, for one element. */
static void test_chain(const char *model)
{
    double metric[METRICS], error = 4 * SPREAD / sqrt(N);
    double got = gradient("flow", model,
                          "algorithm.name=flow_grpo algorithm.adv_clip=1000", metric);
    tap_near(-got * STEPS * (metric[METRIC_REWARD_STD] + 1e-4), SLOPE, error,
             "flow_grpo: d E[reward] / d shift");
    tap_ok(metric[METRIC_KL_REFERENCE] == 0, "flow_grpo: KL 0 at version 0");
    got = gradient("dance", model, "algorithm.name=dance_grpo algorithm.adv_clip=1000",
                   metric);
    tap_near(-got * STEPS * metric[METRIC_REWARD_STD] * sqrt(N / (N - 1.0)), SLOPE, error,
             "dance_grpo: d E[reward] / d shift");
    tap_ok(isnan(metric[METRIC_KL_REFERENCE]), "dance_grpo: no KL is measured");
    got = gradient("dpok", model, "algorithm.name=dpok", metric);
    tap_near(-got * STEPS / 10, SLOPE, error, "dpok: d E[reward] / d shift");
}

/* The second iteration starts from the shift c that the first one made: the KL is S c^2,
 * its part of the gradient 2 kl_weight S c. */
static void test_kl(const char *model)
{
    double metric[METRICS], gradients[2], s = mean_kl(), weight = 100;
    tap_near(s * STEPS, 11.004, 5e-4, "sum of S over the steps");
    char *options = text_new("run.seed=8 run.iterations=2 rollout.samples=%d "
                             "rollout.shard_samples=4096 algorithm.name=dpok "
                             "algorithm.kl_weight=%g update.lr=0.05 "
                             "update.weight_decay=0 algorithm.logprob=sum",
                             N, weight);
    char *dir = run("kl", model, options);
    two_gradients(dir, gradients, metric);
    float c = shift_of(dir, 1);
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "kl: ratios are exactly 1");
    tap_near(c, -.05, 1e-6, "the first shift");
    tap_near(metric[METRIC_KL_REFERENCE] / (s * .05 * .05), 1, 1e-4, "kl: S c^2");
    tap_near(gradients[1], -10 * SLOPE / STEPS + 2 * weight * s * (double)c,
             10 * 4 * SPREAD / sqrt(N) / STEPS, "kl: gradient");
    mem_free(dir);
    mem_free(options);
}

/* Where the reward's pull and the KL's balance: a SLOPE = 2 STEPS kl_weight S c. Without
 * momentum, which would swing around that point. */
static void test_balance(const char *model)
{
    enum { ITERATIONS = 40, LAST = 15 };
    double want = SLOPE / (2 * STEPS * 0.5 * mean_kl());
    char *options = text_new("run.seed=9 run.iterations=%d run.keep_policies=0 "
                             "rollout.samples=1024 rollout.shard_samples=1024 "
                             "algorithm.name=dpok algorithm.dpok_reward_weight=1 "
                             "algorithm.kl_weight=0.5 update.lr=0.01 update.beta1=0 "
                             "update.weight_decay=0 algorithm.logprob=sum",
                             ITERATIONS);
    char *dir = run("balance", model, options);
    double mean = settled(dir, ITERATIONS, LAST);
    tap_near(mean, want, 0.1 * fabs(want), "dpok: the shift settles where forces balance");
    mem_free(dir);
    mem_free(options);
}

/* The denoiser is exact for data, not for samples whose weighted mean is another one: at
 * shift 0 the gradient of the weighted loss is the mean over timesteps of
 * 2 E[eps*(x_t)] = 2 sqrt(abar (1 - abar)) (mean - m) / (abar s2 + 1 - abar). */
static double denoising_slope(double mean)
{
    double alpha_bar[1000], sum = 0;
    levels(alpha_bar);
    for (int t = 0; t < 1000; t++) {
        double a = alpha_bar[t];
        sum += 2 * sqrt(a * (1 - a)) * (mean - DATA_MEAN) / (a * DATA_VARIANCE + 1 - a);
    }
    return sum / 1000;
}

/* Weights exp(r) tilt a Gaussian by its variance. The tolerance is four standard errors:
 * a term's deviation is at most 2, the weights' mean square is exp(variance). */
static void test_rwr(const char *model)
{
    enum { DRAWS = 4 };
    double metric[METRICS], pairs = N * DRAWS;
    char *options = text_new("algorithm.name=rwr algorithm.rwr_beta=1 algorithm.draws=%d",
                             DRAWS);
    double got = gradient("rwr", model, options, metric);
    tap_near(got, denoising_slope(MEAN + VARIANCE), 4 * 2 * sqrt(exp(VARIANCE) / pairs),
             "rwr: gradient of the weighted denoising loss");
    mem_free(options);
    /* the best tenth of a Gaussian lies 1.754983 deviations above its mean */
    options = text_new("algorithm.name=rwr_sparse algorithm.draws=%d", 10 * DRAWS);
    got = gradient("rwr-sparse", model, options, metric);
    tap_near(got, denoising_slope(MEAN + 1.754983 * sqrt(VARIANCE)), 4 * 2 / sqrt(pairs),
             "rwr_sparse: gradient on the best tenth");
    mem_free(options);
}

/* With one element W is the error's size, so a pair's gradient is
 * -2 sqrt(1 - abar) / sqrt(abar) A sign(e), e = x_0 hat - x_0. A and e are jointly Gaussian:
 * E[A sign(e)] = sqrt(2 / pi) corr(x_0, e). */
static void test_nft(const char *model)
{
    double alpha_bar[1000], want = 0, size = 0, metric[METRICS];
    levels(alpha_bar);
    for (int t = 981; t > 0; t -= 20) {
        double a = sqrt(alpha_bar[t]), b = sqrt(1 - alpha_bar[t]);
        double k = b / (a * a * DATA_VARIANCE + b * b), tilt = k * a * sqrt(VARIANCE);
        double corr = -tilt / sqrt((1 - k * b) * (1 - k * b) + tilt * tilt);
        want += -2 * b / a * sqrt(2 / M_PI) * corr / STEPS;
        size += 2 * b / a / STEPS;
    }
    double got = gradient("nft", model, "algorithm.name=nft algorithm.adv_clip=1000", metric);
    tap_near(got, want, 4 * size / sqrt(N), "nft: gradient at the old policy");
    tap_ok(metric[METRIC_KL_REFERENCE] == 0, "nft: distance 0 at version 0");
}

/* A and B of step i (from the clean end: t = 981 - 20 i), and G_i = d x_0 / d x_i with the
 * exact denoiser, whose slope at t is k. */
static void chain_slopes(double a[STEPS], double b[STEPS], double g[STEPS + 1])
{
    double alpha_bar[1000];
    levels(alpha_bar);
    g[STEPS] = 1;
    for (int i = STEPS - 1; i >= 0; i--) {
        int t = 981 - 20 * i;
        double at = alpha_bar[t], next = alpha_bar[t > 20 ? t - 20 : 0];
        double variance = (1 - next) / (1 - at) * (1 - at / next);
        double k = sqrt(1 - at) / (at * DATA_VARIANCE + 1 - at);
        a[i] = sqrt(next / at);
        b[i] = sqrt(1 - next - variance) - sqrt(next * (1 - at) / at);
        g[i] = g[i + 1] * (a[i] + b[i] * k);
    }
}

/* The reward is linear and so is the chain: each sample has the exact gradient. */
static void test_paths(const char *model)
{
    double metric[METRICS], a[STEPS], b[STEPS], g[STEPS + 1], next = 0, same = 0, late = 0;
    const char *few = "rollout.samples=8";
    chain_slopes(a, b, g);
    tap_near(-g[49], -.99702476, 1e-7, "adjoint at step 49");
    tap_near(-g[48], -.93788688, 1e-7, "at 48");
    tap_near(-g[25], -.17828338, 1e-7, "at 25");
    tap_near(-g[0], -.01913863, 1e-7, "at 0");
    for (int i = 0; i < STEPS; i++) {
        next += b[i] * g[i + 1] / STEPS;
        same += b[i] * g[i] / STEPS;
        late += i < 40 ? 0 : b[i] * g[i + 1];
    }
    char *options = text_new("%s algorithm.name=draft_k algorithm.draft_k=50", few);
    tap_near(gradient("draft", model, options, metric), -SLOPE, 1e-5,
             "draft_k: the whole chain's gradient");
    mem_free(options);
    options = text_new("%s algorithm.name=alignprop algorithm.truncation=fixed "
                       "algorithm.truncation_mean=0.8 algorithm.reward_target=-10", few);
    tap_near(gradient("align", model, options, metric), late, 1e-5,
             "alignprop: the last ten steps' gradient, down to a target");
    mem_free(options);
    options = text_new("%s algorithm.name=adjoint_matching algorithm.adjoint_steps=all "
                       "algorithm.adjoint_weight=2", few);
    tap_near(gradient("lean", model, options, metric), -2 * 2 * next, 1e-5,
             "adjoint_matching: gradient of the regression");
    tap_ok(metric[METRIC_KL_REFERENCE] == 0, "adjoint_matching: KL 0 at version 0");
    mem_free(options);
    options = text_new("%s algorithm.name=adjoint_matching algorithm.adjoint_steps=all "
                       "algorithm.adjoint_pairing=same", few);
    tap_near(gradient("lean-same", model, options, metric), -2 * same, 1e-5,
             "adjoint_matching: paired as in the published code");
    mem_free(options);
    options = text_new("%s algorithm.name=draft_lv algorithm.draws=3", few);
    tap_near(gradient("lv", model, options, metric), -b[49], 1e-6,
             "draft_lv: the last step's gradient");
    mem_free(options);
}

/* The regression settles where one shift serves all steps best: the least squares of
 * B c / sigma against -sigma a. */
static void test_regression(const char *model)
{
    double a[STEPS], b[STEPS], g[STEPS + 1], pull = 0, curvature = 2 * STEPS * mean_kl();
    float c = 0;
    chain_slopes(a, b, g);
    for (int i = 0; i < STEPS; i++)
        pull += b[i] * g[i + 1];
    char *dir = run("regression", model,
                    "run.seed=4 run.iterations=40 run.keep_policies=0 rollout.samples=2 "
                    "algorithm.name=adjoint_matching algorithm.adjoint_steps=all "
                    "algorithm.adjoint_weight=3 update.lr=0.02 update.beta1=0.5 "
                    "update.beta2=0.9 update.weight_decay=0 update.inner_epochs=5");
    struct policy *p = open_policy(dir, 40);
    must(policy_slice(p, POLICY_WEIGHTS, 0, 1, &c));
    policy_close(p);
    tap_near(c, 3 * pull / curvature, 0.01, "adjoint_matching: the shift that it settles at");
    mem_free(dir);
}

/* The methods without likelihoods: brightness rises, and the last mean is what the chain,
 * which is linear in the shift, makes of the shift that was learned. */
static void test_learning(const char *model, const char *method, const char *options)
{
    enum { SAMPLES = 512, ITERATIONS = 15 };
    char *name = text_new("learning-%s", method);
    char *all = text_new("run.seed=5 run.iterations=%d run.keep_policies=0 "
                         "rollout.samples=%d rollout.shard_samples=%d update.lr=0.01 "
                         "update.batch=128 algorithm.name=%s %s",
                         ITERATIONS, SAMPLES, SAMPLES, method, options);
    char *dir = run(name, model, all);
    rises(name, dir, ITERATIONS, SAMPLES);
    mem_free(name);
    mem_free(dir);
    mem_free(all);
}

int main(void)
{
    if (!program_is_built())
        return tap_skip_all("the executable is not built");
    work_begin("methods");
    char *one = write_model(1);
    test_rwr(one);
    test_chain(one);
    test_nft(one);
    test_paths(one);
    test_regression(one);
    test_kl(one);
    test_balance(one);
    test_learning(one, "rwr", "algorithm.rwr_beta=3 algorithm.draws=8");
    test_learning(one, "rwr_sparse", "algorithm.draws=20");
    /* with one element the pull towards the old policy is far stronger than with many: a
     * second step of this size in an iteration would go back */
    test_learning(one, "nft", "algorithm.draws=10 update.batch=auto update.lr=0.02");
    mem_free(one);
    work_end();
    return tap_done();
}

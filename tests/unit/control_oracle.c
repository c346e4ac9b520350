/* Entropy-regularised methods on the exact denoiser of Gaussian data with one learned
 * shift c of the predicted noise (tests/oracle.h). A shift moves every mean by the same
 * whatever the state, so with reward x_0
 *
 *     J(c) = E[x_0] - alpha sum KL = MEAN + SLOPE c - alpha SENSITIVITY c^2
 *
 * and the best policy that a shift can make has c = SLOPE / (2 alpha SENSITIVITY). */
#include "tests/oracle.h"

#define SENSITIVITY (22.008 / 2) /* sum of B^2 / (2 sigma^2): algorithms reference, 21.3 */
#define VALUE "value.features=4 value.knots=2 "

/* The second iteration starts from the shift of the first: the gradient there, from
 * AdamW's first moments. */
static void test_gradient(const char *model, const char *value)
{
    enum { N = 8192 };
    const double alpha = 2;
    double metric[METRICS], gradient[2];
    char *name = text_new("gradient-%s", value);
    char *options = text_new("run.seed=8 run.iterations=2 rollout.samples=%d "
                             "rollout.shard_samples=4096 algorithm.name=control "
                             "algorithm.control_alpha=%g update.lr=0.2 "
                             "update.weight_decay=0 algorithm.logprob=sum "
                             "algorithm.lambda=1 value.kind=%s " VALUE,
                             N, alpha, value);
    char *dir = run(name, model, options);
    two_gradients(dir, gradient, metric);
    float c = shift_of(dir, 1);
    tap_near(-gradient[0] * STEPS, SLOPE, 4 * SPREAD / sqrt(N), "at the first policy");
    tap_near(c, -.2, 1e-6, "the first shift");
    /* differences of the closed form */
    double h = 1e-3, up = (double)c + h, down = (double)c - h;
    double want = (SLOPE * (up - down) - alpha * SENSITIVITY * (up * up - down * down)) /
                  (2 * h);
    tap_near(-gradient[1] * STEPS, want, 4 * SPREAD / sqrt(N), name);
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "ratios are exactly 1");
    tap_near(metric[METRIC_KL_REFERENCE] * STEPS / (SENSITIVITY * .04), 1, 1e-3,
             "the KL of a chain");
    mem_free(name);
    mem_free(options);
    mem_free(dir);
}

/* Where training settles. Without momentum, which would swing around that point. */
static void test_optimum(const char *model, const char *method, const char *options)
{
    enum { ITERATIONS = 30, LAST = 12 };
    double want = SLOPE / (2 * .5 * SENSITIVITY);
    char *all = text_new("run.seed=9 run.iterations=%d run.keep_policies=0 "
                         "rollout.samples=1024 rollout.shard_samples=1024 "
                         "algorithm.name=%s update.lr=0.01 update.beta1=0 update.beta2=0.9 "
                         "update.weight_decay=0 algorithm.logprob=sum "
                         "algorithm.lambda=1 " VALUE "%s",
                         ITERATIONS, method, options);
    char *dir = run(method, model, all);
    double mean = settled(dir, ITERATIONS, LAST);
    tap_near(mean, want, 0.1 * fabs(want), method);
    mem_free(dir);
    mem_free(all);
}

int main(void)
{
    if (!program_is_built())
        return tap_skip_all("the executable is not built");
    work_begin("control");
    char *one = write_model(1);
    test_gradient(one, "ridge");
    test_gradient(one, "none");
    test_optimum(one, "control", "algorithm.control_alpha=0.5");
    test_optimum(one, "pcl", "algorithm.pcl_alpha=0.5 value.knots=8 value.memory=0.5");
    test_optimum(one, "trajectory_balance", "algorithm.pcl_alpha=0.5");
    mem_free(one);
    work_end();
    return tap_done();
}

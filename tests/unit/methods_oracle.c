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
    char *all = text_new("run.seed=7 rollout.samples=%d rollout.shard_samples=%d %s", N,
                         4096, options);
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

int main(void)
{
    const char *bin = getenv("SLUICE_BIN");
    if (access(bin != NULL ? bin : "build/sluice", X_OK) != 0)
        return tap_skip_all("the executable is not built");
    snprintf(work, sizeof work, "/tmp/sluice-methods.XXXXXX");
    if (mkdtemp(work) == NULL)
        ERR_BUG("mkdtemp");
    char *one = write_model(1);
    test_rwr(one);
    mem_free(one);
    char *clean = text_new("rm -rf %s", work);
    tap_ok(system(clean) == 0, "the folder is removed");
    mem_free(clean);
    return tap_done();
}

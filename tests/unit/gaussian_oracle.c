/* Rollout, advantage and update together against closed forms: the exact denoiser of
 * Gaussian data, the reward `brightness`, one learned shift of the predicted noise. Runs
 * the executable (SLUICE_BIN, default build/sluice), one process. */
#include "stages/reward/brightness.h"
#include "tests/oracle.h"

#define SAMPLES 40000
#define SHARD 4096

/* Mean and variance of all elements of the final samples. */
static void moments(const char *dir, int64_t side, double *mean, double *variance)
{
    double sum = 0, sum2 = 0, n = 0;
    for (int64_t s = 0; s * SHARD < SAMPLES; s++) {
        char rel[96];
        int64_t dim[SHARD_MAX_ND];
        char *path = rundir_path(dir, rundir_rollout(rel, 0, s));
        struct shard *in = shard_open(path, SHARD_ROLLOUT);
        float *x = in == NULL ? NULL
                              : shard_get(in, "final_sample", COLUMN_F32, 4,
                                          (int64_t[]){-1, 1, side, side}, dim);
        if (x == NULL)
            ERR_BUG("%s", err_text());
        for (int64_t i = 0; i < dim[0] * side * side; i++) {
            sum += (double)x[i];
            sum2 += (double)x[i] * (double)x[i];
            n++;
        }
        mem_free(x);
        shard_close(in);
        mem_free(path);
    }
    *mean = sum / n;
    *variance = sum2 / n - *mean * *mean;
}

/* One iteration of SAMPLES samples. The loss is the mean over samples and steps of
 * -advantage * ratio with advantages in units of the rewards' deviation, so the
 * gradient times -STEPS * deviation estimates d E[r] / d shift; a mean over the d
 * elements inside the ratio divides it by d. The reward is the mean of the elements, so
 * with the sum the estimate is the one element's, whatever d. */
static void test_gradient(const char *model, int64_t side, const char *logprob,
                          int seed)
{
    double d = (double)(side * side), share = strcmp(logprob, "mean") == 0 ? 1 / d : 1;
    double metric[METRICS], mean, variance;
    float m = 0;
    char *name = text_new("d%g-%s-%d", d, logprob, seed);
    char *options = text_new("run.seed=%d rollout.samples=%d rollout.shard_samples=%d "
                             "algorithm.name=ddpo_sf algorithm.logprob=%s",
                             seed, SAMPLES, SHARD, logprob);
    char *dir = run(name, model, options);
    moments(dir, side, &mean, &variance);
    tap_near(mean, MEAN, 4 * sqrt(VARIANCE / (SAMPLES * d)),
             "mean of the final samples");
    tap_near(variance, VARIANCE, 4 * VARIANCE * sqrt(2 / (SAMPLES * d)),
             "their variance");
    struct policy *p = open_policy(dir, 1);
    must(policy_slice(p, POLICY_ADAM_M, 0, 1, &m));
    must(policy_metrics(p, metric));
    policy_close(p);
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "ratios are exactly 1");
    double gradient = -(double)m / (1 - 0.9) * STEPS * metric[METRIC_REWARD_STD];
    char *what = text_new("d E[reward] / d shift, %g elements, %s", d, logprob);
    tap_near(gradient, SLOPE * share, 4 * SPREAD / sqrt(SAMPLES) * share, what);
    mem_free(what);
    mem_free(dir);
    mem_free(options);
    mem_free(name);
}

/* Brightness rises, and by what the shift that was learned makes of the chain, which is
 * linear in it. */
static void test_learning(const char *model)
{
    enum { N = 512, ITERATIONS = 20 };
    char *options = text_new(
        "run.seed=5 run.iterations=%d run.keep_policies=0 rollout.samples=%d "
        "rollout.shard_samples=%d algorithm.logprob=sum algorithm.clip_range=0.2 "
        "update.batch=256 update.lr=0.01",
        ITERATIONS, N, N);
    char *dir = run("learning", model, options);
    rises("learning", dir, ITERATIONS, N);
    mem_free(dir);
    mem_free(options);
}

/* Values and gradients of one evaluation; timesteps that the table lacks. */
static void test_denoiser(void)
{
    enum { N = 2, D = 4 };
    const float x[N * D] = {1, -1, .5f, 2, 0, 3, -.25f, .75f};
    const float seed[N * D] = {1, 2, 3, 4, -1, 0, 1, 1};
    float timesteps[N] = {481, 1};
    char *config = config_of(2);
    struct model *m = model_from_config(config, "config", false, true);
    struct schedule s = {.train_steps = 1000,
                         .beta = BETA_SCALED_LINEAR,
                         .beta_start = .00085,
                         .beta_end = .012};
    struct tape *t = tape_create(backend_get("onednn", 1));
    must(schedule_build(&s));
    param_values(model_params(m))[0] = .125f;
    param_touch(model_params(m));
    struct model_input in = {.batch = N,
                             .height = 2,
                             .width = 2,
                             .x = x,
                             .timesteps = timesteps,
                             .want_dx = true};
    struct tensor *given = NULL;
    tape_begin(t, true);
    struct tensor *out = model_forward(m, t, &in, &given);
    must(tape_backward(t, out, seed));
    double far = 0, far_dx = 0;
    for (int i = 0; i < N * D; i++) {
        double a = (double)s.alpha_bar[(int)timesteps[i / D]];
        double k = sqrt(1 - a) / (a * .25 + 1 - a);
        double eps = k * ((double)x[i] - sqrt(a) * .5) + .125;
        far = fmax(far, fabs((double)out->data[i] - eps));
        far_dx = fmax(far_dx, fabs((double)given->grad[i] - k * (double)seed[i]));
    }
    tap_near(far, 0, 1e-6, "the exact denoiser");
    tap_near(far_dx, 0, 1e-6, "its gradient with respect to x");
    tap_near((double)param_grads(model_params(m))[0], 11, 1e-6, "and to the shift");
    timesteps[1] = 1000;
    tape_begin(t, false);
    tap_ok(model_forward(m, t, &in, NULL) == NULL && err_code() == ERR_INPUT,
           "a timestep beyond the table is refused: %s", err_text());
    model_destroy(m);
    tap_ok(model_from_config("{\"_class_name\": \"GaussianDenoiser\", \"meen\": 1}",
                             "config", false, false) == NULL &&
               strstr(err_text(), "'mean'") != NULL,
           "an unknown key is refused: %s", err_text());
    tap_ok(model_from_config("{\"_class_name\": \"GaussianDenoiser\", \"mean\": 1}",
                             "config", false, false) == NULL &&
               strstr(err_text(), "variance") != NULL,
           "a missing key is named: %s", err_text());
    tape_destroy(t);
    schedule_free(&s);
    mem_free(config);
}

static void test_brightness(void)
{
    const float sample[6] = {1, 2, 6, 0, NAN, 0};
    double score[2];
    uint8_t status[2];
    struct reward_batch b = {.n = 2,
                             .channels = 1,
                             .height = 1,
                             .width = 3,
                             .sample = sample,
                             .score = score,
                             .status = status};
    must(brightness.score(NULL, &b));
    tap_ok(score[0] == 3 && status[0] == REWARD_OK, "brightness is the mean");
    tap_ok(isnan(score[1]) && status[1] == REWARD_NON_FINITE, "NaN is a status");
}

int main(void)
{
    test_denoiser();
    test_brightness();
    if (!program_is_built()) {
        tap_skip("the program's gradient", "the executable is not built");
        return tap_done();
    }
    work_begin("oracle");
    char *one = write_model(1), *four = write_model(2);
    for (int seed = 1; seed <= 3; seed++)
        test_gradient(one, 1, "sum", seed);
    test_gradient(four, 2, "sum", 4);
    test_gradient(four, 2, "mean", 4);
    test_learning(one);
    mem_free(one);
    mem_free(four);
    work_end();
    return tap_done();
}

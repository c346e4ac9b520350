/* A step along the natural gradient against a dense solution: the Fisher matrix of
 * every pair of an iteration from the Jacobian of the network's outputs, column by
 * column by differences, on a network with few weights; and the KL that the step makes.
 */
#include "io/rundir.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"
#include "stages/linalg/petsc.h"
#include "stages/policy.h"
#include "tests/small_net.h"
#include "tests/work.h"

enum { N = 8, STEPS = 4, D = 4, PAIRS = N * STEPS };
#define RADIUS 2e-3
#define DAMPING 0.01

static void write_model(const char *folder)
{
    struct model *m = small_net("{\"_class_name\": \"MLPDenoiser\", "
                                     "\"in_channels\": 1, \"sample_size\": [1, 4], "
                                     "\"hidden_size\": 4, \"num_layers\": 1}");
    must(model_export(m, NULL,
                      "{\"_class_name\": \"DDIMScheduler\", \"prediction_type\": "
                      "\"epsilon\", \"beta_schedule\": \"linear\", "
                      "\"timestep_spacing\": \"leading\", \"clip_sample\": false, "
                      "\"num_train_timesteps\": 100, \"beta_end\": 0.1}",
                      folder));
    model_destroy(m);
}

/* One iteration with an optimizer; the run stays open. */
static struct config *iterate(struct task *t, const char *optimizer,
                              double metric[METRICS])
{
    char *set[] = {text_new("run.dir=%s/%s", work, optimizer),
                   text_new("model.path=%s/model", work),
                   text_new("update.optimizer=%s", optimizer),
                   text_new("sampler.steps=%d", STEPS),
                   text_new("rollout.samples=%d", N),
                   text_new("rollout.shard_samples=%d", N),
                   text_new("update.kl_radius=%g", RADIUS),
                   text_new("update.cg_damping=%g", DAMPING),
                   mem_text("update.cg_iterations=200"),
                   mem_text("model.micro_batch=5"),
                   mem_text("reward.name=brightness"),
                   mem_text("update.max_grad_norm=0"),
                   mem_text("update.beta1=0"),
                   mem_text("update.ema_decay=0.5"),
                   mem_text("update.ema_warmup=false")};
    struct comm self = comm_self();
    int n = sizeof set / sizeof *set;
    struct config *c = schema_load(n, set);
    if (c == NULL)
        ERR_BUG("%s", err_text());
    must(settings_read(t, c));
    must(rundir_create(t->dir));
    must(settings_first_policy(t, c));
    must(settings_open_network(t, c, 0, true));
    must(rollout_shard(t, 0, 0));
    must(reward_shard(t, 0, 0));
    must(advantage_iteration(t, &self, 0));
    must(update_iteration(t, &self, 0, metric));
    for (int i = 0; i < n; i++)
        mem_free(set[i]);
    return c;
}

static float *vector(struct task *t, int64_t version, enum policy_vector which)
{
    char rel[96], path[4096];
    int64_t n = param_total(model_params(t->model));
    float *v = mem_alloc(n, sizeof *v);
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, version), path));
    must(p == NULL ? -1 : policy_slice(p, which, 0, n, v));
    policy_close(p);
    return v;
}

/* Means of all stored transitions under the weights at hand, mean[PAIRS, D]. */
static void means(struct task *t, const float *latents, float *mean)
{
    float x[PAIRS * D], when[PAIRS];
    for (int i = 0; i < PAIRS; i++) {
        memcpy(x + i * D, latents + (i / STEPS * (STEPS + 1) + i % STEPS) * D,
               D * sizeof *x);
        when[i] = (float)t->sampler.step[i % STEPS].t;
    }
    struct model_input in = {.batch = PAIRS,
                             .height = t->height,
                             .width = t->width,
                             .x = x,
                             .timesteps = when};
    tape_begin(t->tape, false);
    struct tensor *o = model_forward(t->model, t->tape, &in, NULL);
    if (o == NULL)
        ERR_BUG("%s", err_text());
    for (int i = 0; i < PAIRS; i++)
        sampler_mean(&t->sampler, i % STEPS, D, x + i * D, o->data + i * D,
                     mean + i * D, NULL);
}

/* F = mean over pairs of J' J / sigma^2, J the Jacobian of the mean; masked steps have
 * none. */
static double *fisher(struct task *t, const float *latents, int64_t n)
{
    const float h = 0.02f;
    double *j = mem_alloc(n * PAIRS * D, sizeof *j), *f = mem_alloc(n * n, sizeof *f);
    float *theta = param_values(model_params(t->model)), at[4][PAIRS * D];
    for (int64_t c = 0; c < n; c++) {
        float keep = theta[c];
        for (int s = 0; s < 4; s++) {
            theta[c] = keep + h * (float)(s < 2 ? s - 2 : s - 1);
            param_touch(model_params(t->model));
            means(t, latents, at[s]);
        }
        theta[c] = keep;
        for (int i = 0; i < PAIRS * D; i++) {
            const struct sampler_step *e = &t->sampler.step[i / D % STEPS];
            double slope = ((double)at[0][i] - 8 * (double)at[1][i] +
                            8 * (double)at[2][i] - (double)at[3][i]) /
                           (12 * (double)h);
            j[c * PAIRS * D + i] = e->mask ? slope / (double)e->sigma : 0;
        }
    }
    param_touch(model_params(t->model));
    for (int64_t a = 0; a < n; a++)
        for (int64_t b = 0; b < n; b++)
            for (int i = 0; i < PAIRS * D; i++)
                f[a * n + b] += j[a * PAIRS * D + i] * j[b * PAIRS * D + i] / PAIRS;
    mem_free(j);
    return f;
}

/* x = (f + damping)^-1 g by Cholesky; f is overwritten. */
static void solve(double *f, int64_t n, double damping, const double *g, double *x)
{
    for (int64_t i = 0; i < n; i++) {
        f[i * n + i] += damping;
        for (int64_t j = 0; j <= i; j++) {
            double sum = f[i * n + j];
            for (int64_t k = 0; k < j; k++)
                sum -= f[i * n + k] * f[j * n + k];
            f[i * n + j] = i == j ? sqrt(sum) : sum / f[j * n + j];
        }
        x[i] = g[i];
        for (int64_t k = 0; k < i; k++)
            x[i] -= f[i * n + k] * x[k];
        x[i] /= f[i * n + i];
    }
    for (int64_t i = n - 1; i >= 0; i--) {
        for (int64_t k = i + 1; k < n; k++)
            x[i] -= f[k * n + i] * x[k];
        x[i] /= f[i * n + i];
    }
}

static double divergence(struct task *t, const float *before, const float *after)
{
    double sum = 0;
    for (int i = 0; i < PAIRS; i++)
        sum += sampler_kl(&t->sampler, i % STEPS, D, after + i * D, before + i * D);
    return sum / (double)(N * t->sampler.live_steps); /* others are no pairs */
}

/* d, the step that was made, along the dense solution for gradient g? */
static void compare(const double *f, int64_t n, const float *g, const float *d)
{
    double *v = mem_alloc(2 * n + n * n, sizeof *v), *x = v + n, *copy = v + 2 * n;
    double gg = 0, gfg = 0, dd = 0, xx = 0, dx = 0;
    for (int64_t i = 0; i < n; i++) {
        v[i] = (double)g[i];
        gg += v[i] * v[i];
        for (int64_t k = 0; k < n; k++)
            gfg += (double)g[i] * f[i * n + k] * (double)g[k];
    }
    memcpy(copy, f, (size_t)(n * n) * sizeof *f);
    solve(copy, n, DAMPING * gfg / gg, v, x);
    for (int64_t i = 0; i < n; i++) {
        dd += (double)d[i] * (double)d[i];
        xx += x[i] * x[i];
        dx -= (double)d[i] * x[i];
    }
    double cosine = dx / sqrt(dd * xx);
    double plain = 0;
    for (int64_t i = 0; i < n; i++)
        plain -= (double)d[i] * (double)g[i] / sqrt(dd * gg);
    tap_ok(cosine > 1 - 1e-4,
           "%d weights: the step lies along the dense solution: 1 - %.2g", (int)n,
           1 - cosine);
    tap_ok(plain > 0 && plain < 0.99, "and not along the gradient: %.3f", plain);
    mem_free(v);
}

static void test(void)
{
    struct task natural, adam;
    double metric[METRICS], other[METRICS];
    float before[PAIRS * D], after[PAIRS * D];
    char rel[96], path[4096];
    struct config *c1 = iterate(&natural, "natural", metric);
    struct config *c2 = iterate(&adam, "adamw", other);
    struct task *t = &natural;
    struct param_set *set = model_params(t->model);
    int64_t n = param_total(set);
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0,
           "ratios before the step are exactly 1");
    tap_near(metric[METRIC_GRAD_NORM], other[METRIC_GRAD_NORM], 0,
             "the gradient is adamw's");
    float *first = vector(t, 0, POLICY_WEIGHTS), *now = vector(t, 1, POLICY_WEIGHTS);
    float *m = vector(t, 1, POLICY_ADAM_M), *ema = vector(t, 1, POLICY_EMA);
    float *g = vector(&adam, 1, POLICY_ADAM_M), *d = mem_alloc(n, sizeof *d);
    struct shard *in =
        shard_open(task_path(t, rundir_rollout(rel, 0, 0), path), SHARD_ROLLOUT);
    float *latents = in == NULL ? NULL
                                : shard_get(in, "latents", COLUMN_F32, 5,
                                            (int64_t[]){N, STEPS + 1, 1, 1, D}, NULL);
    if (latents == NULL)
        ERR_BUG("%s", err_text());
    shard_close(in);
    means(t, latents, after);
    memcpy(param_values(set), first, (size_t)n * sizeof *first);
    param_touch(set);
    means(t, latents, before);
    double kl = divergence(t, before, after), moved = 0, average = 0;
    tap_ok(fabs(kl / RADIUS - 1) < 0.1, "KL after the step: %.3g of a radius of %.3g",
           kl, RADIUS);
    double *f = fisher(t, latents, n);
    for (int64_t i = 0; i < n; i++) {
        d[i] = now[i] - first[i];
        moved = fmax(moved, fabs((double)m[i]));
        average = fmax(
            average, fabs((double)ema[i] - 0.5 * ((double)now[i] + (double)first[i])));
    }
    compare(f, n, g, d);
    tap_ok(moved == 0 && average < 1e-6, "moments stay 0, the average follows");
    float *const all[] = {first, now, m, ema, g, d, latents};
    for (int i = 0; i < 7; i++)
        mem_free(all[i]);
    mem_free(f);
    settings_close(&natural);
    settings_close(&adam);
    config_destroy(c1);
    config_destroy(c2);
}

int main(int argc, char **argv)
{
    MPI_Init(&argc, &argv);
    work_begin("natural");
    char *model = text_new("%s/model", work);
    write_model(model);
    mem_free(model);
    test();
    work_end();
    petsc_end();
    MPI_Finalize();
    return tap_done();
}

/* Gradients that go back through the sampler, against differences of what they are the
 * gradient of: the loss of final samples with all noise held, through a small network,
 * with steps that keep their gradient and steps whose output is held. Whole iterations
 * of the program's own stages make them; the second one starts away from version 0, so
 * that the distance to it counts. */
#include "io/rundir.h"
#include "io/sys/file.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"
#include "stages/policy.h"
#include "stages/renoise.h"
#include "tests/small_net.h"
#include "tests/work.h"

enum { N = 6, STEPS = 5, D = 8, DRAWS = 2 };

/* The network at hand and version 0 of a run, and the states that its second iteration
 * stored. */
struct scene {
    struct task task;
    struct config *config;
    struct model *now, *first;
    float *theta; /* [total] of `now`, where the gradient is taken */
    float x[N][STEPS + 1][D], held[N][STEPS][D]; /* states; outputs at them */
    bool guided; /* a network with classes; label 1 is drawn, under guidance */
    float adjoint[N][STEPS + 1][D]; /* lean, of version 0, by differences */
    uint8_t keep[N][STEPS];
};

static void write_model(const char *name, const char *classes)
{
    char *folder = text_new("%s/%s", work, name);
    char *config = text_new("{\"_class_name\": \"MLPDenoiser\", \"in_channels\": 1, "
                            "\"sample_size\": [2, 4], \"hidden_size\": 16, %s"
                            "\"num_layers\": 2}",
                            classes);
    struct model *m = small_net(config);
    must(model_export(m, NULL,
                      "{\"_class_name\": \"DDIMScheduler\", \"prediction_type\": "
                      "\"v_prediction\", \"beta_schedule\": \"squaredcos_cap_v2\", "
                      "\"timestep_spacing\": \"trailing\", \"clip_sample\": false, "
                      "\"num_train_timesteps\": 100}",
                      folder));
    model_destroy(m);
    mem_free(config);
    mem_free(folder);
}

static struct model *version(struct task *t, int64_t number)
{
    char rel[96], path[4096];
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, number), path));
    struct model *m = p == NULL ? NULL : policy_model(p, POLICY_WEIGHTS, false);
    if (m == NULL)
        ERR_BUG("%s", err_text());
    policy_close(p);
    return m;
}

/* One output o[D] of a network. */
static void output(struct task *t, struct model *m, const float *x, int64_t time,
                   float *o)
{
    float when = (float)time;
    const int64_t label = 1;
    struct model_input in = {.batch = 1,
                             .height = t->height,
                             .width = t->width,
                             .x = x,
                             .timesteps = &when,
                             .labels = t->n_classes > 0 ? &label : NULL};
    tape_begin(t->tape, false);
    struct tensor *y = model_forward(m, t->tape, &in, NULL);
    if (y == NULL)
        ERR_BUG("%s", err_text());
    memcpy(o, y->data, D * sizeof *o);
}

static void run_iteration(struct task *t, int64_t iteration)
{
    struct comm self = comm_self();
    double metric[METRICS];
    must(rollout_shard(t, iteration, 0));
    must(reward_shard(t, iteration, 0));
    must(advantage_iteration(t, &self, iteration));
    must(update_iteration(t, &self, iteration, metric));
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "iteration %d: ratios are exactly 1",
           (int)iteration);
}

/* Two iterations of a method; grad[total] receives the gradient of the second. */
static float *open_scene(struct scene *s, const char *name, int n, char **more)
{
    bool guided = n > 0 && strncmp(more[0], "sampler.guidance", 16) == 0;
    char *set[32] = {text_new("run.dir=%s/%s", work, name),
                     text_new("model.path=%s/%s", work, guided ? "guided" : "model"),
                     text_new("algorithm.name=%s", name),
                     text_new("sampler.steps=%d", STEPS),
                     text_new("rollout.samples=%d", N),
                     text_new("rollout.shard_samples=%d", N),
                     mem_text("model.micro_batch=4"),
                     mem_text("reward.name=brightness"),
                     mem_text("update.max_grad_norm=0"),
                     mem_text("update.beta1=0"),
                     mem_text("update.lr=0.02")};
    int own = 0;
    while (set[own] != NULL)
        own++;
    for (int i = 0; i < n; i++)
        set[own + i] = more[i];
    memset(s, 0, sizeof *s);
    s->guided = guided;
    s->config = schema_load(own + n, set);
    if (s->config == NULL)
        ERR_BUG("%s", err_text());
    struct task *t = &s->task;
    must(settings_read(t, s->config));
    must(rundir_create(t->dir));
    must(settings_first_policy(t, s->config));
    must(settings_open_network(t, s->config, 0, true));
    for (int i = 0; i < own; i++)
        mem_free(set[i]);
    run_iteration(t, 0);
    run_iteration(t, 1);
    s->first = version(t, 0);
    s->now = version(t, 1);
    must(model_set_guidance(s->now, model_guidance(t->model)));
    must(model_set_guidance(s->first, model_guidance(t->model)));
    int64_t total = param_total(model_params(s->now));
    s->theta = mem_alloc(total, sizeof *s->theta);
    memcpy(s->theta, param_values(model_params(s->now)), (size_t)total * sizeof(float));
    char rel[96], path[4096];
    float *grad = mem_alloc(total, sizeof *grad);
    struct policy *p = policy_open(task_path(t, rundir_policy(rel, 2), path));
    must(p == NULL ? -1 : policy_slice(p, POLICY_ADAM_M, 0, total, grad));
    policy_close(p);
    return grad;
}

static void close_scene(struct scene *s)
{
    model_destroy(s->now);
    model_destroy(s->first);
    mem_free(s->theta);
    settings_close(&s->task);
    config_destroy(s->config);
}

/* Noise of rollout, step 0: the start. */
static void noise(const struct scene *s, int i, int64_t step, float z[D])
{
    rng_normal(rng_key(s->task.seed, RNG_NOISE, 1, s->guided, i, step), z, D);
}

/* States and outputs of the second iteration, and which steps are kept. */
static void walk(struct scene *s)
{
    struct task *t = &s->task;
    float z[D], mu[D], gradient[D] = {0}, cotangent[D];
    for (int i = 0; i < N; i++) {
        struct algo_walk w = {.sampler = &t->sampler,
                              .d = D,
                              .key = rng_key(t->seed, RNG_TRUNCATE, 1, 0, i, 0),
                              .gradient = gradient};
        if (t->algo->start != NULL)
            t->algo->start(&t->algo_options, &w, s->keep[i], cotangent);
        noise(s, i, 0, s->x[i][0]);
        for (int64_t k = 0; k < STEPS; k++) {
            output(t, s->now, s->x[i][k], t->sampler.step[k].t, s->held[i][k]);
            sampler_mean(&t->sampler, k, D, s->x[i][k], s->held[i][k], mu, NULL);
            noise(s, i, k + 1, z);
            sampler_advance(&t->sampler, k, D, mu, z, s->x[i][k + 1]);
        }
    }
}

/* Adjoints and regressions are without guidance. */
static void no_guidance(struct scene *s)
{
    must(model_set_guidance(s->now, 1));
    must(model_set_guidance(s->first, 1));
}

/* a_k = (d mu / d x)' a_{k+1} with version 0, from -d brightness / d x. */
static void lean(struct scene *s)
{
    struct task *t = &s->task;
    const double h = 0.01;
    for (int i = 0; i < N; i++) {
        for (int j = 0; j < D; j++)
            s->adjoint[i][STEPS][j] = -1.0f / D;
        for (int64_t k = STEPS - 1; k >= 0; k--)
            for (int j = 0; j < D; j++) {
                double sum[2] = {0};
                for (int side = 0; side < 2; side++) {
                    float x[D], o[D], mu[D];
                    memcpy(x, s->x[i][k], sizeof x);
                    x[j] += (float)(side == 0 ? -h : h);
                    output(t, s->first, x, t->sampler.step[k].t, o);
                    sampler_mean(&t->sampler, k, D, x, o, mu, NULL);
                    for (int l = 0; l < D; l++)
                        sum[side] += (double)mu[l] * (double)s->adjoint[i][k + 1][l];
                }
                s->adjoint[i][k][j] = (float)((sum[1] - sum[0]) / (2 * h));
            }
    }
}

/* The regression on those adjoints at the steps that are kept. */
static double regression(struct scene *s)
{
    struct task *t = &s->task;
    int same = config_is(s->config, "algorithm.adjoint_pairing", "same");
    double loss = 0;
    for (int i = 0; i < N; i++) {
        double own = 0, kept = 0;
        for (int64_t k = 0; k < STEPS; k++) {
            const struct sampler_step *e = &t->sampler.step[k];
            float o[D], base[D], mu[D], other[D];
            if (!s->keep[i][k])
                continue;
            kept++;
            output(t, s->now, s->x[i][k], e->t, o);
            output(t, s->first, s->x[i][k], e->t, base);
            sampler_mean(&t->sampler, k, D, s->x[i][k], o, mu, NULL);
            sampler_mean(&t->sampler, k, D, s->x[i][k], base, other, NULL);
            for (int j = 0; j < D; j++) {
                double a = (double)s->adjoint[i][same ? k : k + 1][j];
                double u = ((double)mu[j] - (double)other[j]) / (double)e->sigma;
                own += (u + (double)e->sigma * a) * (u + (double)e->sigma * a);
            }
        }
        loss += own / kept;
    }
    return loss / N;
}

static double brightness_of(const float *x)
{
    double sum = 0;
    for (int j = 0; j < D; j++)
        sum += (double)x[j];
    return sum / D;
}

/* The loss with the weights in `now`: outputs of steps that are not kept are held, all
 * noise is. */
static double chains(struct scene *s)
{
    struct task *t = &s->task;
    /* the first version is also the one that the round started with */
    double loss = 0, weight = t->algo_options.kl_weight + t->algo_options.kl_previous_weight;
    for (int i = 0; i < N; i++) {
        float x[D], o[D], base[D], mu[D], other[D], z[D];
        memcpy(x, s->x[i][0], sizeof x);
        for (int64_t k = 0; k < STEPS; k++) {
            const struct sampler_step *e = &t->sampler.step[k];
            memcpy(o, s->held[i][k], sizeof o);
            if (s->keep[i][k])
                output(t, s->now, x, e->t, o);
            sampler_mean(&t->sampler, k, D, x, o, mu, NULL);
            if (s->keep[i][k] && weight > 0) {
                output(t, s->first, x, e->t, base);
                sampler_mean(&t->sampler, k, D, x, base, other, NULL);
                loss += weight / D * sampler_kl(&t->sampler, k, D, mu, other);
            }
            noise(s, i, k + 1, z);
            sampler_advance(&t->sampler, k, D, mu, z, x);
        }
        loss -= brightness_of(x);
    }
    return loss / N;
}

/* The loss of noised copies that the last step denoises. */
static double copies(struct scene *s)
{
    struct task *t = &s->task;
    double loss = 0;
    for (int i = 0; i < N; i++)
        for (int draw = 0; draw < DRAWS; draw++) {
            float z[D], x[D], o[D], target[D];
            struct renoise r = {.iteration = 1,
                                .sample = i,
                                .draw = draw,
                                .time = t->sampler.step[STEPS - 1].t};
            renoise_pair(t, &r, s->x[i][STEPS], z, x, target);
            output(t, s->now, x, r.time, o);
            sampler_mean(&t->sampler, STEPS - 1, D, x, o, target, NULL);
            rng_normal(rng_key(t->seed, RNG_TRUNCATE, 1, 0, i, draw), z, D);
            sampler_advance(&t->sampler, STEPS - 1, D, target, z, target);
            loss -= brightness_of(target);
        }
    return loss / (N * DRAWS);
}

/* The slope of `loss` along direction v[total]: fourth order in the step. */
static double slope(struct scene *s, double (*loss)(struct scene *), const float *v,
                    double h)
{
    static const double at[4] = {-2, -1, 1, 2}, by[4] = {1, -8, 8, -1};
    struct param_set *set = model_params(s->now);
    double sum = 0;
    for (int i = 0; i < 4; i++) {
        for (int64_t k = 0; k < param_total(set); k++)
            param_values(set)[k] = s->theta[k] + (float)(at[i] * h) * v[k];
        param_touch(set);
        sum += by[i] * loss(s);
    }
    memcpy(param_values(set), s->theta, (size_t)param_total(set) * sizeof *v);
    param_touch(set);
    return sum / (12 * h);
}

/* Along the gradient itself and along random directions. */
static void compare(struct scene *s, double (*loss)(struct scene *), const float *grad,
                    const char *what)
{
    int64_t n = param_total(model_params(s->now));
    float *v = mem_alloc(n, sizeof *v);
    double length = 0, worst = 0, want;
    for (int64_t k = 0; k < n; k++)
        length += (double)grad[k] * (double)grad[k];
    length = sqrt(length);
    for (int c = 0; c < 4; c++) {
        double norm = 0;
        rng_normal(rng_key(8, RNG_TEST, c, 0, 0, 0), v, n);
        for (int64_t k = 0; k < n; k++) {
            if (c == 0)
                v[k] = grad[k];
            norm += (double)v[k] * (double)v[k];
        }
        want = 0;
        for (int64_t k = 0; k < n; k++) {
            v[k] = (float)((double)v[k] / sqrt(norm));
            want += (double)v[k] * (double)grad[k];
        }
        worst = fmax(worst, fabs(slope(s, loss, v, 0.02) - want) / length);
    }
    tap_ok(length > 1e-3 && worst < 2e-4,
           "%s: gradient of length %.4g, differences within %.2g of it", what, length,
           worst);
    mem_free(v);
}

static void test(const char *name, const char *what, double (*loss)(struct scene *),
                 int n, char **more)
{
    struct scene s;
    char *clean = text_new("rm -rf %s/%s", work, name);
    float *grad = open_scene(&s, name, n, more);
    walk(&s);
    if (loss == regression) {
        no_guidance(&s);
        lean(&s);
    }
    compare(&s, loss, grad, what);
    mem_free(grad);
    close_scene(&s);
    tap_ok(system(clean) == 0, "the run is removed");
    mem_free(clean);
}

int main(void)
{
    work_begin("path");
    write_model("model", "");
    write_model("guided", "\"num_class_embeds\": 3, \"null_class\": true, ");
    test("draft_k", "the whole chain", chains, 1, (char *[]){"algorithm.draft_k=5"});
    test("draft_k", "the last two steps", chains, 1, (char *[]){"algorithm.draft_k=2"});
    test("draft_k", "the whole chain and the distance to version 0", chains, 2,
         (char *[]){"algorithm.draft_k=5", "algorithm.kl_weight=0.5"});
    test("draft_k", "and the distance to the round's first version", chains, 3,
         (char *[]){"algorithm.draft_k=5", "algorithm.kl_weight=0.2",
                    "algorithm.kl_previous_weight=0.4"});
    test("alignprop", "the distance to the round's first version alone", chains, 2,
         (char *[]){"algorithm.truncation=per_step", "algorithm.kl_previous_weight=0.5"});
    test("draft_k", "a chain without noise", chains, 2,
         (char *[]){"algorithm.draft_k=5", "sampler.eta=0"});
    test("draft_k", "ancestral steps", chains, 2,
         (char *[]){"algorithm.draft_k=5", "sampler.kind=ddpm"});
    test("alignprop", "truncated per sample", chains, 2,
         (char *[]){"algorithm.truncation=uniform", "algorithm.kl_weight=0.5"});
    test("alignprop", "truncated per step", chains, 2,
         (char *[]){"algorithm.truncation=per_step", "algorithm.kl_weight=0.5"});
    test("adjoint_matching", "two steps of either part", regression, 0, NULL);
    test("adjoint_matching", "all steps, adjoints at their starts", regression, 2,
         (char *[]){"algorithm.adjoint_steps=all", "algorithm.adjoint_pairing=same"});
    test("draft_k", "under guidance", chains, 4,
         (char *[]){"sampler.guidance=2.5", "rollout.classes=[1]",
                    "algorithm.draft_k=5", "algorithm.kl_weight=0.5"});
    test("adjoint_matching", "under guidance", regression, 2,
         (char *[]){"sampler.guidance=2.5", "rollout.classes=[1]"});
    test("draft_lv", "noised copies", copies, 0, NULL);
    work_end();
    return tap_done();
}

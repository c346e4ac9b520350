/* One round of DDPO-IS against the peer's: the chain from stored noise,
 * log-probabilities, advantages, gradient, weights after one optimizer step, and the
 * second inner epoch. The rollout and reward shards are made from the golden
 * trajectories; from there on the program's own advantage and update code does the
 * work. Bounds are FEW times the peer's distance between float32 and float64. */
#include "io/rundir.h"
#include "io/safetensors.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"
#include "stages/policy.h"
#include "tests/tap.h"

#include <unistd.h>

enum { N = 4, STEPS = 5, D = 3 * 16 * 16, MICRO = 2, FEW = 4 };

/* info.json: peer_f32_vs_f64, and peer_error.json of the network. */
#define PEER_LOGPROB 3.968e-6
#define PEER_GRADIENT 1.3757e-5
#define PEER_GRADIENT2 3.1671e-5
#define PEER_DELTA 1.0259e-3
#define PEER_RATIO 1.9771e-6
#define PEER_EPS 1e-6

static char root[1100], work[64];
static struct st_file *trajectory, *steps, *grads, *after;

static double *doubles(const struct st_file *f, const char *name, int64_t n)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL || t->count != n)
        ERR_BUG("tensor %s", name);
    double *v = mem_alloc(n, sizeof *v);
    if (st_to_f64(t, v) != 0)
        ERR_BUG("%s", err_text());
    return v;
}

static float *floats(const struct st_file *f, const char *name, int64_t n)
{
    double *d = doubles(f, name, n);
    float *v = mem_alloc(n, sizeof *v);
    for (int64_t i = 0; i < n; i++)
        v[i] = (float)d[i];
    mem_free(d);
    return v;
}

static int64_t *integers(const struct st_file *f, const char *name, int64_t n)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL || t->count != n)
        ERR_BUG("tensor %s", name);
    int64_t *v = mem_alloc(n, sizeof *v);
    if (st_to_i64(t, v) != 0)
        ERR_BUG("%s", err_text());
    return v;
}

static void must(int rc)
{
    if (rc != 0)
        ERR_BUG("%s", err_text());
}

/* |a - b| / |b| in the 2-norm. */
static double apart(const float *a, const float *b, int64_t n)
{
    double d = 0, l = 0;
    for (int64_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        l += (double)b[i] * (double)b[i];
    }
    return sqrt(d / l);
}

/* A run with the golden's hyperparameters, its policy 0 and the network opened. */
static struct config *open_run(struct task *t, const char *dir, int inner_epochs)
{
    char *set[] = {text_new("run.dir=%s", dir),
                   text_new("model.path=%s/unet_tiny", root),
                   text_new("model.micro_batch=%d", MICRO),
                   text_new("sampler.steps=%d", STEPS),
                   text_new("rollout.samples=%d", N),
                   text_new("rollout.shard_samples=%d", N),
                   mem_text("update.lr=3e-4"),
                   mem_text("update.weight_decay=1e-4"),
                   mem_text("update.max_grad_norm=1"),
                   mem_text("algorithm.clip_range=1e-4"),
                   mem_text("algorithm.logprob=mean"),
                   text_new("update.inner_epochs=%d", inner_epochs)};
    int n = sizeof set / sizeof *set;
    struct config *c = schema_load(n, set);
    if (c == NULL)
        ERR_BUG("%s", err_text());
    must(settings_read(t, c));
    must(rundir_create(t->dir));
    must(settings_first_policy(t, c));
    must(settings_open_network(t, c, 0, true));
    for (int i = 0; i < n; i++)
        mem_free(set[i]);
    return c;
}

/* Network outputs [m, D] for states x [m, D] at sampler step k, in micro-batches. */
static void predict(struct task *t, int64_t k, const float *x, float *out)
{
    float timesteps[MICRO];
    for (int b = 0; b < MICRO; b++)
        timesteps[b] = (float)t->sampler.step[k].t;
    for (int i = 0; i < N; i += MICRO) {
        struct model_input in = {.batch = MICRO,
                                 .height = t->height,
                                 .width = t->width,
                                 .x = x + i * D,
                                 .timesteps = timesteps};
        tape_begin(t->tape, false);
        struct tensor *o = model_forward(t->model, t->tape, &in, NULL);
        if (o == NULL)
            ERR_BUG("%s", err_text());
        memcpy(out + i * D, o->data, sizeof(float) * MICRO * D);
    }
}

/* log_prob [N, STEPS], summed over elements, of the golden's states under the weights
 * at hand. */
static void evaluate(struct task *t, const float *latents, double *log_prob)
{
    float *x = mem_alloc(N * D, sizeof *x), *o = mem_alloc(N * D, sizeof *o), mu[D];
    for (int64_t k = 0; k < STEPS; k++) {
        for (int i = 0; i < N; i++)
            memcpy(x + i * D, latents + (i * (STEPS + 1) + k) * D, sizeof mu);
        predict(t, k, x, o);
        for (int i = 0; i < N; i++) {
            sampler_mean(&t->sampler, k, D, x + i * D, o + i * D, mu, NULL);
            log_prob[i * STEPS + k] = sampler_log_prob(
                &t->sampler, k, D, mu, latents + (i * (STEPS + 1) + k + 1) * D);
        }
    }
    mem_free(x);
    mem_free(o);
}

static double worst_logprob(const double *sum, const char *name)
{
    double *want = doubles(trajectory, name, N * STEPS), worst = 0;
    for (int i = 0; i < N * STEPS; i++)
        worst = fmax(worst, fabs(sum[i] / D - want[i]));
    mem_free(want);
    return worst;
}

/* The whole chain from x_T with the golden's noise, as rollout walks it. */
static void test_chain(struct task *t)
{
    enum { STATE = N * D };
    float *x = floats(trajectory, "x_T", STATE), mu[D], next[D];
    float *noise = floats(trajectory, "noises", STEPS * STATE);
    float *want_eps = floats(trajectory, "eps_f32", N * STEPS * D);
    float *want = floats(trajectory, "latents", N * (STEPS + 1) * D);
    int64_t *timesteps = integers(trajectory, "timesteps", STEPS);
    float *o = mem_alloc(STATE, sizeof *o),
          *eps = mem_alloc(N * STEPS * D, sizeof *eps);
    float *latents = mem_alloc(N * (STEPS + 1) * D, sizeof *latents);
    double log_prob[N * STEPS];
    int same = 1;
    for (int i = 0; i < N; i++)
        memcpy(latents + i * (STEPS + 1) * D, x + i * D, sizeof mu);
    for (int64_t k = 0; k < STEPS; k++) {
        same &= t->sampler.step[k].t == timesteps[k];
        predict(t, k, x, o);
        for (int i = 0; i < N; i++) {
            sampler_mean(&t->sampler, k, D, x + i * D, o + i * D, mu, NULL);
            sampler_advance(&t->sampler, k, D, mu, noise + (k * N + i) * D, next);
            log_prob[i * STEPS + k] = sampler_log_prob(&t->sampler, k, D, mu, next);
            memcpy(x + i * D, next, sizeof next);
            memcpy(latents + (i * (STEPS + 1) + k + 1) * D, next, sizeof next);
            memcpy(eps + (i * STEPS + k) * D, o + i * D, sizeof next);
        }
    }
    tap_ok(same, "the sampler's timesteps are the peer's");
    tap_near(apart(eps, want_eps, N * STEPS * D), 0, 2 * FEW * PEER_EPS,
             "predicted noise along the chain");
    tap_near(apart(latents, want, N * (STEPS + 1) * D), 0, 2 * FEW * PEER_EPS,
             "states");
    tap_near(worst_logprob(log_prob, "log_probs_f32"), 0, FEW * PEER_LOGPROB,
             "log-probabilities of the own chain");
    mem_free(x);
    mem_free(noise);
    mem_free(want_eps);
    mem_free(want);
    mem_free(timesteps);
    mem_free(o);
    mem_free(eps);
    mem_free(latents);
}

static void seal(struct task *t, const char *rel, struct shard_head *h,
                 const struct column *col, int n, char *content)
{
    char path[4096];
    snprintf(h->run_id, sizeof h->run_id, "%s", t->run_id);
    snprintf(h->config_digest, sizeof h->config_digest, "%s", t->config_digest);
    struct shard_writer *w = shard_create(task_path(t, rel, path), h);
    if (w == NULL)
        ERR_BUG("%s", err_text());
    for (int i = 0; i < n; i++)
        must(shard_put(w, &col[i]));
    must(shard_seal(w, content));
}

#define COLUMN(NAME, TYPE, DATA)                                             \
    {                                                                        \
        .name = NAME, .type = TYPE, .nd = 1, .dim = {N}, .axis = {"sample"}, \
        .units = "1", .long_name = NAME, .data = DATA                        \
    }

/* The golden's samples and rewards as shards of iteration 0. */
static void write_shards(struct task *t, const float *latents, const double *log_prob)
{
    const int64_t label[N] = {0}, index[N] = {0, 1, 2, 3};
    const uint8_t status[N] = {REWARD_OK};
    double *reward = doubles(trajectory, "rewards", N);
    char rel[96];
    struct shard_parent parent;
    struct shard_head head = {.kind = SHARD_ROLLOUT};
    const struct column rollout[] = {
        {.name = "latents",
         .type = COLUMN_F32,
         .nd = 5,
         .dim = {N, STEPS + 1, 3, 16, 16},
         .axis = {"sample", "state", "channel", "height", "width"},
         .units = "1",
         .long_name = "states",
         .data = latents,
         .chunk_first = true},
        {.name = "log_prob",
         .type = COLUMN_F64,
         .nd = 2,
         .dim = {N, STEPS},
         .axis = {"sample", "step"},
         .units = "nat",
         .long_name = "log-density",
         .data = log_prob},
        COLUMN("prompt_id", COLUMN_I64, label),
    };
    rundir_rollout(parent.path, 0, 0);
    seal(t, parent.path, &head, rollout, 3, parent.content);
    const struct column scores[] = {
        COLUMN("reward", COLUMN_F64, reward),
        COLUMN("status", COLUMN_U8, status),
        COLUMN("sample_index", COLUMN_I64, index),
    };
    head = (struct shard_head){.kind = SHARD_REWARD, .parent = &parent, .parents = 1};
    seal(t, rundir_reward(rel, 0, 0), &head, scores, 3, NULL);
    mem_free(reward);
}

static void test_advantages(struct task *t)
{
    char rel[96], path[4096];
    double worst = 0, *want = doubles(trajectory, "advantages", N);
    struct shard *in =
        shard_open(task_path(t, rundir_advantage(rel, 0), path), SHARD_ADVANTAGE);
    double *got = in == NULL
                      ? NULL
                      : shard_get(in, "advantage", COLUMN_F64, 1, (int64_t[]){N}, NULL);
    if (got == NULL)
        ERR_BUG("%s", err_text());
    for (int i = 0; i < N; i++)
        worst = fmax(worst, fabs(got[i] - want[i]));
    tap_near(worst, 0, 1e-12, "advantages");
    mem_free(got);
    mem_free(want);
    shard_close(in);
}

/* What one inner epoch did, from the vectors of policy files. */
struct epoch {
    float *gradient, *delta; /* [total]; before clipping */
};

static void read_policy(const char *dir, int64_t total, float *m, float *theta)
{
    char rel[96];
    char *path = rundir_path(dir, rundir_policy(rel, 1));
    struct policy *p = policy_open(path);
    must(p == NULL ? -1 : policy_slice(p, POLICY_ADAM_M, 0, total, m));
    must(policy_slice(p, POLICY_WEIGHTS, 0, total, theta));
    policy_close(p);
    mem_free(path);
}

/* delta = theta - theta0 with the weights of policy 0, as the peer has it; the gradient
 * from m = b1 m0 + (1 - b1) clip gradient. */
static struct epoch epoch_of(int64_t total, const float *m0, const float *theta0,
                             const float *m, const float *theta, double norm)
{
    struct epoch e = {mem_alloc(total, sizeof(float)), mem_alloc(total, sizeof(float))};
    double b1 = 0.9, undo = (1 - b1) * optim_clip_scale(1, norm);
    for (int64_t i = 0; i < total; i++) {
        double m_before = m0 != NULL ? (double)m0[i] : 0;
        e.gradient[i] = (float)(((double)m[i] - b1 * m_before) / undo);
        e.delta[i] = theta[i] - theta0[i];
    }
    return e;
}

static double length(const float *v, int64_t n)
{
    double l = 0;
    for (int64_t i = 0; i < n; i++)
        l += (double)v[i] * (double)v[i];
    return sqrt(l);
}

/* Lengths of gradient and step of every parameter. Biases of key projections have no
 * gradient but rounding, so Adam may step either way, or not at all. */
static void test_lengths(struct param_set *s, const struct epoch *e, int number,
                         double lr)
{
    char name[64];
    int64_t n_all = param_number(s);
    double far_gradient = 0, far_step = 0, noise = 0, noise_step = 0;
    snprintf(name, sizeof name, "inner%d.grad_l2", number);
    double *gradient = doubles(steps, name, n_all);
    snprintf(name, sizeof name, "inner%d.delta_l2", number);
    double *step = doubles(steps, name, n_all);
    for (int64_t i = 0; i < n_all; i++) {
        const struct param *p = param_at(s, i);
        int64_t n = tensor_count(&p->t);
        double g = length(e->gradient + p->offset, n),
               d = length(e->delta + p->offset, n);
        if (strstr(p->name, ".to_k.bias") != NULL) {
            noise = fmax(noise, g);
            noise_step = fmax(noise_step, d / (lr * sqrt((double)n)));
            continue;
        }
        far_gradient = fmax(far_gradient, fabs(g / gradient[i] - 1));
        far_step = fmax(far_step, fabs(d / step[i] - 1));
    }
    tap_ok(far_gradient <= 1e-4,
           "epoch %d: length of each parameter's gradient: worst "
           "%.3g (at most 1e-4)",
           number, far_gradient);
    tap_ok(far_step <= FEW * PEER_DELTA, "and of its step: worst %.3g (at most %.3g)",
           far_step, FEW * PEER_DELTA);
    tap_ok(noise <= 1e-6 && noise_step <= 1.001,
           "gradients that vanish: %.3g, steps of %.3g lr", noise, noise_step);
    mem_free(gradient);
    mem_free(step);
}

/* Gradient and step of the first inner epoch in full. */
static void test_first(struct param_set *s, const struct epoch *e, const float *before)
{
    int64_t total = param_total(s);
    float *g = mem_alloc(total, sizeof *g), *d = mem_alloc(total, sizeof *d);
    for (int64_t i = 0; i < param_number(s); i++) {
        const struct param *p = param_at(s, i);
        int64_t n = tensor_count(&p->t);
        char *name = text_new("grad.%s", p->name);
        float *v = floats(grads, name, n), *w = floats(after, p->name, n);
        memcpy(g + p->offset, v, (size_t)n * sizeof *v);
        for (int64_t k = 0; k < n; k++)
            d[p->offset + k] = w[k] - before[p->offset + k];
        mem_free(name);
        mem_free(v);
        mem_free(w);
    }
    tap_near(apart(e->gradient, g, total), 0, FEW * PEER_GRADIENT, "gradient");
    tap_near(apart(e->delta, d, total), 0, FEW * PEER_DELTA, "step of the weights");
    mem_free(g);
    mem_free(d);
}

/* The update of one run; metric receives its numbers, v the new Adam moment and
 * weights. */
static void update(struct task *t, double metric[METRICS], float *m, float *theta)
{
    struct comm self = comm_self();
    must(advantage_iteration(t, &self, 0));
    must(update_iteration(t, &self, 0, metric));
    tap_ok(metric[METRIC_RATIO_ABSDEV_MAX] == 0, "ratios before the first step are "
                                                 "exactly 1");
    read_policy(t->dir, param_total(model_params(t->model)), m, theta);
}

static void near_golden(double got, const char *name, double relative)
{
    double *want = doubles(steps, name, 1);
    tap_near(got / want[0], 1, relative, name);
    mem_free(want);
}

/* Mean of the peer's losses of an epoch, which are one per micro-batch and step. */
static double loss_of(int number)
{
    char name[32];
    double sum = 0;
    snprintf(name, sizeof name, "inner%d.loss_f64", number);
    double *loss = doubles(steps, name, 2 * STEPS);
    for (int i = 0; i < 2 * STEPS; i++)
        sum += loss[i] / (2 * STEPS);
    mem_free(loss);
    return sum;
}

/* Ratios of the second epoch, from the weights after the first step, pair by pair. The
 * peer's row (micro-batch, step) and column b belong to sample perm[2 micro-batch + b]
 * and that row's own order of steps. *kl: mean of half the squared log-ratio. */
static void test_ratios(struct task *t, const float *latents, const double *old,
                        double *kl)
{
    double now[N * STEPS], worst = 0,
                           *want = doubles(steps, "inner1.ratio_f64", N * STEPS);
    int64_t *perm = integers(trajectory, "perm1", N);
    int64_t *order = integers(trajectory, "tperms1", N * STEPS);
    evaluate(t, latents, now);
    *kl = 0;
    for (int row = 0; row < N; row++)
        for (int j = 0; j < STEPS; j++) {
            int64_t at = perm[row] * STEPS + order[row * STEPS + j];
            double log_ratio = (now[at] - old[at]) / D;
            double peer = want[((row / 2) * STEPS + j) * 2 + row % 2];
            worst = fmax(worst, fabs(exp(log_ratio) - peer));
            *kl += 0.5 * log_ratio * log_ratio / (N * STEPS);
        }
    tap_near(worst, 0, FEW * PEER_RATIO, "ratios of the second epoch");
    mem_free(want);
    mem_free(perm);
    mem_free(order);
}

/* One inner epoch, and two in a second run: what is in the second run's means beyond
 * the first epoch's numbers is the second epoch. */
static void test_round(void)
{
    struct task one, two;
    char *dir1 = text_new("%s/one", work), *dir2 = text_new("%s/two", work);
    struct config *c1 = open_run(&one, dir1, 1), *c2 = open_run(&two, dir2, 2);
    struct param_set *s = model_params(one.model);
    int64_t total = param_total(s);
    float *v = mem_alloc(5 * total, sizeof *v), *before = v, *m1 = v + total,
          *theta1 = v + 2 * total, *m2 = v + 3 * total, *theta2 = v + 4 * total;
    float *latents = floats(trajectory, "latents", N * (STEPS + 1) * D);
    double log_prob[N * STEPS], first[METRICS], both[METRICS], kl;
    memcpy(before, param_values(s), (size_t)total * sizeof *before);

    test_chain(&one);
    evaluate(&one, latents, log_prob);
    tap_near(worst_logprob(log_prob, "log_probs_f64"), 0, FEW * PEER_LOGPROB,
             "log-probabilities against the peer's float64");
    tap_near(worst_logprob(log_prob, "log_probs_f32"), 0, FEW * PEER_LOGPROB,
             "log-probabilities against the peer's float32");
    write_shards(&one, latents, log_prob);
    write_shards(&two, latents, log_prob);
    update(&one, first, m1, theta1);
    update(&two, both, m2, theta2);
    test_advantages(&one);

    double norm1 = first[METRIC_GRAD_NORM], norm2 = 2 * both[METRIC_GRAD_NORM] - norm1;
    struct epoch e = epoch_of(total, NULL, before, m1, theta1, norm1);
    near_golden(norm1, "inner0.grad_norm_f64", FEW * PEER_GRADIENT);
    tap_near(first[METRIC_LOSS], loss_of(0), 1e-9, "loss of the first epoch");
    test_first(s, &e, before);
    test_lengths(s, &e, 0, one.update.adamw.lr);
    mem_free(e.gradient);
    mem_free(e.delta);

    e = epoch_of(total, m1, before, m2, theta2, norm2);
    test_ratios(&one, latents, log_prob, &kl);
    near_golden(norm2, "inner1.grad_norm_f64", FEW * PEER_GRADIENT2);
    tap_near(2 * both[METRIC_LOSS] - first[METRIC_LOSS], loss_of(1), FEW * PEER_RATIO,
             "loss of the second epoch");
    tap_near(2 * both[METRIC_CLIP_FRACTION], 1, 0, "its clip fraction");
    tap_near(2 * both[METRIC_APPROX_KL] / kl, 1, 1e-12, "its approximate KL");
    test_lengths(s, &e, 1, one.update.adamw.lr);
    mem_free(e.gradient);
    mem_free(e.delta);

    mem_free(v);
    mem_free(latents);
    settings_close(&one);
    settings_close(&two);
    config_destroy(c1);
    config_destroy(c2);
    mem_free(dir1);
    mem_free(dir2);
}

static struct st_file *golden(const char *name)
{
    char *path = text_new("%s/ddpo_update/%s.safetensors", root, name);
    struct st_file *f = st_open(path);
    if (f == NULL)
        ERR_BUG("%s", err_text());
    mem_free(path);
    return f;
}

int main(void)
{
    const char *shared = tap_shared("goldens/ddpo_update/info.json");
    if (shared == NULL)
        return tap_skip_all("no golden numbers");
    snprintf(root, sizeof root, "%s", shared);
    *strstr(root, "/ddpo_update/info.json") = '\0';
    snprintf(work, sizeof work, "/tmp/sluice-round.XXXXXX");
    if (mkdtemp(work) == NULL)
        ERR_BUG("mkdtemp");
    trajectory = golden("trajectory");
    steps = golden("steps");
    grads = golden("grads_inner0");
    after = golden("params_after_inner0");
    test_round();
    st_close(trajectory);
    st_close(steps);
    st_close(grads);
    st_close(after);
    char *clean = text_new("rm -rf %s", work);
    tap_ok(system(clean) == 0, "the folder is removed");
    mem_free(clean);
    return tap_done();
}

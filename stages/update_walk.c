/* Leaves of whole chains: a micro-batch of samples walks back from its final samples,
 * one forward and one backward of a network per step, at the stored states. So memory
 * is that of one evaluation, whatever the number of steps.
 *
 * With x_{i+1} = mu(x_i, o_i(x_i)) + sigma_i z_i, A = d mu / d x and B = d mu / d o,
 * the cotangent g of x_i follows from that of x_{i+1}:
 *
 *     PAIRS_WALK:  g_i = A g_{i+1} + (d o_i / d x)' u_i,  u_i = B g_{i+1} + d KL_i / d
 * o, and (d o_i / d theta)' u_i is the step's part of the gradient; steps that are not
 * kept have g_i = A g_{i+1}; PAIRS_LEAN:  a_i = A a_{i+1} + B (d o_i / d x)' a_{i+1}
 * with version 0's outputs, and the method's loss at the steps that are kept. */
#include "stages/update_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

/* Whom the KL of a step holds it to: the reference, and the round's first version. */
enum anchor { FIRST, PREVIOUS, ANCHORS };

struct update_walk {
    float *states;    /* [B, steps + 1, d] */
    double *log_prob; /* [B, steps] */
    uint8_t *keep;    /* [B, steps] */
    float *g,
        *before; /* [B, d] x 2: the cotangent of the step's end, and of its start */
    float *dx, *distance; /* [B, d]; [ANCHORS, B, d] */
    const float *output[ANCHORS]; /* [B, d] at the step, or NULL */
    float *gradient;              /* [d] of one reward */
    double *stat;         /* [B, STATS] */
    int64_t *kept;        /* [B] steps of a chain */
    int64_t m, lowest;    /* chains; their lowest step that is kept */
};

struct update_walk *update_walk_create(const struct task *t)
{
    int64_t b = t->micro_batch, n = t->sampler.steps, bd = b * t->d;
    struct update_walk *w = mem_alloc(1, sizeof *w);
    w->states = mem_alloc(bd * (n + 1), sizeof *w->states);
    w->log_prob = mem_alloc(b * n, sizeof *w->log_prob);
    w->keep = mem_alloc(b * n, sizeof *w->keep);
    w->g = mem_alloc(bd, sizeof *w->g);
    w->before = mem_alloc(bd, sizeof *w->before);
    w->dx = mem_alloc(bd, sizeof *w->dx);
    w->distance = mem_alloc(ANCHORS * bd, sizeof *w->distance);
    w->gradient = mem_alloc(t->d, sizeof *w->gradient);
    w->stat = mem_alloc(b * STATS, sizeof *w->stat);
    w->kept = mem_alloc(b, sizeof *w->kept);
    return w;
}

void update_walk_destroy(struct update_walk *w)
{
    if (w == NULL)
        return;
    void *const all[] = {w->states, w->log_prob, w->keep,     w->g,    w->before,
                         w->dx,     w->distance, w->gradient, w->stat, w->kept};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        mem_free(all[i]);
    mem_free(w);
}

/* Chain k of the micro-batch: its states, which steps are kept, the last cotangent. */
static int load_chain(struct update *u, int64_t pair, int64_t k)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    int64_t sample, step, n = t->sampler.steps;
    uint8_t *keep = w->keep + k * n;
    update_pairs_of(u, pair, &sample, &step);
    if (update_pairs_trajectory(u, sample) != 0 ||
        update_pairs_gradient(u, sample, w->gradient) != 0)
        return -1;
    memcpy(w->states + k * (n + 1) * t->d, u->latents,
           (size_t)((n + 1) * t->d) * sizeof *u->latents);
    memcpy(w->log_prob + k * n, u->log_prob, (size_t)n * sizeof *u->log_prob);
    memset(keep, 0, (size_t)n);
    u->label[k] = u->all_label[sample];
    const struct algo_walk of = {
        .sampler = &t->sampler,
        .d = t->d,
        .key = rng_key(t->seed, RNG_TRUNCATE, u->iteration, u->epoch, sample, 0),
        .reward = u->reward[sample],
        .advantage = u->advantage[sample],
        .weight = 1.0 / (double)u->pairs,
        .gradient = w->gradient,
    };
    double *s = w->stat + k * STATS;
    memset(s, 0, STATS * sizeof *s);
    s[STAT_RATIO] = 1;
    s[STAT_LOSS] = t->algo->start(&t->algo_options, &of, keep, w->g + k * t->d);
    w->kept[k] = 0;
    for (int64_t i = n - 1; i >= 0; i--)
        if (keep[i]) {
            w->kept[k]++;
            w->lowest = i < w->lowest ? i : w->lowest;
        }
    return 0;
}

static bool kept(const struct update *u, int64_t k, int64_t step)
{
    return u->walk->keep[k * u->t->sampler.steps + step] != 0;
}

static bool any_kept(const struct update *u, int64_t step)
{
    for (int64_t k = 0; k < u->walk->m; k++)
        if (kept(u, k, step))
            return true;
    return false;
}

/* The states at which the step starts, as an input of networks. */
static struct model_input input_of(struct update *u, int64_t step)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    for (int64_t k = 0; k < w->m; k++) {
        memcpy(u->x + k * t->d, w->states + (k * (t->sampler.steps + 1) + step) * t->d,
               (size_t)t->d * sizeof *u->x);
        u->timesteps[k] = (float)t->sampler.step[step].t;
    }
    return (struct model_input){.batch = w->m,
                                .height = t->height,
                                .width = t->width,
                                .x = u->x,
                                .timesteps = u->timesteps,
                                .labels = t->n_classes > 0 ? u->label : NULL};
}

/* Is the stored transition as probable as it was? Keeps the ratio that is furthest
 * from 1.
 */
static void measure(struct update *u, int64_t k, int64_t step, const float *o)
{
    struct task *t = u->t;
    const float *x = u->x + k * t->d;
    const float *next =
        u->walk->states + (k * (t->sampler.steps + 1) + step + 1) * t->d;
    float *mu = u->work + 2 * k * t->d;
    double *s = u->walk->stat + k * STATS;
    if (!t->sampler.step[step].mask)
        return;
    sampler_mean(&t->sampler, step, t->d, x, o, mu, NULL);
    double share = t->algo_options.logprob == LOGPROB_MEAN ? 1 / (double)t->d : 1;
    double moved = share * (sampler_log_prob(&t->sampler, step, t->d, mu, next) -
                            u->walk->log_prob[k * t->sampler.steps + step]);
    double ratio = exp(moved);
    s[STAT_LOG_RATIO2] += 0.5 * moved * moved / (double)u->walk->kept[k];
    if (!(fabs(ratio - 1) <= fabs(s[STAT_RATIO] - 1)))
        s[STAT_RATIO] = ratio;
}

static double anchor_weight(const struct task *t, enum anchor a)
{
    return a == FIRST ? t->algo_options.kl_weight : t->algo_options.kl_previous_weight;
}

static struct companion *anchor_of(const struct update *u, enum anchor a)
{
    return a == FIRST ? u->reference : u->t->previous;
}

/* The anchor's distance[B, d]. */
static float *distance_to(const struct update *u, enum anchor a)
{
    return u->walk->distance + a * u->t->micro_batch * u->t->d;
}

/* distance[d] = the gradient of the weighted KL of the step by the output o. */
static void distance_of(struct update *u, int64_t k, int64_t step, const float *o,
                        enum anchor to)
{
    struct task *t = u->t;
    const struct algo_options *a = &t->algo_options;
    const struct sampler *s = &t->sampler;
    const float *x = u->x + k * t->d;
    float *mu = u->work + 2 * k * t->d, *other = mu + t->d;
    double *stat = u->walk->stat + k * STATS;
    double share = a->logprob == LOGPROB_MEAN ? 1 / (double)t->d : 1;
    double by = share * anchor_weight(t, to) / (double)u->pairs;
    sampler_mean(s, step, t->d, x, o, mu, NULL);
    sampler_mean(s, step, t->d, x, u->walk->output[to] + k * t->d, other, NULL);
    double kl = sampler_kl(s, step, t->d, mu, other);
    stat[to == FIRST ? STAT_KL : STAT_KL_PREVIOUS] += share * kl;
    stat[STAT_LOSS] += by * kl;
    sampler_log_prob_grad(s, step, t->d, x, o, other, -by, distance_to(u, to) + k * t->d);
}

/* The recorded evaluation of the network that is trained. */
static struct tensor *evaluate(struct task *t, const struct model_input *in,
                               struct tensor **x)
{
    double start = task_now(t);
    tape_begin(t->tape, true);
    struct tensor *out = model_forward(t->model, t->tape, in, in->want_dx ? x : NULL);
    task_spend(t, TIME_NETWORK, start);
    return out;
}

static int pull(struct task *t, struct tensor *out, const float *seed)
{
    double start = task_now(t);
    int rc = tape_backward(t->tape, out, seed);
    task_spend(t, TIME_NETWORK, start);
    return rc;
}

/* u->seed[k] of a step: B g, and the KL's part. */
static void seed_walk(struct update *u, int64_t step, const float *predicted)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    float by_x, by_o;
    sampler_slopes(&t->sampler, step, &by_x, &by_o);
#pragma omp parallel for schedule(static)
    for (int64_t k = 0; k < w->m; k++) {
        const float *o = predicted + k * t->d, *g = w->g + k * t->d;
        float *seed = u->seed + k * t->d;
        memset(seed, 0, (size_t)t->d * sizeof *seed);
        for (int a = 0; a < ANCHORS; a++)
            memset(distance_to(u, a) + k * t->d, 0, (size_t)t->d * sizeof *seed);
        if (!kept(u, k, step))
            continue;
        measure(u, k, step, o);
        for (int64_t j = 0; j < t->d; j++)
            seed[j] = by_o * g[j];
        for (int a = 0; a < ANCHORS; a++) {
            const float *distance = distance_to(u, a) + k * t->d;
            if (w->output[a] == NULL)
                continue;
            distance_of(u, k, step, o, a);
            for (int64_t j = 0; j < t->d; j++)
                seed[j] += distance[j];
        }
    }
}

/* g <- A g + what came through the network, where the step is kept. The KL depends on x
 * through the other versions as well: `distance` times their Jacobian, which dx receives
 * first. */
static void step_back(struct update *u, int64_t step, float sign)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    for (int64_t k = 0; k < w->m; k++)
        for (int64_t j = k * t->d; kept(u, k, step) && j < (k + 1) * t->d; j++)
            w->before[j] += sign * w->dx[j];
}

static int walk_step(struct update *u, int64_t step)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    struct tensor *x = NULL;
    float by_x, by_o;
    bool further = step > w->lowest;
    sampler_slopes(&t->sampler, step, &by_x, &by_o);
    for (int64_t j = 0; j < w->m * t->d; j++)
        w->before[j] = by_x * w->g[j];
    if (!any_kept(u, step))
        return 0;
    struct model_input in = input_of(u, step);
    for (int a = 0; a < ANCHORS; a++) {
        w->output[a] = NULL;
        if (anchor_weight(t, a) > 0 &&
            companion_forward(anchor_of(u, a), t, &in, &w->output[a]) != 0)
            return -1;
    }
    in.want_dx = further;
    struct tensor *out = evaluate(t, &in, &x);
    if (out == NULL)
        return -1;
    seed_walk(u, step, out->data);
    if (pull(t, out, u->seed) != 0)
        return -1;
    if (!further)
        return 0;
    model_dx(x, w->m, w->dx);
    step_back(u, step, 1);
    for (int a = 0; a < ANCHORS; a++) {
        if (w->output[a] == NULL)
            continue;
        if (companion_pull(anchor_of(u, a), t, &in, distance_to(u, a), &w->output[a],
                           w->dx) != 0)
            return -1;
        step_back(u, step, -1);
    }
    return 0;
}

/* The loss of the step for each chain that keeps it. */
static int lean_loss(struct update *u, int64_t step, const float *predicted,
                     const float *base)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    memset(u->seed, 0, (size_t)(w->m * t->d) * sizeof *u->seed);
    for (int64_t k = 0; k < w->m; k++) {
        struct algo_result r;
        double *s = w->stat + k * STATS;
        const struct algo_pair p = {
            .sampler = &t->sampler,
            .step = step,
            .d = t->d,
            .x = u->x + k * t->d,
            .o = predicted + k * t->d,
            .reference = base + k * t->d,
            .work = u->work + 2 * k * t->d,
            .weight = 1.0 / (double)(u->pairs * w->kept[k]),
            .adjoint_next = w->g + k * t->d,
            .adjoint = w->before + k * t->d,
        };
        if (!kept(u, k, step))
            continue;
        if (t->algo->loss(&t->algo_options, &p, &r, u->seed + k * t->d) != 0)
            return -1;
        s[STAT_LOSS] += r.loss;
        s[STAT_KL] += r.kl * (double)t->sampler.live_steps / (double)w->kept[k];
    }
    return 0;
}

/* Ratios of the step's transitions, which were made under guidance. */
static int measure_guided(struct update *u, int64_t step, const struct model_input *in)
{
    struct task *t = u->t;
    double start = task_now(t);
    tape_begin(t->tape, false);
    struct tensor *out = model_forward(t->model, t->tape, in, NULL);
    task_spend(t, TIME_NETWORK, start);
    for (int64_t k = 0; k < u->walk->m && out != NULL; k++)
        if (kept(u, k, step))
            measure(u, k, step, out->data + k * t->d);
    return out != NULL ? 0 : -1;
}

/* Adjoint and regression are those of the networks without guidance, under which the
 * adjoint has no bound. */
static int lean_step(struct update *u, int64_t step)
{
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    struct model_input in = input_of(u, step);
    const float *base;
    float by_x, by_o;
    double guidance = model_guidance(t->model);
    sampler_slopes(&t->sampler, step, &by_x, &by_o);
    for (int64_t j = 0; j < w->m * t->d; j++)
        u->seed[j] = by_o * w->g[j];
    companion_guide(u->reference, 1);
    int pulled = companion_pull(u->reference, t, &in, u->seed, &base, w->dx);
    companion_guide(u->reference, guidance); /* rollouts compare with it, guided */
    if (pulled != 0)
        return -1;
    for (int64_t j = 0; j < w->m * t->d; j++)
        w->before[j] = by_x * w->g[j] + w->dx[j];
    if (!any_kept(u, step))
        return 0;
    if (measure_guided(u, step, &in) != 0 || model_set_guidance(t->model, 1) != 0)
        return -1;
    struct tensor *out = evaluate(t, &in, NULL);
    int rc = out != NULL ? lean_loss(u, step, out->data, base) : -1;
    if (rc == 0)
        rc = pull(t, out, u->seed);
    return model_set_guidance(t->model, guidance) != 0 ? -1 : rc;
}

int update_walk_leaf(void *ctx, int64_t leaf)
{
    struct update *u = ctx;
    struct task *t = u->t;
    struct update_walk *w = u->walk;
    int64_t b = t->micro_batch, from = leaf * b, n = t->sampler.steps;
    int rc = 0;
    w->m = u->pairs - from < b ? u->pairs - from : b;
    w->lowest = n;
    for (int64_t k = 0; k < w->m && rc == 0; k++)
        rc = load_chain(u, from + k, k);
    for (int64_t i = n - 1; i >= w->lowest && rc == 0; i--) {
        rc =
            task_progress(t, "update iteration %lld micro-batch %lld of %lld step %lld",
                          (long long)u->iteration, (long long)leaf,
                          (long long)u->leaves, (long long)i);
        if (rc == 0)
            rc = t->algo->pairs == PAIRS_LEAN ? lean_step(u, i) : walk_step(u, i);
        float *swap = w->g;
        w->g = w->before;
        w->before = swap;
    }
    if (rc == 0)
        memcpy(u->stat + from * STATS, w->stat,
               (size_t)(w->m * STATS) * sizeof *w->stat);
    return rc;
}

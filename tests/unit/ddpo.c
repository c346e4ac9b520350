/* DDPO's advantages and loss: worked examples, the peer's micro steps, differences. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/algo/algo.h"
#include "tests/tap.h"

#define D 48

static const struct algo_options plain = {.logprob = LOGPROB_MEAN,
                                          .clip_range = 0.2,
                                          .adv_clip = 5,
                                          .baseline = BASELINE_BATCH};

/* A live step (and a masked one at the end) with random state, output and next state.
 */
struct scene {
    struct schedule schedule;
    struct sampler sampler;
    float x[D], o[D], next[D], grad[D];
    double log_prob;
    struct algo_pair pair;
};

static void scene_open(struct scene *s, uint64_t key)
{
    float mu[D], z[D];
    if (schedule_read(&s->schedule, NULL) != 0 ||
        sampler_init(&s->sampler, &s->schedule,
                     &(struct sampler_options){
                         .steps = 20, .eta = 1, .spacing = -1, .clip_sample = 0}) != 0)
        ERR_BUG("%s", err_text());
    rng_normal(key, s->x, D);
    rng_normal(key + 1, s->o, D);
    rng_normal(key + 2, z, D);
    sampler_mean(&s->sampler, 10, D, s->x, s->o, mu, NULL);
    sampler_advance(&s->sampler, 10, D, mu, z, s->next);
    s->log_prob = sampler_log_prob(&s->sampler, 10, D, mu, s->next);
    s->pair = (struct algo_pair){.sampler = &s->sampler,
                                 .step = 10,
                                 .d = D,
                                 .x = s->x,
                                 .o = s->o,
                                 .next = s->next,
                                 .log_prob_old = s->log_prob,
                                 .advantage = 1,
                                 .weight = 1};
}

static void scene_close(struct scene *s)
{
    sampler_free(&s->sampler);
    schedule_free(&s->schedule);
}

/* The stored value that gives this ratio of means. */
static void set_ratio(struct scene *s, double log_ratio_mean)
{
    s->pair.log_prob_old = s->log_prob - D * log_ratio_mean;
}

static struct algo_result evaluate(struct scene *s, const struct algo *a,
                                   const struct algo_options *o)
{
    struct algo_result r;
    if (a->loss(o, &s->pair, &r, s->grad) != 0)
        ERR_BUG("%s", err_text());
    return r;
}

static double norm(const float *v)
{
    double sum = 0;
    for (int j = 0; j < D; j++)
        sum += (double)v[j] * (double)v[j];
    return sqrt(sum);
}

/* Algorithms reference, 3.1. */
static void surrogate(void)
{
    static const struct {
        double a, ratio, loss;
        int moves;
    } row[] = {{1, 1.3, -1.2, 0}, {1, 0.7, -0.7, 1}, {-1, 1.3, 1.3, 1},
               {-1, 0.7, 0.8, 0}, {9, 1, -5, 1},     {0, 1.1, 0, 0}};
    const struct algo *is = algo_find("ddpo_is"), *sf = algo_find("ddpo_sf");
    struct scene s;
    scene_open(&s, 11);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        s.pair.advantage = row[i].a;
        set_ratio(&s, log(row[i].ratio));
        struct algo_result r = evaluate(&s, is, &plain);
        tap_near(r.ratio, row[i].ratio, 1e-12, "ratio");
        tap_near(r.loss, row[i].loss, 1e-12, "loss");
        tap_ok((norm(s.grad) > 0) == row[i].moves, "gradient %s",
               row[i].moves ? "flows" : "is held back");
        tap_ok(r.clipped == (fabs(row[i].ratio - 1) > 0.2), "clipped: %d", r.clipped);
    }
    s.pair.advantage = 1;
    set_ratio(&s, log(1.3));
    struct algo_result r = evaluate(&s, sf, &plain);
    tap_near(r.loss, -1.3, 1e-12, "score function: no clipping");
    tap_ok(norm(s.grad) > 0 && sf->on_policy_only && !is->on_policy_only,
           "score function: gradient flows, on policy only");
    scene_close(&s);
}

static void exactly_one(void)
{
    int64_t off = 0;
    for (int64_t i = 0; i < 200; i++) {
        struct scene s;
        scene_open(&s, rng_key(1, RNG_TEST, i, 0, 0, 0));
        struct algo_result r = evaluate(&s, algo_find("ddpo_is"), &plain);
        off += r.ratio != 1 || r.log_prob != s.log_prob || r.approx_kl != 0;
        scene_close(&s);
    }
    tap_ok(off == 0, "the ratio is exactly 1 for the stored log-probability");
}

/* weight, both reductions, both methods: d loss / d o by central differences. */
static void differences(void)
{
    struct scene s;
    scene_open(&s, 77);
    s.pair.weight = 0.125;
    for (int k = 0; k < 4; k++) {
        struct algo_options o = plain;
        o.logprob = k & 1 ? LOGPROB_SUM : LOGPROB_MEAN;
        s.pair.advantage = k & 2 ? -1.5 : 0.5;
        s.pair.log_prob_old = s.log_prob + 0.05;
        const struct algo *a = algo_find(k & 2 ? "ddpo_sf" : "ddpo_is");
        evaluate(&s, a, &o);
        float grad[D];
        memcpy(grad, s.grad, sizeof grad);
        double worst = 0;
        for (int j = 0; j < D; j++) {
            float keep = s.o[j], up = keep + 1e-3f, down = keep - 1e-3f;
            s.o[j] = up;
            double high = evaluate(&s, a, &o).loss;
            s.o[j] = down;
            double low = evaluate(&s, a, &o).loss;
            s.o[j] = keep;
            double slope = (high - low) / (double)(up - down);
            worst = fmax(worst, fabs(slope - (double)grad[j]));
        }
        tap_ok(worst < 2e-3 * norm(grad), "%s, %s: differences %.3g of %.3g", a->name,
               k & 1 ? "sum" : "mean", worst, norm(grad));
    }
    scene_close(&s);
}

static void left_out(void)
{
    struct scene s;
    const struct algo *is = algo_find("ddpo_is");
    scene_open(&s, 5);
    s.pair.step = 19;
    s.pair.log_prob_old = 0;
    tap_ok(!s.sampler.step[19].mask, "the last step is masked");
    struct algo_result r = evaluate(&s, is, &plain);
    tap_ok(r.loss == 0 && r.ratio == 1 && r.log_prob == 0 && norm(s.grad) == 0,
           "a masked step: loss 0, ratio 1, no gradient");
    s.pair.step = 10;
    s.pair.weight = 0;
    s.x[3] = NAN;
    r = evaluate(&s, is, &plain);
    tap_ok(r.loss == 0 && r.ratio == 1 && norm(s.grad) == 0,
           "padding is not looked at");
    s.pair.weight = 1;
    tap_ok(is->loss(&plain, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "a NaN: %s", err_text());
    err_clear();
    scene_close(&s);
    scene_open(&s, 6);
    s.o[7] = INFINITY;
    tap_ok(is->loss(&plain, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "an infinity: %s", err_text());
    err_clear();
    scene_close(&s);
    tap_ok(algo_find("ddpo_iss") == NULL && err_code() == ERR_USAGE, "%s", err_text());
    err_clear();
}

static void signals(void)
{
    static const double reward[] = {1, (double)NAN, 3, 5};
    static const uint8_t usable[] = {1, 0, 1, 1}, none[4] = {0}, all[] = {1, 1, 1, 1};
    const char *prompt[] = {"a", "a", "a", "b"};
    double adv[4];
    struct algo_signal s = {
        .n = 4, .reward = reward, .prompt = prompt, .usable = usable, .advantage = adv};
    const struct algo *is = algo_find("ddpo_is");
    double std = sqrt(8.0 / 3);
    tap_ok(is->signal(&plain, NULL, &s) == 0 && adv[1] == 0, "a failed sample gets 0");
    tap_near(adv[0], -2 / (std + 1e-8), 1e-12, "and enters no mean");
    struct algo_options o = plain;
    o.baseline = BASELINE_TRACKER;
    struct tracker *t = tracker_create(8, 2);
    tap_ok(is->signal(&o, t, &s) == 0 && adv[1] == 0, "tracker");
    tap_near(adv[0], -1 / (1 + 1e-6), 1e-12, "own statistics: two usable samples");
    tap_near(adv[3], 2 / (std + 1e-6), 1e-12, "batch statistics");
    tracker_destroy(t);
    s.usable = none;
    tap_ok(is->signal(&plain, NULL, &s) == 0 && adv[0] == 0 && adv[3] == 0,
           "no usable sample at all");
    s.usable = all;
    tap_ok(is->signal(&plain, NULL, &s) == -1 && err_code() == ERR_NUMERIC, "%s",
           err_text());
    err_clear();
}

static void tensor_f64(const struct st_file *f, const char *name, double *out)
{
    const struct st_tensor *t = st_find(f, name);
    if (t == NULL || t->count > 20 || st_to_f64(t, out) != 0)
        ERR_BUG("tensor %s", name);
}

/* The peer's micro steps: its log-probabilities in, its ratios and losses out. Rows of
 * tperms belong to the permuted batch. */
static void micro_steps(const struct st_file *trajectory, const struct st_file *steps,
                        int epoch)
{
    struct algo_options o = {
        .logprob = LOGPROB_MEAN, .clip_range = 1e-4, .adv_clip = 5};
    double adv[4], old[20], now[20], ratio[20], loss[10], perm[4], times[20];
    char name[64];
    tensor_f64(trajectory, "advantages", adv);
    tensor_f64(trajectory, "log_probs_f64", old);
    snprintf(name, sizeof name, "perm%d", epoch);
    tensor_f64(trajectory, name, perm);
    snprintf(name, sizeof name, "tperms%d", epoch);
    tensor_f64(trajectory, name, times);
    snprintf(name, sizeof name, "inner%d.log_prob_f64", epoch);
    tensor_f64(steps, name, now);
    snprintf(name, sizeof name, "inner%d.ratio_f64", epoch);
    tensor_f64(steps, name, ratio);
    snprintf(name, sizeof name, "inner%d.loss_f64", epoch);
    tensor_f64(steps, name, loss);
    struct scene s;
    scene_open(&s, 3);
    double worst_ratio = 0, worst_loss = 0;
    for (int m = 0; m < 10; m++) {
        double sum = 0;
        for (int k = 0; k < 2; k++) {
            int row = m / 5 * 2 + k, sample = (int)perm[row];
            int step = (int)times[row * 5 + m % 5];
            set_ratio(&s, now[2 * m + k] - old[sample * 5 + step]);
            s.pair.advantage = adv[sample];
            s.pair.weight = 0.5;
            struct algo_result r = evaluate(&s, algo_find("ddpo_is"), &o);
            worst_ratio = fmax(worst_ratio, fabs(r.ratio - ratio[2 * m + k]));
            sum += r.loss;
        }
        worst_loss = fmax(worst_loss, fabs(sum - loss[m]));
    }
    tap_ok(worst_ratio < 1e-12, "inner epoch %d: ratios within %.3g", epoch,
           worst_ratio);
    tap_ok(worst_loss < 1e-12, "inner epoch %d: losses within %.3g", epoch, worst_loss);
    scene_close(&s);
}

static void goldens(void)
{
    const char *path = tap_shared("goldens/ddpo_update/trajectory.safetensors");
    struct st_file *trajectory = path != NULL ? st_open(path) : NULL;
    path = tap_shared("goldens/ddpo_update/steps.safetensors");
    struct st_file *steps = path != NULL ? st_open(path) : NULL;
    if (trajectory == NULL || steps == NULL) {
        tap_skip("ddpo_update", "the reference numbers are absent");
        return;
    }
    double reward[4], want[4], adv[4], worst = 0;
    tensor_f64(trajectory, "rewards", reward);
    tensor_f64(trajectory, "advantages", want);
    tracker_batch(4, reward, adv);
    for (int i = 0; i < 4; i++)
        worst = fmax(worst, fabs(adv[i] - want[i]));
    tap_near(worst, 0, 1e-12, "advantages of the round");
    micro_steps(trajectory, steps, 0);
    micro_steps(trajectory, steps, 1);
    st_close(trajectory);
    st_close(steps);
}

int main(void)
{
    surrogate();
    exactly_one();
    differences();
    left_out();
    signals();
    goldens();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

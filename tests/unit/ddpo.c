/* DDPO's advantages and loss: worked examples, the peer's micro steps, differences. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/mem.h"
#include "tests/scene.h"

static const struct algo_options plain = {.logprob = LOGPROB_MEAN,
                                          .clip_range = 0.2,
                                          .adv_clip = 5,
                                          .baseline = BASELINE_BATCH};

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
    scene_open(&s, 11, true);
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        s.pair.advantage = row[i].a;
        scene_ratio(&s, log(row[i].ratio));
        struct algo_result r = scene_loss(&s, is, &plain);
        tap_near(r.ratio, row[i].ratio, 1e-12, "ratio");
        tap_near(r.loss, row[i].loss, 1e-12, "loss");
        tap_ok((scene_norm(s.grad) > 0) == row[i].moves, "gradient %s",
               row[i].moves ? "flows" : "is held back");
        tap_ok(r.clipped == (fabs(row[i].ratio - 1) > 0.2), "clipped: %d", r.clipped);
    }
    s.pair.advantage = 1;
    scene_ratio(&s, log(1.3));
    struct algo_result r = scene_loss(&s, sf, &plain);
    tap_near(r.loss, -1.3, 1e-12, "score function: no clipping");
    tap_ok(scene_norm(s.grad) > 0 && sf->on_policy_only && !is->on_policy_only,
           "score function: gradient flows, on policy only");
    scene_close(&s);
}

static void exactly_one(void)
{
    int64_t off = 0;
    for (int64_t i = 0; i < 200; i++) {
        struct scene s;
        scene_open(&s, rng_key(1, RNG_TEST, i, 0, 0, 0), true);
        struct algo_result r = scene_loss(&s, algo_find("ddpo_is"), &plain);
        off += r.ratio != 1 || r.log_prob != s.log_prob || r.approx_kl != 0;
        scene_close(&s);
    }
    tap_ok(off == 0, "the ratio is exactly 1 for the stored log-probability");
}

/* weight, both reductions, both methods */
static void differences(void)
{
    struct scene s;
    scene_open(&s, 77, true);
    s.pair.weight = 0.125;
    for (int k = 0; k < 4; k++) {
        struct algo_options o = plain;
        o.logprob = k & 1 ? LOGPROB_SUM : LOGPROB_MEAN;
        s.pair.advantage = k & 2 ? -1.5 : 0.5;
        s.pair.log_prob_old = s.log_prob + 0.05;
        scene_differences(&s, algo_find(k & 2 ? "ddpo_sf" : "ddpo_is"), &o,
                          k & 1 ? "sum" : "mean");
    }
    scene_close(&s);
}

static void left_out(void)
{
    struct scene s;
    const struct algo *is = algo_find("ddpo_is");
    scene_open(&s, 5, true);
    s.pair.step = 19;
    s.pair.log_prob_old = 0;
    tap_ok(!s.sampler.step[19].mask, "the last step is masked");
    struct algo_result r = scene_loss(&s, is, &plain);
    tap_ok(r.loss == 0 && r.ratio == 1 && r.log_prob == 0 && scene_norm(s.grad) == 0,
           "a masked step: loss 0, ratio 1, no gradient");
    s.pair.step = 10;
    s.pair.weight = 0;
    s.x[3] = NAN;
    r = scene_loss(&s, is, &plain);
    tap_ok(r.loss == 0 && r.ratio == 1 && scene_norm(s.grad) == 0,
           "padding is not looked at");
    s.pair.weight = 1;
    tap_ok(is->loss(&plain, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "a NaN: %s", err_text());
    err_clear();
    scene_close(&s);
    scene_open(&s, 6, true);
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
    scene_open(&s, 3, true);
    double worst_ratio = 0, worst_loss = 0;
    for (int m = 0; m < 10; m++) {
        double sum = 0;
        for (int k = 0; k < 2; k++) {
            int row = m / 5 * 2 + k, sample = (int)perm[row];
            int step = (int)times[row * 5 + m % 5];
            scene_ratio(&s, now[2 * m + k] - old[sample * 5 + step]);
            s.pair.advantage = adv[sample];
            s.pair.weight = 0.5;
            struct algo_result r = scene_loss(&s, algo_find("ddpo_is"), &o);
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

/* Reward-weighted regression: weights, loss, gradient. */
#include "stages/algo/rwr.h"

#include "io/sys/mem.h"
#include "tests/scene.h"

static struct rwr_options own = {.beta = 0.2, .percentile = 90};
static struct algo_options options = {.logprob = LOGPROB_MEAN, .own = &own};

/* Algorithms reference, 4.1. */
static void soft(void)
{
    static const double want[] = {.722629, .882621, 1.078035, 1.316715};
    const double reward[] = {3, 4, NAN, 5, 6, -1e6};
    const uint8_t usable[] = {1, 1, 0, 1, 1, 0};
    const char *prompt[] = {"a", "b", "a", "a", "b", "a"};
    double w[6];
    struct algo_signal s = {
        .n = 6, .reward = reward, .prompt = prompt, .usable = usable, .advantage = w};
    own.per_prompt = false;
    tap_ok(rwr.signal(&options, NULL, &s) == 0 && w[2] == 0 && w[5] == 0,
           "samples without a reward weigh nothing");
    double got[] = {w[0], w[1], w[3], w[4]};
    for (int i = 0; i < 4; i++)
        tap_near(got[i], want[i], 5e-7, "softmax times number");
    own.per_prompt = true;
    tap_ok(rwr.signal(&options, NULL, &s) == 0, "per prompt");
    tap_near(w[0], 2 / (1 + exp(0.4)), 1e-12, "against its own prompt's samples");
    tap_near(w[0] + w[3], 2, 1e-12, "mean 1 in each prompt");
    tap_near(w[1] + w[4], 2, 1e-12, "mean 1 in each prompt");
    own.per_prompt = false;
    const double large[] = {1e5, 1e5 + 1, 1e5};
    s = (struct algo_signal){.n = 3,
                             .reward = large,
                             .prompt = prompt,
                             .usable = (const uint8_t[]){1, 1, 1},
                             .advantage = w};
    tap_ok(rwr.signal(&options, NULL, &s) == 0, "large rewards");
    tap_near(w[1] / w[0], exp(0.2), 1e-12, "do not overflow");
    s.reward = reward;
    tap_ok(rwr.signal(&options, NULL, &s) == -1 && err_code() == ERR_NUMERIC, "%s",
           err_text());
    err_clear();
}

static void sparse(void)
{
    double reward[21], w[21], kept = 0, other = 0;
    uint8_t usable[21];
    const char *prompt[21];
    struct algo_signal s = {
        .n = 21, .reward = reward, .prompt = prompt, .usable = usable, .advantage = w};
    for (int i = 0; i < 21; i++) {
        reward[i] = i * 8 % 21; /* 0..20, permuted */
        usable[i] = reward[i] != 20;
        prompt[i] = i % 2 ? "a" : "b";
    }
    own.per_prompt = false;
    tap_ok(rwr_sparse.signal(&options, NULL, &s) == 0 && rwr_sparse.drops_zero,
           "RWR-sparse");
    for (int i = 0; i < 21; i++) {
        kept += w[i];
        other += w[i] != (reward[i] >= 17.1 && usable[i]);
    }
    tap_ok(kept == 2 && other == 0, "the 90th percentile of 0..19 is 17.1: %g kept", kept);
    own.per_prompt = true;
    tap_ok(rwr_sparse.signal(&options, NULL, &s) == 0, "per prompt");
    double by[2] = {0}, high[2] = {0};
    for (int i = 0; i < 21; i++) {
        by[i % 2] += w[i];
        high[i % 2] = fmax(high[i % 2], usable[i] ? reward[i] : 0);
    }
    for (int i = 0; i < 21; i++)
        other += w[i] > 0 && reward[i] < high[i % 2] - 4;
    tap_ok(by[0] >= 1 && by[1] >= 1 && other == 0, "the best of each prompt: %g, %g",
           by[0], by[1]);
    own.per_prompt = false;
    own.percentile = 100;
    tap_ok(rwr_sparse.signal(&options, NULL, &s) == 0, "percentile 100");
    for (int i = 0; i < 21; i++)
        other += w[i] != (reward[i] == 19);
    own.percentile = 0;
    tap_ok(rwr_sparse.signal(&options, NULL, &s) == 0, "percentile 0");
    for (int i = 0; i < 21; i++)
        other += w[i] != usable[i];
    tap_ok(other == 0, "only the best; all");
    own.percentile = 90;
}

static void losses(void)
{
    struct scene s;
    struct algo_result r;
    double sum = 0, away = 0;
    scene_open(&s, 42, false);
    for (int j = 0; j < SCENE_D; j++) {
        sum += pow((double)s.o[j] - (double)s.target[j], 2) / SCENE_D;
        away += pow((double)s.o[j] - (double)s.reference[j], 2) / SCENE_D;
    }
    s.pair.weight = 0.25;
    s.pair.advantage = 3;
    r = scene_loss(&s, &rwr, &options);
    tap_near(r.loss, 0.75 * sum, 1e-12, "loss");
    tap_ok(r.ratio == 1 && r.kl == 0, "no ratio, no distance");
    scene_differences(&s, &rwr, &options, "weighted");
    struct algo_options held = options;
    held.kl_weight = 7;
    r = scene_loss(&s, &rwr, &held);
    tap_near(r.kl, away, 1e-12, "distance to version 0");
    tap_near(r.loss, 0.75 * sum + 0.25 * 7 * away, 1e-12, "loss with it");
    scene_differences(&s, &rwr_sparse, &held, "with a distance");
    s.o[5] = NAN;
    tap_ok(rwr.loss(&options, &s.pair, &r, s.grad) == -1 && err_code() == ERR_NUMERIC,
           "a NaN: %s", err_text());
    err_clear();
    s.pair.weight = 0;
    r = scene_loss(&s, &rwr, &options);
    tap_ok(r.loss == 0 && r.ratio == 1 && scene_norm(s.grad) == 0,
           "padding is not looked at");
    scene_close(&s);
}

int main(void)
{
    soft();
    sparse();
    losses();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

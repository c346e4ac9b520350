/* Sums along the chain: the published advantages, masked steps, baselines. */
#include "stages/algo/returns.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <math.h>
#include <string.h>

static const uint8_t usable[8] = {1, 1, 1, 1, 1, 1, 1, 1};
static const uint8_t live[8] = {1, 1, 1, 1, 1, 1, 1, 1};
static const char *const prompts[8] = {"a", "a", "b", "a", "c", "b", "a", "b"};

/* Algorithms reference, 6. */
static void published(void)
{
    static const struct {
        double gamma, lambda, want[5];
    } row[] = {
        {1, 0, {.1, -.05, .15, .2, .1}},
        {1, .95, {.440801, .358737, .430250, .295, .1}},
        {1, 1, {.5, .4, .45, .3, .1}},
        {.99, .95, {.405427, .331130, .411090, .285050, .1}},
    };
    const double reward = 1, cost[5] = {0};
    double value[5] = {.5, .6, .55, .7, .9}, advantage[5], to_go[5];
    struct algo_steps s = {.n = 1,
                           .steps = 5,
                           .reward = &reward,
                           .prompt = prompts,
                           .usable = usable,
                           .live = live,
                           .value = value,
                           .advantage = advantage};
    for (size_t i = 0; i < sizeof row / sizeof *row; i++) {
        double worst = 0;
        returns_gae(&s, &(struct returns_gae){row[i].gamma, row[i].lambda, cost});
        for (int k = 0; k < 5; k++)
            worst = fmax(worst, fabs(advantage[k] - row[i].want[k]));
        tap_ok(worst < 6e-7, "gamma %g, lambda %g: within %.1e", row[i].gamma,
               row[i].lambda, worst);
        if (i == 1)
            tap_near(advantage[0] + value[0], .940801, 6e-7, "the first return");
    }
    returns_to_go(&s, .5, (const double[5]){.1, 0, 0, 0, .2}, to_go);
    tap_near(to_go[4], .8, 1e-15, "the last reward less its cost");
    tap_near(to_go[0], .8 / 16 - .1, 1e-15, "discounted");
}

/* Masked steps change nothing; unusable samples get 0 and enter no mean. */
static void masks(void)
{
    enum { N = 3, STEPS = 7 };
    const uint8_t some[STEPS] = {1, 0, 1, 1, 0, 1, 0}, use[N] = {1, 0, 1};
    const double reward[N] = {1, NAN, 1}, cost[N * STEPS] = {0};
    const double v[STEPS] = {.5, 9, .6, .55, NAN, .7, 9};
    double value[N * STEPS], advantage[N * STEPS], out[N * STEPS], mean = 0, square = 0;
    for (int n = 0; n < N; n++)
        memcpy(value + n * STEPS, v, sizeof v);
    struct algo_steps s = {.n = N,
                           .steps = STEPS,
                           .reward = reward,
                           .prompt = prompts,
                           .usable = use,
                           .live = some,
                           .value = value,
                           .target = out,
                           .advantage = advantage};
    returns_gae(&s, &(struct returns_gae){1, 0, cost});
    tap_near(advantage[0], .1, 1e-15, "a masked step is passed over");
    tap_near(advantage[5], .3, 1e-15, "the last live step gets the reward");
    tap_ok(advantage[1] == 0 && advantage[6] == 0 && advantage[STEPS] == 0,
           "masked steps and unusable samples get 0");
    returns_normalise(&s);
    for (int i = 0; i < N * STEPS; i++) {
        mean += advantage[i];
        square += advantage[i] * advantage[i];
    }
    tap_ok(fabs(mean) < 1e-14 && fabs(square - 8) < 1e-5 && advantage[1] == 0,
           "mean 0 and deviation 1 over the eight that count");
    tap_ok(returns_check(&s) == 0, "an unusable reward may be anything");
    s.usable = usable;
    tap_ok(returns_check(&s) == -1 && err_code() == ERR_NUMERIC, "%s", err_text());
    err_clear();
}

static void baselines(void)
{
    enum { N = 8, STEPS = 2 };
    const double reward[N] = {0};
    double target[N * STEPS], value[N * STEPS];
    for (int i = 0; i < N; i++) {
        target[2 * i] = i;
        target[2 * i + 1] = 10 * i;
    }
    struct algo_steps s = {.n = N,
                           .steps = STEPS,
                           .reward = reward,
                           .prompt = prompts,
                           .usable = usable,
                           .live = live,
                           .target = target,
                           .value = value};
    returns_baseline(&s, true);
    tap_near(value[0], (1 + 3 + 6) / 3., 1e-15, "the mean of the prompt's others");
    tap_near(value[1], (1 + 3 + 6) * 10 / 3., 1e-14, "at each step");
    tap_near(value[2 * 4], (28 - 4) / 7., 1e-15, "alone: of all others");
    returns_baseline(&s, false);
    tap_near(value[0], 28 / 7., 1e-15, "whatever the prompt");
    s.n = 1;
    returns_baseline(&s, true);
    tap_ok(value[0] == 0, "no others: 0");
}

/* Values of another level keep what they know; values that know nothing are dropped. */
static void calibration(void)
{
    enum { N = 8, STEPS = 2 };
    const double reward[N] = {0};
    double target[N * STEPS], value[N * STEPS], mean[N * STEPS], worst = 0;
    struct algo_steps s = {.n = N,
                           .steps = STEPS,
                           .reward = reward,
                           .prompt = prompts,
                           .usable = usable,
                           .live = live,
                           .target = target,
                           .value = mean};
    for (int i = 0; i < N * STEPS; i++) {
        target[i] = i * i % 7;
        value[i] = 2 * target[i] - 100;
    }
    returns_baseline(&s, false);
    s.value = value;
    tap_ok(returns_explained(&s) < -100, "values of another level explain nothing");
    returns_calibrate(&s, 4);
    for (int i = 0; i < N * STEPS; i++)
        worst = fmax(worst, fabs(value[i] - target[i]));
    tap_near(worst, 0, 1e-12, "their differences are kept, at the targets' level");
    tap_near(returns_explained(&s), 1, 1e-12, "and explain all");
    for (int i = 0; i < N * STEPS; i++)
        value[i] = -target[i];
    returns_calibrate(&s, 4);
    worst = 0;
    for (int i = 0; i < N * STEPS; i++)
        worst = fmax(worst, fabs(value[i] - mean[i]));
    tap_near(worst, 0, 1e-12, "values that point the wrong way: the others' mean");
    tap_near(returns_explained(&s), 0, 1e-12, "which explains nothing");
}

int main(void)
{
    published();
    masks();
    baselines();
    calibration();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

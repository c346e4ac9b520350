/* Power rewards: closed forms for one day, differences against gradients at 24 and 144
 * numbers, in kW and in standardised logarithms. */
#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/schema.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

#define MOST 144

static char s_cap[] = "reward.peak_cap=2", s_low[] = "reward.energy_low=20",
            s_high[] = "reward.energy_high=30", s_ramp[] = "reward.ramp_limit=0.5",
            s_cost[] = "reward.cost_cap=5", s_hours[] = "reward.peak_hours=[7, 22]";

static struct config *settings(void)
{
    char *set[] = {s_cap, s_low, s_high, s_ramp, s_cost, s_hours};
    struct config *c = schema_load(6, set);
    if (c == NULL)
        ERR_BUG("%s", err_text());
    return c;
}

static void *open_for(const struct reward *r, const struct config *c,
                      const struct coding *coding, int64_t width)
{
    void *ctx = NULL;
    const struct reward_scene scene = {
        .channels = 1, .height = 1, .width = width, .coding = coding, .config = c};
    if (r->open(&scene, &ctx) != 0)
        ERR_BUG("%s", err_text());
    return ctx;
}

static double score_one(const struct reward *r, void *ctx, const float *x, int64_t width,
                        float *gradient, uint8_t *status)
{
    double score;
    struct reward_batch b = {.n = 1, .channels = 1, .height = 1, .width = width,
                             .sample = x, .score = &score, .status = status,
                             .gradient = gradient};
    if (r->score(ctx, &b) != 0)
        ERR_BUG("%s", err_text());
    return score;
}

static double value(const char *name, const struct config *c, const struct coding *coding,
                    const float *x, int64_t width)
{
    const struct reward *r = reward_find(name);
    uint8_t status;
    void *ctx = open_for(r, c, coding, width);
    double v = score_one(r, ctx, x, width, NULL, &status);
    r->close(ctx);
    return v;
}

/* 1 kW all day, but 3 kW from 18 to 20 h. */
static void closed_forms(const struct config *c)
{
    for (int64_t width = 24; width <= MOST; width += MOST - 24) {
        float x[MOST];
        double h = 24 / (double)width;
        for (int64_t t = 0; t < width; t++)
            x[t] = (double)t * h >= 18 && (double)t * h < 20 ? 3 : 1;
        tap_near(value("power_peak", c, NULL, x, width), -2, 1e-12, "2 h 1 kW above 2 kW");
        tap_near(value("power_energy", c, NULL, x, width), 0, 1e-12, "28 kWh are allowed");
        double over = 2 / h - 0.5;
        tap_near(value("power_ramp", c, NULL, x, width), -2 * h * over * over, 1e-9,
                 "two steps of 2 kW");
        tap_near(value("power_cost", c, NULL, x, width),
                 -(0.15 * 9 + 0.30 * 15 + 0.30 * 4), 1e-9, "9 h low, 15 h high, 4 kWh");
        tap_ok(value("power_peak_hard", c, NULL, x, width) == 0 &&
                   value("power_energy_hard", c, NULL, x, width) == 1 &&
                   value("power_ramp_hard", c, NULL, x, width) == 0 &&
                   value("power_cost_hard", c, NULL, x, width) == 0,
               "indicators at %lld numbers", (long long)width);
        for (int64_t t = 0; t < width; t++)
            x[t] *= 0.5f;
        tap_near(value("power_energy", c, NULL, x, width), -36, 1e-9, "14 of 20 kWh");
        tap_ok(value("power_peak_hard", c, NULL, x, width) == 1 &&
                   value("power_energy_hard", c, NULL, x, width) == 0 &&
                   value("power_cost_hard", c, NULL, x, width) == 1,
               "indicators of half the day");
    }
}

static void gradients(const struct config *c, const struct coding *coding, int64_t width,
                      const char *what)
{
    static const char *const names[] = {"power_peak", "power_energy", "power_ramp",
                                        "power_cost"};
    for (int k = 0; k < 4; k++) {
        const struct reward *r = reward_find(names[k]);
        void *ctx = open_for(r, c, coding, width);
        float x[MOST], grad[MOST];
        double worst = 0, norm = 0;
        uint8_t status;
        rng_normal(rng_key(5, RNG_TEST, width, 0, 0, 0), x, width);
        for (int64_t t = 0; t < width; t++)
            x[t] += coding->kind == CODING_NONE ? 2 : 1;
        score_one(r, ctx, x, width, grad, &status);
        for (int64_t t = 0; t < width; t++) {
            float keep = x[t], up = keep + 1e-3f, down = keep - 1e-3f;
            x[t] = up;
            double high = score_one(r, ctx, x, width, NULL, &status);
            x[t] = down;
            double low = score_one(r, ctx, x, width, NULL, &status);
            x[t] = keep;
            double d = (high - low) / ((double)up - (double)down);
            worst = fmax(worst, fabs(d - (double)grad[t]));
            norm += (double)grad[t] * (double)grad[t];
        }
        norm = sqrt(norm);
        tap_ok(norm > 0 && worst < 1e-3 * norm + 1e-12 && r->differentiable,
               "%s, %lld numbers, %s: gradient %.3g, differences within %.2g", names[k],
               (long long)width, what, norm, worst);
        r->close(ctx);
    }
}

static void refusals(struct config *c)
{
    const struct reward *r = reward_find("power_peak");
    struct coding text = {0}, series = {.kind = CODING_SERIES, .log = true, .std = 1};
    void *ctx = NULL;
    coding_set_alphabet(&text, "ACGT");
    const struct reward_scene bad[] = {
        {.channels = 3, .height = 8, .width = 8, .config = c},
        {.channels = 1, .height = 1, .width = 24, .coding = &text, .config = c},
        {.channels = 1, .height = 1, .width = 1, .config = c},
    };
    for (int i = 0; i < 3; i++)
        tap_ok(r->open(&bad[i], &ctx) == -1 && err_code() == ERR_USAGE, "refused: %s",
               err_text());
    float x[24] = {0}, grad[24];
    uint8_t status;
    x[3] = 1e6f; /* its exponential is infinite */
    ctx = open_for(r, c, &series, 24);
    double v = score_one(r, ctx, x, 24, grad, &status);
    tap_ok(isnan(v) && status == REWARD_NON_FINITE && grad[3] == 0,
           "an infinite power has no score");
    r->close(ctx);
    if (config_override(c, "reward.energy_low=31") != 0)
        ERR_BUG("%s", err_text());
    const struct reward_scene s = {.channels = 1, .height = 1, .width = 24, .config = c};
    tap_ok(r->open(&s, &ctx) == -1, "refused: %s", err_text());
    config_override(c, "reward.energy_low=0");
    config_override(c, "reward.peak_hours=[7]");
    tap_ok(r->open(&s, &ctx) == -1, "refused: %s", err_text());
}

int main(void)
{
    struct config *c = settings();
    const struct coding none = {0};
    const struct coding standard = {.kind = CODING_SERIES, .mean = 1.1, .std = 0.9};
    const struct coding logs = {
        .kind = CODING_SERIES, .log = true, .mean = 0.1, .std = 0.7};
    closed_forms(c);
    gradients(c, &none, 24, "kW");
    gradients(c, &standard, 24, "standardised");
    gradients(c, &logs, 24, "logarithms");
    gradients(c, &logs, 144, "logarithms");
    refusals(c);
    config_destroy(c);
    tap_ok(mem_live() == 0, "all memory is freed");
    return tap_done();
}

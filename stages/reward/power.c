/* A term takes a day in kW and gives what is lost and its derivative by every p_t; the
 * rest (decoding, chain rule, indicators, statuses) is the same for all of them. */
#include "stages/reward/power.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

#define DAY 24.0

/* A scorer: the numbers of the configuration and one sample's work space. */
struct power {
    int64_t width;
    bool log;
    double mean, std; /* p = mean + std x, or its exponential */
    double peak_cap, energy_low, energy_high, ramp_limit, cost_cap;
    double *price;     /* [W] per kWh */
    double *p, *slope; /* [W] kW; d loss / d p_t */
};

typedef double (*term_f)(const struct power *s);

/* Numbers of hours from midnight; from > to: over midnight. */
static bool within(double hour, const int64_t *span)
{
    double from = (double)span[0], to = (double)span[1];
    return from <= to ? hour >= from && hour < to : hour >= from || hour < to;
}

static int read_prices(struct power *s, const struct config *c)
{
    const int64_t *span;
    int64_t n = config_list(c, "reward.peak_hours", &span);
    if (n != 0 && n != 2)
        return err_set(ERR_USAGE,
                       "reward.peak_hours: give two hours, [from, to], or [] for none");
    s->price = mem_alloc(s->width, sizeof *s->price);
    for (int64_t t = 0; t < s->width; t++) {
        double hour = ((double)t + 0.5) * DAY / (double)s->width;
        s->price[t] = config_real(c, n == 2 && within(hour, span) ? "reward.price_high"
                                                                  : "reward.price_low");
    }
    return 0;
}

static void close_power(void *ctx)
{
    struct power *s = ctx;
    if (s == NULL)
        return;
    mem_free(s->price);
    mem_free(s->p);
    mem_free(s->slope);
    mem_free(s);
}

static int open_power(const struct reward_scene *scene, void **ctx)
{
    const struct config *c = scene->config;
    bool coded = scene->coding != NULL && scene->coding->kind != CODING_NONE;
    if (scene->channels != 1 || scene->height != 1 || scene->width < 2 ||
        (coded && scene->coding->kind != CODING_SERIES))
        return err_set(
            ERR_USAGE,
            "reward.name: power rewards need series of 2 or more numbers, samples "
            "are %s[%lld, %lld, %lld]",
            coded && scene->coding->kind == CODING_TEXT ? "text, " : "",
            (long long)scene->channels, (long long)scene->height,
            (long long)scene->width);
    struct power *s = mem_alloc(1, sizeof *s);
    *s = (struct power){
        .width = scene->width,
        .log = coded && scene->coding->log,
        .mean = coded ? scene->coding->mean : 0,
        .std = coded ? scene->coding->std : 1,
        .peak_cap = config_real(c, "reward.peak_cap"),
        .energy_low = config_real(c, "reward.energy_low"),
        .energy_high = config_real(c, "reward.energy_high"),
        .ramp_limit = config_real(c, "reward.ramp_limit"),
        .cost_cap = config_real(c, "reward.cost_cap"),
        .p = mem_alloc(scene->width, sizeof *s->p),
        .slope = mem_alloc(scene->width, sizeof *s->slope),
    };
    int rc = read_prices(s, c);
    if (rc == 0 && s->energy_low > s->energy_high)
        rc = err_set(ERR_USAGE,
                     "reward.energy_low=%g is more than reward.energy_high=%g",
                     s->energy_low, s->energy_high);
    if (rc != 0) {
        close_power(s);
        return -1;
    }
    *ctx = s;
    return 0;
}

static double hinge(double v)
{
    return v > 0 ? v : 0;
}

static double lost_peak(const struct power *s)
{
    double h = DAY / (double)s->width, sum = 0;
    for (int64_t t = 0; t < s->width; t++) {
        double over = hinge(s->p[t] - s->peak_cap);
        sum += h * over * over;
        s->slope[t] = 2 * h * over;
    }
    return sum;
}

static double lost_energy(const struct power *s)
{
    double h = DAY / (double)s->width, energy = 0;
    for (int64_t t = 0; t < s->width; t++)
        energy += h * s->p[t];
    double over = hinge(energy - s->energy_high), under = hinge(s->energy_low - energy);
    for (int64_t t = 0; t < s->width; t++)
        s->slope[t] = 2 * h * (over - under);
    return over * over + under * under;
}

static double lost_ramp(const struct power *s)
{
    double h = DAY / (double)s->width, sum = 0;
    memset(s->slope, 0, (size_t)s->width * sizeof *s->slope);
    for (int64_t t = 0; t + 1 < s->width; t++) {
        double step = (s->p[t + 1] - s->p[t]) / h;
        double over = hinge(fabs(step) - s->ramp_limit);
        double slope = step > 0 ? 2 * over : -2 * over; /* h / h */
        sum += h * over * over;
        s->slope[t] -= slope;
        s->slope[t + 1] += slope;
    }
    return sum;
}

static double lost_cost(const struct power *s)
{
    double h = DAY / (double)s->width, sum = 0;
    for (int64_t t = 0; t < s->width; t++) {
        s->slope[t] = h * s->price[t];
        sum += s->slope[t] * s->p[t];
    }
    return sum;
}

/* Decodes x into s->p; false where a number is not finite or beyond what a sum of
 * squares can hold. */
static bool decode(const struct power *s, const float *x)
{
    bool good = true;
    for (int64_t t = 0; t < s->width; t++) {
        double v = s->mean + s->std * (double)x[t];
        s->p[t] = s->log ? exp(v) : v;
        good = good && fabs(s->p[t]) < 1e100;
    }
    return good;
}

static int score(const struct power *s, const struct reward_batch *b, term_f term)
{
    for (int64_t i = 0; i < b->n; i++) {
        float *gradient = b->gradient == NULL ? NULL : b->gradient + i * s->width;
        bool good = decode(s, b->sample + i * s->width);
        b->score[i] = good ? -term(s) : (double)NAN;
        b->status[i] = good ? REWARD_OK : REWARD_NON_FINITE;
        for (int64_t t = 0; t < s->width && gradient != NULL; t++)
            gradient[t] =
                good ? (float)(-s->slope[t] * s->std * (s->log ? s->p[t] : 1)) : 0;
    }
    return 0;
}

/* Numbers of hours are sums of rounded terms: a limit that is met is met exactly. */
static int score_hard(const struct power *s, const struct reward_batch *b, term_f term,
                      double most)
{
    for (int64_t i = 0; i < b->n; i++) {
        bool good = decode(s, b->sample + i * s->width);
        b->score[i] = good ? (term(s) <= most ? 1 : 0) : (double)NAN;
        b->status[i] = good ? REWARD_OK : REWARD_NON_FINITE;
    }
    return 0;
}

static int score_peak(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, lost_peak);
}

static int score_energy(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, lost_energy);
}

static int score_ramp(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, lost_ramp);
}

static int score_cost(void *ctx, const struct reward_batch *b)
{
    return score(ctx, b, lost_cost);
}

static int score_peak_hard(void *ctx, const struct reward_batch *b)
{
    return score_hard(ctx, b, lost_peak, 0);
}

static int score_energy_hard(void *ctx, const struct reward_batch *b)
{
    return score_hard(ctx, b, lost_energy, 0);
}

static int score_ramp_hard(void *ctx, const struct reward_batch *b)
{
    return score_hard(ctx, b, lost_ramp, 0);
}

static int score_cost_hard(void *ctx, const struct reward_batch *b)
{
    return score_hard(ctx, b, lost_cost, ((const struct power *)ctx)->cost_cap);
}

#define POWER .deterministic = 1, .open = open_power, .close = close_power

const struct reward power_peak = {
    .name = "power_peak",
    .help = "series: minus the squared power above reward.peak_cap, over the day",
    .units = "kW2 h",
    .differentiable = 1,
    .score = score_peak,
    POWER,
};

const struct reward power_energy = {
    .name = "power_energy",
    .help =
        "series: minus the squared distance of the day's energy from reward.energy_low "
        "to reward.energy_high",
    .units = "kWh2",
    .differentiable = 1,
    .score = score_energy,
    POWER,
};

const struct reward power_ramp = {
    .name = "power_ramp",
    .help = "series: minus the squared change per hour above reward.ramp_limit, over "
            "the day",
    .units = "kW2/h",
    .differentiable = 1,
    .score = score_ramp,
    POWER,
};

const struct reward power_cost = {
    .name = "power_cost",
    .help =
        "series: minus the day's cost at reward.price_high within reward.peak_hours, "
        "reward.price_low else",
    .units = "price",
    .differentiable = 1,
    .score = score_cost,
    POWER,
};

const struct reward power_peak_hard = {
    .name = "power_peak_hard",
    .help = "series: 1 where no number is above reward.peak_cap, else 0",
    .units = "1",
    .score = score_peak_hard,
    POWER,
};

const struct reward power_energy_hard = {
    .name = "power_energy_hard",
    .help = "series: 1 where the day's energy is from reward.energy_low to "
            "reward.energy_high, else 0",
    .units = "1",
    .score = score_energy_hard,
    POWER,
};

const struct reward power_ramp_hard = {
    .name = "power_ramp_hard",
    .help = "series: 1 where no change per hour is above reward.ramp_limit, else 0",
    .units = "1",
    .score = score_ramp_hard,
    POWER,
};

const struct reward power_cost_hard = {
    .name = "power_cost_hard",
    .help = "series: 1 where the day's cost is at most reward.cost_cap, else 0",
    .units = "1",
    .score = score_cost_hard,
    POWER,
};

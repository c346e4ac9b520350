/* Noise schedules in the peer's arithmetic: betas rounded to float, their products
 * accumulated in double and rounded once per entry (what the peer's float cumprod does
 * on a CPU). The tables agree with the peer's bit by bit. */
#include "stages/diffusion/schedule.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <string.h>

#define TRAIN_STEPS_MAX 100000
#define FILE_MAX (1 << 20)

static const char *const beta_names[] = {"linear", "scaled_linear",
                                         "squaredcos_cap_v2"};
static const char *const prediction_names[] = {"epsilon", "sample", "v_prediction"};
static const char *const spacing_names[] = {"leading", "trailing", "linspace"};
static const char *const variance_names[] = {"fixed_small", "fixed_small_log",
                                             "fixed_large"};

/* Element i of the peer's float linspace, found to the bit: blocks of 8 start from the
 * nearer end with one fused multiply-add and count up from there. */
static float linspace(float a, float b, int64_t n, int64_t i)
{
    if (n == 1)
        return a;
    float step = (b - a) / (float)(n - 1);
    int64_t base = i / 8 * 8;
    if (base + 8 > n)
        base = i; /* the rest of a list is filled one by one */
    float from = base < n / 2 ? fmaf(step, (float)base, a)
                              : fmaf(-step, (float)(n - base - 1), b);
    return from + (float)(i - base) * step;
}

static double cosine_bar(double u)
{
    double c = cos((u + 0.008) / 1.008 * M_PI / 2);
    return c * c;
}

static void fill_betas(struct schedule *s)
{
    int64_t n = s->train_steps;
    for (int64_t i = 0; i < n; i++) {
        if (s->beta == BETA_LINEAR) {
            s->betas[i] = linspace((float)s->beta_start, (float)s->beta_end, n, i);
        } else if (s->beta == BETA_SCALED_LINEAR) {
            float q =
                linspace((float)sqrt(s->beta_start), (float)sqrt(s->beta_end), n, i);
            s->betas[i] = q * q;
        } else {
            double u = (double)i / (double)n, v = (double)(i + 1) / (double)n;
            s->betas[i] = (float)fmin(1 - cosine_bar(v) / cosine_bar(u), 0.999);
        }
    }
}

static void fill_alpha_bar(struct schedule *s)
{
    double product = 1;
    for (int64_t i = 0; i < s->train_steps; i++) {
        product *= (double)(1.0f - s->betas[i]);
        s->alpha_bar[i] = (float)product;
    }
}

/* Lin et al. 2023, algorithm 1: shift and scale sqrt(abar) so that it ends at 0. */
static void rescale_zero_snr(struct schedule *s)
{
    int64_t n = s->train_steps;
    float first = sqrtf(s->alpha_bar[0]), last = sqrtf(s->alpha_bar[n - 1]);
    float scale = first / (first - last), before = 1;
    for (int64_t i = 0; i < n; i++) {
        float q = (sqrtf(s->alpha_bar[i]) - last) * scale;
        float bar = q * q;
        s->betas[i] = 1.0f - (i == 0 ? bar : bar / before);
        before = bar;
    }
}

int schedule_build(struct schedule *s)
{
    if (s->train_steps < 1 || s->train_steps > TRAIN_STEPS_MAX)
        return err_set(ERR_INPUT, "num_train_timesteps %lld: use 1 to %d",
                       (long long)s->train_steps, TRAIN_STEPS_MAX);
    if (!(s->beta_start > 0 && s->beta_start < 1 && s->beta_end > 0 && s->beta_end < 1))
        return err_set(ERR_INPUT, "beta_start %g, beta_end %g: both must be in (0, 1)",
                       s->beta_start, s->beta_end);
    if (s->zero_snr && s->train_steps < 2)
        return err_set(ERR_INPUT,
                       "rescale_betas_zero_snr needs num_train_timesteps >= 2");
    mem_free(s->betas);
    mem_free(s->alpha_bar);
    s->betas = mem_alloc(s->train_steps, sizeof(float));
    s->alpha_bar = mem_alloc(s->train_steps, sizeof(float));
    fill_betas(s);
    fill_alpha_bar(s);
    if (s->zero_snr) {
        rescale_zero_snr(s);
        fill_alpha_bar(s);
    }
    return 0;
}

/* An absent or null key leaves the default. */
static const struct json *given(const struct json *j, const char *key)
{
    const struct json *v = json_get(j, key);
    return v == NULL || json_kind(v) == JSON_NULL_T ? NULL : v;
}

static int read_f64(const struct json *j, const char *key, double lo, double hi,
                    double *out)
{
    const struct json *v = given(j, key);
    double x;
    if (v == NULL)
        return 0;
    if (!json_to_f64(v, &x) || !(x >= lo && x <= hi))
        return err_set(ERR_INPUT, "%s: give a number from %g to %g", key, lo, hi);
    *out = x;
    return 0;
}

static int read_i64(const struct json *j, const char *key, int64_t lo, int64_t hi,
                    int64_t *out)
{
    const struct json *v = given(j, key);
    int64_t x;
    if (v == NULL)
        return 0;
    if (!json_to_i64(v, &x) || x < lo || x > hi)
        return err_set(ERR_INPUT, "%s: give an integer from %lld to %lld", key,
                       (long long)lo, (long long)hi);
    *out = x;
    return 0;
}

static int read_bool(const struct json *j, const char *key, bool *out)
{
    const struct json *v = given(j, key);
    if (v != NULL && !json_to_bool(v, out))
        return err_set(ERR_INPUT, "%s: give true or false", key);
    return 0;
}

static int read_name(const struct json *j, const char *key, const char *const names[3],
                     int *out)
{
    const struct json *v = given(j, key);
    if (v == NULL)
        return 0;
    const char *text = json_text(v);
    for (int i = 0; text != NULL && i < 3; i++)
        if (strcmp(text, names[i]) == 0) {
            *out = i;
            return 0;
        }
    return err_set(ERR_INPUT, "%s \"%s\" is not supported: use %s, %s or %s", key,
                   text != NULL ? text : "(no text)", names[0], names[1], names[2]);
}

static int read_fields(struct schedule *s, const struct json *j)
{
    int beta = s->beta, prediction = s->prediction;
    int spacing = s->spacing, variance = s->variance;
    if (json_kind(j) != JSON_MAP_T)
        return err_set(ERR_INPUT, "the top level is no object");
    if (given(j, "trained_betas") != NULL)
        return err_set(ERR_INPUT, "trained_betas is not supported: give beta_schedule, "
                                  "beta_start and beta_end");
    if (read_i64(j, "num_train_timesteps", 1, TRAIN_STEPS_MAX, &s->train_steps) ||
        read_name(j, "beta_schedule", beta_names, &beta) ||
        read_f64(j, "beta_start", 0, 1, &s->beta_start) ||
        read_f64(j, "beta_end", 0, 1, &s->beta_end) ||
        read_name(j, "prediction_type", prediction_names, &prediction) ||
        read_name(j, "timestep_spacing", spacing_names, &spacing) ||
        read_name(j, "variance_type", variance_names, &variance) ||
        read_i64(j, "steps_offset", 0, s->train_steps, &s->steps_offset) ||
        read_bool(j, "set_alpha_to_one", &s->set_alpha_to_one) ||
        read_bool(j, "rescale_betas_zero_snr", &s->zero_snr) ||
        read_bool(j, "clip_sample", &s->clip_sample) ||
        read_bool(j, "thresholding", &s->thresholding) ||
        read_f64(j, "clip_sample_range", 1e-6, 1e6, &s->clip_range) ||
        read_f64(j, "dynamic_thresholding_ratio", 0, 1, &s->threshold_ratio) ||
        read_f64(j, "sample_max_value", 1e-6, 1e6, &s->sample_max))
        return -1;
    s->beta = (enum schedule_beta)beta;
    s->prediction = (enum schedule_prediction)prediction;
    s->spacing = (enum schedule_spacing)spacing;
    s->variance = (enum schedule_variance)variance;
    return schedule_build(s);
}

int schedule_read(struct schedule *s, const char *path)
{
    *s = (struct schedule){.train_steps = 1000,
                           .beta = BETA_LINEAR,
                           .beta_start = 1e-4,
                           .beta_end = 0.02,
                           .set_alpha_to_one = true,
                           .clip_sample = true,
                           .clip_range = 1,
                           .threshold_ratio = 0.995,
                           .sample_max = 1};
    if (path == NULL)
        return schedule_build(s);
    struct json *j = NULL;
    int64_t len;
    int rc = -1;
    if (file_read(path, FILE_MAX, &s->json, &len) != 0)
        goto done;
    if ((j = json_parse(s->json, len, path)) == NULL)
        goto done;
    if (read_fields(s, j) != 0) {
        err_add("%s", path);
        goto done;
    }
    rc = 0;
done:
    json_free(j);
    if (rc != 0)
        schedule_free(s);
    return rc;
}

void schedule_free(struct schedule *s)
{
    mem_free(s->betas);
    mem_free(s->alpha_bar);
    mem_free(s->json);
    s->betas = s->alpha_bar = NULL;
    s->json = NULL;
}

void schedule_timesteps(const struct schedule *s, enum schedule_spacing spacing,
                        int64_t steps, int64_t *t)
{
    int64_t n = s->train_steps;
    ERR_BUG_IF(steps < 1 || steps > n);
    if (spacing == SPACING_LEADING) {
        for (int64_t i = 0; i < steps; i++)
            t[i] = (steps - 1 - i) * (n / steps) + s->steps_offset;
    } else if (spacing == SPACING_TRAILING) {
        /* The difference of the first two entries is the peer's step. */
        double delta = ((double)n - (double)n / (double)steps) - (double)n;
        for (int64_t i = 0; i < steps; i++)
            t[i] = (int64_t)rint((double)n + (double)i * delta) - 1;
    } else {
        double step = steps > 1 ? (double)(n - 1) / (double)(steps - 1) : 0;
        for (int64_t i = 0; i < steps; i++)
            t[steps - 1 - i] = (int64_t)rint((double)i * step);
        if (steps > 1)
            t[0] = n - 1;
    }
}

void schedule_add_noise(const struct schedule *s, int64_t t, const float *x0,
                        const float *eps, float *xt, float *target, int64_t n)
{
    ERR_BUG_IF(t < 0 || t >= s->train_steps);
    float a = sqrtf(s->alpha_bar[t]), b = sqrtf(1.0f - s->alpha_bar[t]);
    for (int64_t j = 0; j < n; j++)
        xt[j] = a * x0[j] + b * eps[j];
    if (target == NULL)
        return;
    if (s->prediction == PREDICT_EPSILON)
        memmove(target, eps, (size_t)n * sizeof *target);
    else if (s->prediction == PREDICT_SAMPLE)
        memmove(target, x0, (size_t)n * sizeof *target);
    else
        for (int64_t j = 0; j < n; j++)
            target[j] = a * eps[j] - b * x0[j];
}

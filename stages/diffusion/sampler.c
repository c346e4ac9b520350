/* DDIM with eta and DDPM ancestral steps. Both means are k0 x0 + k1 y, with y the noise
 * prediction (DDIM) or the state (DDPM); the coefficients are float as in the peer and
 * follow from the step's table entry alone. */
#include "stages/diffusion/sampler.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

/* One step's numbers: a = sqrt(abar), b = sqrt(1 - abar). */
struct coef {
    float a, b, k0, k1;
};

static struct coef coef_of(const struct sampler *s, int64_t i)
{
    ERR_BUG_IF(i < 0 || i >= s->steps);
    const struct sampler_step *e = &s->step[i];
    struct coef c = {.a = sqrtf(e->abar), .b = sqrtf(1.0f - e->abar)};
    if (s->kind == SAMPLER_DDIM) {
        float rest = 1.0f - e->abar_p - e->sigma * e->sigma;
        c.k0 = sqrtf(e->abar_p);
        c.k1 = sqrtf(rest > 0 ? rest : 0); /* eta = 1 may round below 0 */
    } else {
        float alpha = e->abar / e->abar_p;
        c.k0 = sqrtf(e->abar_p) * (1.0f - alpha) / (1.0f - e->abar);
        c.k1 = sqrtf(alpha) * (1.0f - e->abar_p) / (1.0f - e->abar);
    }
    return c;
}

static inline float clean_of(enum schedule_prediction p, struct coef c, float x,
                             float o)
{
    if (p == PREDICT_EPSILON)
        return (x - c.b * o) / c.a;
    return p == PREDICT_SAMPLE ? o : c.a * x - c.b * o;
}

static inline float noise_of(enum schedule_prediction p, struct coef c, float x,
                             float o)
{
    if (p == PREDICT_EPSILON)
        return o;
    return p == PREDICT_SAMPLE ? (x - c.a * o) / c.b : c.a * o + c.b * x;
}

/* d x0 / d o and d eps / d o: the same for every element. */
static float clean_slope(enum schedule_prediction p, struct coef c)
{
    if (p == PREDICT_EPSILON)
        return -c.b / c.a;
    return p == PREDICT_SAMPLE ? 1 : -c.b;
}

static float noise_slope(enum schedule_prediction p, struct coef c)
{
    if (p == PREDICT_EPSILON)
        return 1;
    return p == PREDICT_SAMPLE ? -c.a / c.b : c.a;
}

/* d x0 / d x and d eps / d x. */
static float clean_slope_x(enum schedule_prediction p, struct coef c)
{
    if (p == PREDICT_EPSILON)
        return 1 / c.a;
    return p == PREDICT_SAMPLE ? 0 : c.a;
}

static float noise_slope_x(enum schedule_prediction p, struct coef c)
{
    if (p == PREDICT_EPSILON)
        return 0;
    return p == PREDICT_SAMPLE ? 1 / c.b : c.b;
}

/* Variance of the transition before the mask; 0 where it is deterministic. */
static float sigma_of(const struct schedule *schedule, const struct sampler_options *o,
                      const struct sampler_step *e)
{
    float ratio = e->abar / e->abar_p;
    float variance = (1.0f - e->abar_p) / (1.0f - e->abar) * (1.0f - ratio);
    if (!(variance > 0))
        variance = 0;
    if (o->kind == SAMPLER_DDIM)
        return (float)o->eta * sqrtf(variance);
    if (e->t == 0)
        return 0;
    if (schedule->variance == VARIANCE_FIXED_LARGE)
        return sqrtf(1.0f - ratio);
    if (schedule->variance == VARIANCE_FIXED_SMALL_LOG && variance > 0)
        return expf(0.5f * logf(variance));
    return sqrtf(variance);
}

static void fill_step(struct sampler *s, const struct schedule *schedule,
                      const struct sampler_options *o, int64_t i)
{
    struct sampler_step *e = &s->step[i];
    bool passes = e->p < 0;
    if (passes && o->clamp_last && !(o->kind == SAMPLER_DDPM && e->t == 0))
        e->p = 0;
    e->abar = schedule->alpha_bar[e->t];
    if (e->p >= 0)
        e->abar_p = schedule->alpha_bar[e->p];
    else if (o->kind == SAMPLER_DDPM || schedule->set_alpha_to_one)
        e->abar_p = 1;
    else
        e->abar_p = schedule->alpha_bar[0];
    e->sigma = sigma_of(schedule, o, e);
    e->mask = (double)e->sigma > o->sigma_min;
    if (!e->mask) {
        e->sigma = 0;
        return;
    }
    struct coef c = coef_of(s, i);
    double slope = (double)c.k0 * (double)clean_slope(s->prediction, c);
    if (s->kind == SAMPLER_DDIM)
        slope += (double)c.k1 * (double)noise_slope(s->prediction, c);
    e->kl_weight = (float)(slope * slope / (2 * (double)e->sigma * (double)e->sigma));
    s->live_steps++;
}

static int check_options(const struct schedule *schedule,
                         const struct sampler_options *o)
{
    if (o->steps < 1 || o->steps > schedule->train_steps)
        return err_set(ERR_USAGE, "sampler steps %lld: use 1 to %lld",
                       (long long)o->steps, (long long)schedule->train_steps);
    if (!(o->eta >= 0 && o->eta <= 1))
        return err_set(ERR_USAGE, "eta %g: use 0 to 1", o->eta);
    if (!(o->sigma_min >= 0))
        return err_set(ERR_USAGE, "sigma_min %g: use 0 or more", o->sigma_min);
    if (o->spacing > SPACING_LINSPACE)
        return err_set(ERR_USAGE, "unknown timestep spacing %d", o->spacing);
    return 0;
}

static int check_step(const struct sampler *s, const struct schedule *schedule,
                      int64_t t)
{
    if (t >= schedule->train_steps)
        return err_set(ERR_USAGE,
                       "timestep %lld of %lld sampler steps lies beyond the schedule's "
                       "last, %lld: use fewer steps or steps_offset 0",
                       (long long)t, (long long)s->steps,
                       (long long)schedule->train_steps - 1);
    if (s->prediction == PREDICT_EPSILON && !(schedule->alpha_bar[t] > 0))
        return err_set(
            ERR_USAGE,
            "epsilon prediction has no meaning at timestep %lld, where "
            "alpha-bar is 0: use v or sample prediction, leading spacing, or "
            "a schedule without rescale_betas_zero_snr",
            (long long)t);
    return 0;
}

int sampler_init(struct sampler *s, const struct schedule *schedule,
                 const struct sampler_options *o)
{
    *s = (struct sampler){.kind = o->kind,
                          .prediction = schedule->prediction,
                          .clip_sample = o->clip_sample < 0 ? schedule->clip_sample
                                                            : o->clip_sample != 0,
                          .thresholding = schedule->thresholding,
                          .clip_range = (float)schedule->clip_range,
                          .threshold_ratio = (float)schedule->threshold_ratio,
                          .sample_max = (float)schedule->sample_max,
                          .steps = o->steps};
    if (check_options(schedule, o) != 0)
        return -1;
    enum schedule_spacing spacing =
        o->spacing < 0 ? schedule->spacing : (enum schedule_spacing)o->spacing;
    int64_t *t = mem_alloc(o->steps, sizeof *t);
    s->step = mem_alloc(o->steps, sizeof *s->step);
    schedule_timesteps(schedule, spacing, o->steps, t);
    int rc = -1;
    for (int64_t i = 0; i < o->steps; i++) {
        if (check_step(s, schedule, t[i]) != 0)
            goto done;
        s->step[i].t = t[i];
        if (o->kind == SAMPLER_DDIM)
            s->step[i].p = t[i] - schedule->train_steps / o->steps;
        else
            s->step[i].p = i + 1 < o->steps ? t[i + 1] : -1;
        fill_step(s, schedule, o, i);
    }
    rc = 0;
done:
    mem_free(t);
    if (rc != 0)
        sampler_free(s);
    return rc;
}

void sampler_free(struct sampler *s)
{
    mem_free(s->step);
    s->step = NULL;
    s->steps = s->live_steps = 0;
}

/* The k-th smallest of |v|, by bisection on the bits (non-negative floats are ordered
 * as their bits are): no scratch memory, no dependence on an order of elements. NaN
 * counts as largest. */
static float kth_abs(const float *v, int64_t d, int64_t k)
{
    uint32_t lo = 0, hi = UINT32_C(0x7fffffff);
    while (lo < hi) {
        uint32_t mid = lo + (hi - lo) / 2;
        int64_t below = 0;
        for (int64_t j = 0; j < d; j++) {
            uint32_t bits;
            memcpy(&bits, &v[j], sizeof bits);
            below += (bits & UINT32_C(0x7fffffff)) <= mid;
        }
        if (below > k)
            hi = mid;
        else
            lo = mid + 1;
    }
    float out;
    memcpy(&out, &lo, sizeof out);
    return out;
}

/* The limit that a sample's x0 is clipped at and divided by: a quantile of |x0| within
 * [1, sample_max] (Saharia et al. 2022). */
struct limit {
    float s;      /* the limit */
    float lo, hi; /* the two order statistics it lies between */
    float weight; /* of hi */
    bool follows; /* s moves with lo and hi (it is not at an end of the range) */
};

static struct limit limit_of(const struct sampler *s, const float *x0, int64_t d)
{
    float rank = s->threshold_ratio * (float)(d - 1);
    int64_t below = (int64_t)floorf(rank);
    struct limit l = {.weight = rank - (float)below};
    l.lo = kth_abs(x0, d, below);
    l.hi = l.weight > 0 ? kth_abs(x0, d, below + 1) : l.lo;
    float q = l.weight < 0.5f ? l.lo + l.weight * (l.hi - l.lo)
                              : l.hi - (l.hi - l.lo) * (1.0f - l.weight);
    float raised = q < 1 ? 1 : q;
    l.s = raised > s->sample_max ? s->sample_max : raised;
    l.follows = q >= 1 && q <= s->sample_max;
    return l;
}

static inline float clamp(float v, float limit)
{
    v = v < -limit ? -limit : v;
    return v > limit ? limit : v;
}

void sampler_mean(const struct sampler *s, int64_t i, int64_t d, const float *x,
                  const float *o, float *mu, float *x0)
{
    struct coef c = coef_of(s, i);
    enum schedule_prediction p = s->prediction;
    for (int64_t j = 0; j < d; j++)
        mu[j] = clean_of(p, c, x[j], o[j]);
    if (s->thresholding) {
        float limit = limit_of(s, mu, d).s;
        for (int64_t j = 0; j < d; j++)
            mu[j] = clamp(mu[j], limit) / limit;
    } else if (s->clip_sample) {
        for (int64_t j = 0; j < d; j++)
            mu[j] = clamp(mu[j], s->clip_range);
    }
    if (x0 != NULL)
        memcpy(x0, mu, (size_t)d * sizeof *x0);
    if (s->kind == SAMPLER_DDIM) {
        for (int64_t j = 0; j < d; j++)
            mu[j] = c.k0 * mu[j] + c.k1 * noise_of(p, c, x[j], o[j]);
    } else {
        for (int64_t j = 0; j < d; j++)
            mu[j] = c.k0 * mu[j] + c.k1 * x[j];
    }
}

bool sampler_clips(const struct sampler *s)
{
    return s->clip_sample || s->thresholding;
}

void sampler_slopes(const struct sampler *s, int64_t i, float *by_x, float *by_o)
{
    ERR_BUG_IF(sampler_clips(s));
    struct coef c = coef_of(s, i);
    enum schedule_prediction p = s->prediction;
    if (s->kind == SAMPLER_DDIM) {
        *by_x = c.k0 * clean_slope_x(p, c) + c.k1 * noise_slope_x(p, c);
        *by_o = c.k0 * clean_slope(p, c) + c.k1 * noise_slope(p, c);
    } else {
        *by_x = c.k0 * clean_slope_x(p, c) + c.k1;
        *by_o = c.k0 * clean_slope(p, c);
    }
}

void sampler_advance(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                     const float *z, float *next)
{
    ERR_BUG_IF(i < 0 || i >= s->steps);
    if (!s->step[i].mask) {
        memmove(next, mu, (size_t)d * sizeof *next);
        return;
    }
    float sigma = s->step[i].sigma;
    for (int64_t j = 0; j < d; j++)
        next[j] = mu[j] + sigma * z[j];
}

/* |a - b|^2 */
static double distance(int64_t d, const float *b, const float *a)
{
    double lane[8] = {0};
    int64_t j = 0;
    for (; j + 8 <= d; j += 8)
        for (int k = 0; k < 8; k++) {
            double r = (double)a[j + k] - (double)b[j + k];
            lane[k] += r * r;
        }
    for (int k = 0; j < d; j++, k++) {
        double r = (double)a[j] - (double)b[j];
        lane[k] += r * r;
    }
    return ((lane[0] + lane[1]) + (lane[2] + lane[3])) +
           ((lane[4] + lane[5]) + (lane[6] + lane[7]));
}

double sampler_kl(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                  const float *other)
{
    ERR_BUG_IF(i < 0 || i >= s->steps);
    double sigma = (double)s->step[i].sigma;
    return s->step[i].mask ? distance(d, mu, other) / (2 * sigma * sigma) : 0;
}

double sampler_log_prob(const struct sampler *s, int64_t i, int64_t d, const float *mu,
                        const float *next)
{
    ERR_BUG_IF(i < 0 || i >= s->steps);
    if (!s->step[i].mask)
        return 0;
    double sigma = (double)s->step[i].sigma, sum = distance(d, mu, next);
    return -sum / (2 * sigma * sigma) - (double)d * (log(sigma) + 0.5 * log(2 * M_PI));
}

/* Turns grad[d] = d L / d x0 (after thresholding) into d L / d x0 before it. x0 holds
 * the values before. The limit's own movement goes to the elements that define it. */
static void threshold_back(const struct sampler *s, int64_t d, const float *x0,
                           float *grad)
{
    struct limit l = limit_of(s, x0, d);
    double moved = 0; /* d L / d limit */
    int64_t at_lo = 0, at_hi = 0;
    for (int64_t j = 0; j < d; j++) {
        if (fabsf(x0[j]) <= l.s) {
            moved -= (double)grad[j] * (double)x0[j] / ((double)l.s * (double)l.s);
            grad[j] /= l.s;
        } else {
            grad[j] = 0;
        }
        at_lo += fabsf(x0[j]) == l.lo;
        at_hi += fabsf(x0[j]) == l.hi;
    }
    if (!l.follows)
        return;
    double to_lo = moved * (1 - (double)l.weight) / (double)at_lo;
    double to_hi = moved * (double)l.weight / (double)at_hi;
    for (int64_t j = 0; j < d; j++) {
        double sign = x0[j] < 0 ? -1 : 1;
        if (fabsf(x0[j]) == l.lo)
            grad[j] += (float)(sign * to_lo);
        if (fabsf(x0[j]) == l.hi)
            grad[j] += (float)(sign * to_hi);
    }
}

void sampler_log_prob_grad(const struct sampler *s, int64_t i, int64_t d,
                           const float *x, const float *o, const float *next,
                           double scale, float *grad)
{
    ERR_BUG_IF(i < 0 || i >= s->steps);
    if (!s->step[i].mask) {
        memset(grad, 0, (size_t)d * sizeof *grad);
        return;
    }
    struct coef c = coef_of(s, i);
    enum schedule_prediction p = s->prediction;
    double sigma = (double)s->step[i].sigma;
    float by = (float)(scale / (sigma * sigma));
    float clean = c.k0 * clean_slope(p, c);
    float noise = s->kind == SAMPLER_DDIM ? c.k1 * noise_slope(p, c) : 0;
    sampler_mean(s, i, d, x, o, grad, NULL);
    if (s->thresholding) {
        float *pass = mem_alloc(2 * d, sizeof *pass), *x0 = pass + d;
        for (int64_t j = 0; j < d; j++) {
            grad[j] = by * (next[j] - grad[j]);
            pass[j] = grad[j];
            x0[j] = clean_of(p, c, x[j], o[j]);
        }
        threshold_back(s, d, x0, pass);
        for (int64_t j = 0; j < d; j++)
            grad[j] = clean * pass[j] + noise * grad[j];
        mem_free(pass);
    } else if (s->clip_sample) {
        for (int64_t j = 0; j < d; j++) {
            bool inside = fabsf(clean_of(p, c, x[j], o[j])) <= s->clip_range;
            grad[j] = by * (next[j] - grad[j]) * ((inside ? clean : 0) + noise);
        }
    } else {
        for (int64_t j = 0; j < d; j++)
            grad[j] = by * (next[j] - grad[j]) * (clean + noise);
    }
}

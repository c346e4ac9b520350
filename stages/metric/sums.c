/* Running statistics after Welford, so that a large mean costs no digits. */
#include "stages/metric/sums.h"

#include <math.h>
#include <stdbool.h>

void moments_add(struct moments *m, double v)
{
    if (!isfinite(v))
        return;
    double away = v - m->mean;
    m->min = m->n == 0 ? v : fmin(m->min, v);
    m->max = m->n == 0 ? v : fmax(m->max, v);
    m->mean += away / (double)++m->n;
    m->square += away * (v - m->mean);
}

double moments_mean(const struct moments *m)
{
    return m->n > 0 ? m->mean : NAN;
}

double moments_std(const struct moments *m)
{
    return m->n > 0 ? sqrt(m->square / (double)m->n) : NAN;
}

double moments_error(const struct moments *m)
{
    return m->n > 1 ? sqrt(m->square / (double)(m->n - 1) / (double)m->n) : NAN;
}

void pairs_add(struct pairs *p, double x, double y)
{
    if (!isfinite(x) || !isfinite(y))
        return;
    double n = (double)++p->n, dx = x - p->x, dy = y - p->y;
    p->x += dx / n;
    p->y += dy / n;
    p->xx += dx * (x - p->x);
    p->yy += dy * (y - p->y);
    p->xy += dx * (y - p->y);
}

/* Are the squares more than rounding makes of n equal numbers? */
static bool vary(double squares, double mean, int64_t n)
{
    return squares > 1e-18 * (double)n * mean * mean;
}

double pairs_correlation(const struct pairs *p)
{
    if (!vary(p->xx, p->x, p->n) || !vary(p->yy, p->y, p->n))
        return NAN;
    return fmax(-1, fmin(1, p->xy / sqrt(p->xx * p->yy)));
}

double pairs_slope(const struct pairs *p, double *error)
{
    *error = NAN;
    if (!(p->xx > 0))
        return NAN;
    double slope = p->xy / p->xx;
    if (p->n > 2)
        *error = sqrt(fmax(p->yy - slope * p->xy, 0) / (double)(p->n - 2) / p->xx);
    return slope;
}

void weights_add(struct weights *s, double log_weight, double y)
{
    if (!isfinite(log_weight) || !isfinite(y))
        return;
    if (s->n++ == 0)
        s->top = log_weight;
    if (log_weight > s->top) {
        double f = exp(s->top - log_weight);
        s->w *= f;
        s->wy *= f;
        s->ww *= f * f;
        s->wwy *= f * f;
        s->wwyy *= f * f;
        s->top = log_weight;
    }
    double w = exp(log_weight - s->top);
    s->w += w;
    s->wy += w * y;
    s->ww += w * w;
    s->wwy += w * w * y;
    s->wwyy += w * w * y * y;
}

double weights_size(const struct weights *s)
{
    return s->n > 0 ? s->w * s->w / s->ww : NAN;
}

double weights_mean(const struct weights *s, double *error)
{
    double mean = s->n > 0 ? s->wy / s->w : NAN;
    *error =
        s->n > 1
            ? sqrt(fmax(s->wwyy - 2 * mean * s->wwy + mean * mean * s->ww, 0)) / s->w
            : NAN;
    return mean;
}

double weights_plain(const struct weights *s)
{
    return s->n > 0 ? exp(s->top) * (s->wy / (double)s->n) : NAN;
}

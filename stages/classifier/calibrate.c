/* Quality of probabilities, and their temperature. */
#include "stages/classifier/calibrate.h"

#include "stages/classifier/classifier.h"
#include "stages/linalg/minimise.h"

#include <math.h>

enum { BINS = 15 };

static const float *row(const struct calibrate_set *s, int64_t i)
{
    return s->logit + i * s->stride;
}

static int64_t largest(const float *v, int64_t k)
{
    int64_t best = 0;
    for (int64_t i = 1; i < k; i++)
        if (v[i] > v[best])
            best = i;
    return best;
}

double calibrate_nll(const struct calibrate_set *s, double temperature, double *slope)
{
    double nll = 0, sum = 0;
    for (int64_t i = 0; i < s->n; i++) {
        const float *v = row(s, i);
        double top = (double)v[largest(v, s->k)], mean = 0, total = 0;
        for (int64_t j = 0; j < s->k; j++) {
            double p = exp(((double)v[j] - top) / temperature);
            total += p;
            mean += p * (double)v[j];
        }
        nll -= ((double)v[s->label[i]] - top) / temperature - log(total);
        /* d -log p / d log T = (logit of the label - mean logit) / T */
        sum += ((double)v[s->label[i]] - mean / total) / temperature;
    }
    if (slope != NULL)
        *slope = sum / (double)s->n;
    return nll / (double)s->n;
}

struct calibrate_quality calibrate_measure(const struct calibrate_set *s, double temperature)
{
    double count[BINS] = {0}, sure[BINS] = {0}, right[BINS] = {0};
    struct calibrate_quality q = {.nll = calibrate_nll(s, temperature, NULL)};
    for (int64_t i = 0; i < s->n; i++) {
        const float *v = row(s, i);
        int64_t best = largest(v, s->k);
        double p = exp(classifier_log_prob(v, s->k, temperature, best, 1, NULL));
        int bin = (int)(p * BINS);
        bin = bin < BINS ? bin : BINS - 1;
        count[bin]++;
        sure[bin] += p;
        right[bin] += best == s->label[i];
        q.accuracy += best == s->label[i];
    }
    for (int b = 0; b < BINS; b++)
        q.error += fabs(sure[b] - right[b]) / (double)s->n;
    q.accuracy /= (double)s->n;
    return q;
}

static int objective(void *ctx, const double *x, double *value, double *gradient)
{
    *value = calibrate_nll(ctx, exp(*x), gradient);
    return 0;
}

int calibrate_temperature(const struct calibrate_set *s, double *temperature)
{
    const double low = -log(CALIBRATE_MOST), high = log(CALIBRATE_MOST);
    const struct minimise_options o = {.method = MINIMISE_BLMVM,
                                       .iterations = 100,
                                       .gradient_tolerance = 1e-9,
                                       .low = &low,
                                       .high = &high};
    struct calibrate_set own = *s;
    double x = 0;
    if (minimise_run(&o, 1, &x, objective, &own, NULL) != 0)
        return -1;
    *temperature = exp(x);
    return 0;
}

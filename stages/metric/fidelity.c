/* Fidelity and diversity. Every number is that of one sample, row or coordinate, so that
 * ranks can share the work and sums stay in one order. */
#include "stages/metric/fidelity.h"

#include "io/sys/mem.h"
#include "stages/metric/summary.h"

#include <math.h>

static void column(const float *x, int64_t n, int64_t d, int64_t j, double *out)
{
    for (int64_t i = 0; i < n; i++)
        out[i] = (double)x[i * d + j];
}

void fidelity_marginals(const float *x, int64_t n, const float *y, int64_t m, int64_t d,
                        int64_t first, int64_t last, struct fidelity_marginal *out)
{
    double *a = mem_alloc(n, sizeof *a), *b = mem_alloc(m, sizeof *b);
    for (int64_t j = first; j < last; j++) {
        column(x, n, d, j, a);
        column(y, m, d, j, b);
        struct summary sa = summary_of(a, n), sb = summary_of(b, m);
        summary_sort(a, n);
        summary_sort(b, m);
        out[j - first] = (struct fidelity_marginal){
            .mean_gap = fabs(sa.mean - sb.mean),
            .std_gap = fabs(sa.std - sb.std),
            .wasserstein = summary_wasserstein(a, n, b, m),
        };
    }
    mem_free(a);
    mem_free(b);
}

struct fidelity_marginal fidelity_mean(const struct fidelity_marginal *each, int64_t d)
{
    struct fidelity_marginal s = {0, 0, 0};
    for (int64_t j = 0; j < d; j++) {
        s.mean_gap += each[j].mean_gap / (double)d;
        s.std_gap += each[j].std_gap / (double)d;
        s.wasserstein += each[j].wasserstein / (double)d;
    }
    return s;
}

double fidelity_lag1(const float *x, int64_t rows, int64_t w)
{
    double sum = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < rows; i++) {
        double r = summary_lag1(x + i * w, w);
        if (!isnan(r)) {
            sum += r;
            n++;
        }
    }
    return n > 0 ? sum / (double)n : NAN;
}

double fidelity_distance(const float *a, const float *b, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) {
        double e = (double)a[j] - (double)b[j];
        sum += e * e;
    }
    return sqrt(sum / (double)d);
}

void fidelity_pairs(const float *x, int64_t n, int64_t d, int64_t first, int64_t last,
                    double *out)
{
    for (int64_t i = first; i < last; i++) {
        out[i - first] = 0;
        for (int64_t j = i + 1; j < n; j++)
            out[i - first] += fidelity_distance(x + i * d, x + j * d, d);
    }
}

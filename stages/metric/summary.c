/* Moments, quantiles and distances of numbers. */
#include "stages/metric/summary.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int upwards(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

void summary_sort(double *x, int64_t n)
{
    if (n > 1)
        qsort(x, (size_t)n, sizeof *x, upwards);
}

double summary_quantile(const double *x, int64_t n, double p)
{
    double at = p * (double)(n - 1);
    int64_t k = (int64_t)at;
    if (k >= n - 1)
        return x[n - 1];
    return fmin(x[k] + (at - (double)k) * (x[k + 1] - x[k]), x[k + 1]); /* of rounding */
}

struct summary summary_of(const double *x, int64_t n)
{
    struct summary s = {n,   NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN};
    double sum = 0, dev = 0;
    if (n == 0)
        return s;
    for (int64_t i = 0; i < n; i++)
        sum += x[i];
    s.mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++)
        dev += (x[i] - s.mean) * (x[i] - s.mean);
    s.std = sqrt(dev / (double)n);
    if (n > 1)
        s.error = sqrt(dev / (double)(n - 1) / (double)n);
    double *sorted = mem_alloc(n, sizeof *sorted);
    memcpy(sorted, x, (size_t)n * sizeof *sorted);
    summary_sort(sorted, n);
    s.min = sorted[0];
    s.q05 = summary_quantile(sorted, n, 0.05);
    s.q25 = summary_quantile(sorted, n, 0.25);
    s.median = summary_quantile(sorted, n, 0.5);
    s.q75 = summary_quantile(sorted, n, 0.75);
    s.q95 = summary_quantile(sorted, n, 0.95);
    s.max = sorted[n - 1];
    mem_free(sorted);
    return s;
}

double summary_wasserstein(const double *x, int64_t n, const double *y, int64_t m)
{
    double sum = 0;
    int64_t at = 0; /* u in units of 1 / (n m): exact integers */
    for (int64_t i = 0, j = 0; i < n && j < m;) {
        int64_t end_x = (i + 1) * m, end_y = (j + 1) * n;
        int64_t end = end_x < end_y ? end_x : end_y;
        sum += (double)(end - at) * fabs(x[i] - y[j]);
        at = end;
        i += end == end_x;
        j += end == end_y;
    }
    return sum / ((double)n * (double)m);
}

double summary_lag1(const float *x, int64_t n)
{
    double mean = 0, top = 0, bottom = 0;
    for (int64_t t = 0; t < n; t++)
        mean += (double)x[t];
    mean /= (double)n;
    for (int64_t t = 0; t < n; t++) {
        double a = (double)x[t] - mean;
        bottom += a * a;
        if (t + 1 < n)
            top += a * ((double)x[t + 1] - mean);
    }
    return bottom > 0 ? top / bottom : NAN;
}

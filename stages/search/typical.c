/* The spectral norm is that of a symmetric matrix of at most 64 rows; its eigenvector
 * is found by power iteration on the square, from a fixed start. */
#include "stages/search/typical.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

enum { ORDERS = 33, LARGEST = 64, ROUNDS = 60 };

struct typical {
    int64_t n, *order; /* [ORDERS, n], the first the identity */
    double *z, *g;     /* [n] one order's */
    double mean[LARGEST], v[LARGEST], w[LARGEST];
    double moment[LARGEST * LARGEST]; /* C - I */
};

struct typical *typical_create(int64_t n, uint64_t seed)
{
    struct typical *t = mem_alloc(1, sizeof *t);
    t->n = n;
    t->order = mem_alloc(ORDERS * n, sizeof *t->order);
    t->z = mem_alloc(2 * n, sizeof *t->z);
    t->g = t->z + n;
    for (int64_t i = 0; i < n; i++)
        t->order[i] = i;
    for (int64_t k = 1; k < ORDERS; k++)
        rng_permutation(rng_key(seed, RNG_SEARCH, -1, k, 0, 0), t->order + k * n, n);
    return t;
}

void typical_destroy(struct typical *t)
{
    if (t == NULL)
        return;
    mem_free(t->order);
    mem_free(t->z);
    mem_free(t);
}

/* The bound on the mean of blocks. */
static double mean_part(struct typical *t, int64_t k, int64_t n)
{
    double square = 0;
    memset(t->mean, 0, (size_t)k * sizeof *t->mean);
    for (int64_t b = 0; b < n; b++)
        for (int64_t j = 0; j < k; j++)
            t->mean[j] += t->z[b * k + j] / (double)n;
    for (int64_t j = 0; j < k; j++)
        square += t->mean[j] * t->mean[j];
    double over = (double)n * square / (2 * (double)k) - log(2);
    if (over <= 0)
        return 0;
    for (int64_t b = 0; b < n; b++)
        for (int64_t j = 0; j < k; j++)
            t->g[b * k + j] += t->mean[j] / (double)k;
    return over;
}

/* w <- (C - I) v; returns |w|. */
static double apply(struct typical *t, int64_t k)
{
    double square = 0;
    for (int64_t i = 0; i < k; i++) {
        t->w[i] = 0;
        for (int64_t j = 0; j < k; j++)
            t->w[i] += t->moment[i * k + j] * t->v[j];
        square += t->w[i] * t->w[i];
    }
    return sqrt(square);
}

/* The eigenvalue of C - I of the largest size, its vector in v. */
static double top(struct typical *t, int64_t k)
{
    double value = 0, size = 0;
    for (int64_t i = 0; i < k;
         i++) { /* no symmetric start, which could be orthogonal */
        t->v[i] = 1 + 0.37 * sin((double)(i + 1));
        size += t->v[i] * t->v[i];
    }
    for (int64_t i = 0; i < k; i++)
        t->v[i] /= sqrt(size);
    for (int round = 0; round < ROUNDS; round++)
        for (int twice = 0; twice < 2; twice++) {
            size = apply(t, k);
            for (int64_t i = 0; i < k && size > 0; i++)
                t->v[i] = t->w[i] / size;
        }
    apply(t, k);
    for (int64_t i = 0; i < k; i++)
        value += t->v[i] * t->w[i];
    return value;
}

/* The bound on their second moment. */
static double moment_part(struct typical *t, int64_t k, int64_t n)
{
    memset(t->moment, 0, (size_t)(k * k) * sizeof *t->moment);
    for (int64_t b = 0; b < n; b++)
        for (int64_t i = 0; i < k; i++)
            for (int64_t j = 0; j < k; j++)
                t->moment[i * k + j] += t->z[b * k + i] * t->z[b * k + j] / (double)n;
    for (int64_t i = 0; i < k; i++)
        t->moment[i * k + i] -= 1;
    double value = top(t, k), norm = fabs(value);
    double far = sqrt(1 + norm) - 1 - sqrt((double)k / (double)n);
    double over = far > 0 ? (double)n * far * far / 2 - log(2) : 0;
    if (over <= 0)
        return 0;
    double slope = far / (2 * sqrt(1 + norm)) * (value < 0 ? -2 : 2);
    for (int64_t b = 0; b < n; b++) {
        double along = 0;
        for (int64_t j = 0; j < k; j++)
            along += t->z[b * k + j] * t->v[j];
        for (int64_t j = 0; j < k; j++)
            t->g[b * k + j] += slope * along * t->v[j];
    }
    return over;
}

double typical_penalty(struct typical *t, const double *z, double *gradient)
{
    double sum = 0;
    if (gradient != NULL)
        memset(gradient, 0, (size_t)t->n * sizeof *gradient);
    for (int64_t o = 0; o < ORDERS; o++) {
        const int64_t *order = t->order + o * t->n;
        for (int64_t i = 0; i < t->n; i++)
            t->z[i] = z[order[i]];
        memset(t->g, 0, (size_t)t->n * sizeof *t->g);
        for (int64_t k = 4; k <= LARGEST && t->n / k >= k; k *= 4)
            sum += (mean_part(t, k, t->n / k) + moment_part(t, k, t->n / k)) / ORDERS;
        for (int64_t i = 0; i < t->n && gradient != NULL; i++)
            gradient[order[i]] += t->g[i] / ORDERS;
    }
    return sum;
}

/* Group normalisation fused with SiLU, and SiLU alone. Sums run in float over few rows
 * and in double across them; the variance is taken about the mean in a second pass. */
#include "stages/nn/fast.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <omp.h>

#define BLOCK 16 /* rows that are summed in float */

/* total[c] = sums over rows of x, or of (x - mean)^2. part: [c], working memory. */
static void sum_values(int64_t rows, int64_t c, const float *restrict x,
                       float *restrict part, double *restrict total)
{
    memset(total, 0, (size_t)c * sizeof *total);
    for (int64_t first = 0; first < rows; first += BLOCK) {
        int64_t last = first + BLOCK < rows ? first + BLOCK : rows, i = first;
        memset(part, 0, (size_t)c * sizeof *part);
        for (; i + 4 <= last; i += 4)
            for (int64_t j = 0; j < c; j++)
                part[j] += (x[i * c + j] + x[(i + 1) * c + j]) +
                           (x[(i + 2) * c + j] + x[(i + 3) * c + j]);
        for (; i < last; i++)
            for (int64_t j = 0; j < c; j++)
                part[j] += x[i * c + j];
        for (int64_t j = 0; j < c; j++)
            total[j] += part[j];
    }
}

static void sum_squares(int64_t rows, int64_t c, const float *restrict x,
                        const float *restrict mean, float *restrict part,
                        double *restrict total)
{
    memset(total, 0, (size_t)c * sizeof *total);
    for (int64_t first = 0; first < rows; first += BLOCK) {
        int64_t last = first + BLOCK < rows ? first + BLOCK : rows, i = first;
        memset(part, 0, (size_t)c * sizeof *part);
        for (; i + 2 <= last; i += 2)
            for (int64_t j = 0; j < c; j++) {
                float d = x[i * c + j] - mean[j], e = x[(i + 1) * c + j] - mean[j];
                part[j] += d * d + e * e;
            }
        for (; i < last; i++)
            for (int64_t j = 0; j < c; j++)
                part[j] += (x[i * c + j] - mean[j]) * (x[i * c + j] - mean[j]);
        for (int64_t j = 0; j < c; j++)
            total[j] += part[j];
    }
}

static double group_sum(const double *total, int64_t width)
{
    double sum = 0;
    for (int64_t j = 0; j < width; j++)
        sum += total[j];
    return sum;
}

/* Per channel: how an item is normalised. */
struct channels {
    float *mean, *rstd, *scale, *shift, *part, *other;
    double *total, *total2;
};

static struct channels channels_take(struct arena *a, int64_t c)
{
    float *f = arena_take(a, 6 * c, sizeof *f);
    double *d = arena_take(a, 2 * c, sizeof *d);
    return (struct channels){f,         f + c,     f + 2 * c, f + 3 * c,
                             f + 4 * c, f + 5 * c, d,         d + c};
}

static struct channels *channels_per_thread(struct arena *a, int64_t c)
{
    int threads = omp_get_max_threads();
    struct channels *k = arena_take(a, threads, sizeof *k);
    for (int i = 0; i < threads; i++)
        k[i] = channels_take(a, c);
    return k;
}

static void item_moments(const struct norm_args *a, int64_t n, const struct channels *k)
{
    const float *x = a->x + n * a->rows * a->c;
    int64_t width = a->c / a->groups;
    double count = (double)(a->rows * width);
    sum_values(a->rows, a->c, x, k->part, k->total);
    for (int64_t g = 0; g < a->groups; g++) {
        float mean = (float)(group_sum(k->total + g * width, width) / count);
        a->mean[n * a->groups + g] = mean;
        for (int64_t j = g * width; j < (g + 1) * width; j++)
            k->mean[j] = mean;
    }
    sum_squares(a->rows, a->c, x, k->mean, k->part, k->total);
    for (int64_t g = 0; g < a->groups; g++) {
        double var = group_sum(k->total + g * width, width) / count;
        a->rstd[n * a->groups + g] = (float)(1 / sqrt(var + (double)a->eps));
    }
}

static void item_channels(const struct norm_args *a, int64_t n, const struct channels *k)
{
    int64_t width = a->c / a->groups;
    for (int64_t j = 0; j < a->c; j++) {
        k->mean[j] = a->mean[n * a->groups + j / width];
        k->rstd[j] = a->rstd[n * a->groups + j / width];
    }
}

/* (x - mean) * scale + shift for channels j onwards. */
static inline vec affine(int64_t c, int64_t j, const float *x, const float *mean,
                         const float *scale, const float *shift)
{
    vec centred = vec_load(x + j, c - j) - vec_load(mean + j, c - j);
    return centred * vec_load(scale + j, c - j) + vec_load(shift + j, c - j);
}

static void normalise(int64_t rows, int64_t c, const float *restrict x,
                      const float *restrict mean, const float *restrict scale,
                      const float *restrict shift, float *restrict y)
{
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j++)
            y[i * c + j] = (x[i * c + j] - mean[j]) * scale[j] + shift[j];
}

static void normalise_silu(int64_t rows, int64_t c, const float *restrict x,
                           const float *restrict mean, const float *restrict scale,
                           const float *restrict shift, float *restrict y)
{
    for (int64_t i = 0; i < rows; i++, x += c, y += c)
        for (int64_t j = 0; j < c; j += LANES)
            vec_store(y + j, c - j, vec_silu(affine(c, j, x, mean, scale, shift)));
}

void fast_norm(const struct norm_args *a)
{
    struct channels *per_thread = channels_per_thread(a->scratch, a->c);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < a->n; n++) {
        const struct channels *k = &per_thread[omp_get_thread_num()];
        const int64_t at = n * a->rows * a->c;
        item_moments(a, n, k);
        item_channels(a, n, k);
        for (int64_t j = 0; j < a->c; j++)
            k->scale[j] = k->rstd[j] * a->gamma->t.data[j];
        (a->silu ? normalise_silu : normalise)(a->rows, a->c, a->x + at, k->mean,
                                               k->scale, a->beta->t.data, a->y + at);
    }
}

/* dz = dy * d silu / dz where silu. */
static void slopes(int64_t rows, int64_t c, const float *restrict x,
                   const float *restrict mean, const float *restrict scale,
                   const float *restrict shift, const float *restrict dy,
                   float *restrict dz)
{
    for (int64_t i = 0; i < rows; i++, x += c, dy += c, dz += c)
        for (int64_t j = 0; j < c; j += LANES) {
            vec z = affine(c, j, x, mean, scale, shift);
            vec_store(dz + j, c - j, vec_load(dy + j, c - j) * vec_silu_slope(z));
        }
}

/* total = sums of dz, total2 = sums of dz * (x - mean). */
static void sum_products(int64_t rows, int64_t c, const float *restrict x,
                         const float *restrict dz, const struct channels *k)
{
    const float *restrict mean = k->mean;
    float *restrict part = k->part, *restrict other = k->other;
    double *restrict total = k->total, *restrict total2 = k->total2;
    memset(total, 0, (size_t)c * sizeof *total);
    memset(total2, 0, (size_t)c * sizeof *total2);
    for (int64_t first = 0; first < rows; first += BLOCK) {
        int64_t last = first + BLOCK < rows ? first + BLOCK : rows, i = first;
        memset(part, 0, (size_t)c * sizeof *part);
        memset(other, 0, (size_t)c * sizeof *other);
        for (; i + 2 <= last; i += 2)
            for (int64_t j = 0; j < c; j++) {
                float d = dz[i * c + j], e = dz[(i + 1) * c + j];
                part[j] += d + e;
                other[j] +=
                    d * (x[i * c + j] - mean[j]) + e * (x[(i + 1) * c + j] - mean[j]);
            }
        for (; i < last; i++)
            for (int64_t j = 0; j < c; j++) {
                part[j] += dz[i * c + j];
                other[j] += dz[i * c + j] * (x[i * c + j] - mean[j]);
            }
        for (int64_t j = 0; j < c; j++) {
            total[j] += part[j];
            total2[j] += other[j];
        }
    }
}

/* dx (+)= dz * scale + shift + (x - mean) * slope */
static void spread(int64_t rows, int64_t c, const float *restrict x,
                   const float *restrict dz, const struct channels *k,
                   float *restrict dx, bool add)
{
    const float *restrict mean = k->mean, *restrict scale = k->scale;
    const float *restrict shift = k->shift, *restrict slope = k->other;
    for (int64_t i = 0; i < rows; i++) {
        const float *restrict xi = x + i * c, *restrict di = dz + i * c;
        float *restrict to = dx + i * c;
        if (add)
            for (int64_t j = 0; j < c; j++)
                to[j] += di[j] * scale[j] + shift[j] + (xi[j] - mean[j]) * slope[j];
        else
            for (int64_t j = 0; j < c; j++)
                to[j] = di[j] * scale[j] + shift[j] + (xi[j] - mean[j]) * slope[j];
    }
}

/* From the sums over pixels: the coefficients of dx, per channel. */
static void item_coefficients(const struct norm_args *a, const struct channels *k)
{
    int64_t width = a->c / a->groups;
    const float *gamma = a->gamma->t.data;
    double count = (double)(a->rows * width);
    for (int64_t g = 0; g < a->groups; g++) {
        double sum = 0, sum_x = 0, rstd = k->rstd[g * width];
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            sum += gamma[j] * k->total[j];
            sum_x += gamma[j] * k->total2[j];
        }
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            k->shift[j] = (float)(-rstd * sum / count);
            k->other[j] = (float)(-rstd * rstd * rstd * sum_x / count);
        }
    }
}

/* One item. dz: [rows, c] of working memory. sums [2, c]: its share of dbeta, dgamma. */
static void item_dx(const struct norm_args *a, int64_t n, const struct channels *k,
                    float *dz, double *sums)
{
    const int64_t at = n * a->rows * a->c;
    const float *x = a->x + at, *dy = a->dy + at;
    item_channels(a, n, k);
    for (int64_t j = 0; j < a->c; j++)
        k->scale[j] = k->rstd[j] * a->gamma->t.data[j];
    if (a->silu) {
        slopes(a->rows, a->c, x, k->mean, k->scale, a->beta->t.data, dy, dz);
        dy = dz;
    }
    sum_products(a->rows, a->c, x, dy, k);
    for (int64_t j = 0; j < a->c; j++) {
        sums[j] = k->total[j];
        sums[a->c + j] = k->total2[j] * k->rstd[j];
    }
    if (a->dx == NULL)
        return;
    item_coefficients(a, k);
    spread(a->rows, a->c, x, dy, k, a->dx + at, a->add_dx);
}

void fast_norm_dx(const struct norm_args *a)
{
    struct channels *per_thread = channels_per_thread(a->scratch, a->c);
    const int64_t size = a->rows * a->c;
    float *dz = NULL;
    if (a->silu)
        dz = arena_take(a->scratch, omp_get_max_threads() * size, sizeof *dz);
    double *sums = arena_take(a->scratch, a->n * 2 * a->c, sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < a->n; n++) {
        int thread = omp_get_thread_num();
        item_dx(a, n, &per_thread[thread], dz != NULL ? dz + thread * size : NULL,
                sums + n * 2 * a->c);
    }
    if (a->gamma->t.grad == NULL)
        return;
    for (int64_t j = 0; j < a->c; j++) {
        double dbeta = 0, dgamma = 0;
        for (int64_t n = 0; n < a->n; n++) {
            dbeta += sums[n * 2 * a->c + j];
            dgamma += sums[n * 2 * a->c + a->c + j];
        }
        a->beta->t.grad[j] += (float)dbeta;
        a->gamma->t.grad[j] += (float)dgamma;
    }
}

void fast_silu(int64_t n, const float *x, float *y)
{
#pragma omp parallel for schedule(static) if (n > 8192)
    for (int64_t i = 0; i < n; i += LANES)
        vec_store(y + i, n - i, vec_silu(vec_load(x + i, n - i)));
}

void fast_silu_dx(int64_t n, const float *x, const float *dy, float *dx, bool add)
{
#pragma omp parallel for schedule(static) if (n > 8192)
    for (int64_t i = 0; i < n; i += LANES) {
        vec d = vec_load(dy + i, n - i) * vec_silu_slope(vec_load(x + i, n - i));
        vec_store(dx + i, n - i, add ? vec_load(dx + i, n - i) + d : d);
    }
}

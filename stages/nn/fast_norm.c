/* Group normalisation fused with SiLU, and SiLU alone. Sums run in float over few rows
 * and in double across them. Moments are taken in one pass, per channel about a value
 * near its mean: the mean of its first rows. How far that is from the true mean is
 * bounded by the variance itself, (near - mean)^2 <= var rows / BLOCK, so that the
 * difference of the two sums is as good as a second pass. Groups are put together from
 * the sums of their channels, wherever the parts of the input end. */
#include "stages/nn/fast.h"
#include "stages/nn/vec.h"

#include <math.h>
#include <omp.h>

#define BLOCK 32 /* rows that are summed in float */

/* Per channel: how an item is normalised, z = (x - mean) * scale + shift, and sums. */
struct channels {
    float *mean, *rstd, *scale, *shift, *part, *part2;
    double *total, *total2;
};

/* One part of an item, [rows, c]: its channels are c of `stride` ones of y, dy and dz.
 */
struct slab {
    int64_t rows, c, stride;
    enum dtype type;
    bool silu, add;
    const void *x, *dy;
    void *y, *dx;
    float *dz; /* NULL: not kept */
    struct channels k;
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

static struct channels channels_from(struct channels k, int64_t j)
{
    return (struct channels){k.mean + j, k.rstd + j,  k.scale + j, k.shift + j,
                             k.part + j, k.part2 + j, k.total + j, k.total2 + j};
}

static struct slab slab_of(const struct norm_args *a, int64_t n, int part,
                           struct channels k)
{
    const struct part *p = &a->part[part];
    const int64_t before = part > 0 ? a->part[0].c : 0, at = n * a->rows * p->c;
    const int64_t all = n * a->rows * a->c + before;
    return (struct slab){
        .rows = a->rows,
        .c = p->c,
        .stride = a->c,
        .type = a->type,
        .silu = a->silu,
        .add = p->add_dx,
        .x = act_at(a->type, p->x, at),
        .dy = a->dy != NULL ? act_at(a->type, a->dy, all) : NULL,
        .y = a->y != NULL ? act_at(a->type, a->y, all) : NULL,
        .dx = p->dx != NULL ? act_at(a->type, p->dx, at) : NULL,
        .k = channels_from(k, before),
    };
}

/* The sums in float are added to those in double, and cleared. */
static void flush(int64_t c, float *restrict part, double *restrict total)
{
    for (int64_t j = 0; j < c; j++) {
        total[j] += part[j];
        part[j] = 0;
    }
}

static void clear(const struct slab *s)
{
    memset(s->k.part, 0, (size_t)s->c * sizeof *s->k.part);
    memset(s->k.part2, 0, (size_t)s->c * sizeof *s->k.part2);
    memset(s->k.total, 0, (size_t)s->c * sizeof *s->k.total);
    memset(s->k.total2, 0, (size_t)s->c * sizeof *s->k.total2);
}

/* mean = that of the first rows. */
static ALWAYS_INLINE void near_mean(const struct slab *s, enum dtype type)
{
    const int64_t rows = s->rows < BLOCK ? s->rows : BLOCK, c = s->c;
    memset(s->k.mean, 0, (size_t)c * sizeof *s->k.mean);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < c; j += LANES)
            vec_store(s->k.mean + j, c - j,
                      vec_load(s->k.mean + j, c - j) +
                          act_load(type, s->x, i * c + j, c - j));
    for (int64_t j = 0; j < c; j++)
        s->k.mean[j] /= (float)rows;
}

/* Adds `rows` rows from i on, at most n channels from j on. */
static ALWAYS_INLINE void moments_step(const struct slab *s, enum dtype type, int64_t i,
                                       int rows, int64_t j, int64_t n)
{
    const vec mean = vec_load(s->k.mean + j, n);
    vec sum = vec_load(s->k.part + j, n), squares = vec_load(s->k.part2 + j, n);
    for (int r = 0; r < rows; r++) {
        vec d = act_load(type, s->x, (i + r) * s->c + j, n) - mean;
        sum += d;
        squares = MULADD(d, d, squares);
    }
    vec_store(s->k.part + j, n, sum);
    vec_store(s->k.part2 + j, n, squares);
}

static ALWAYS_INLINE void moments_rows(const struct slab *s, enum dtype type, int64_t i,
                                       int rows)
{
    int64_t j = 0;
    for (; j + LANES <= s->c; j += LANES)
        moments_step(s, type, i, rows, j, LANES);
    if (j < s->c)
        moments_step(s, type, i, rows, j, s->c - j);
}

/* total and total2 = sums of x - mean and its square, with mean by near_mean. */
static ALWAYS_INLINE void moments(const struct slab *s, enum dtype type)
{
    near_mean(s, type);
    clear(s);
    for (int64_t first = 0; first < s->rows; first += BLOCK) {
        int64_t last = first + BLOCK < s->rows ? first + BLOCK : s->rows, i = first;
        for (; i + 4 <= last; i += 4)
            moments_rows(s, type, i, 4);
        for (; i < last; i++)
            moments_rows(s, type, i, 1);
        flush(s->c, s->k.part, s->k.total);
        flush(s->c, s->k.part2, s->k.total2);
    }
}

/* Statistics of the groups from the moments of their channels, and the map of each
 * channel. What the mean loses by rounding to float goes into the shift. */
static void item_groups(const struct norm_args *a, int64_t n, struct channels k)
{
    const int64_t width = a->c / a->groups;
    const double rows = (double)a->rows;
    for (int64_t g = 0; g < a->groups; g++) {
        double mean = 0, square = 0;
        for (int64_t j = g * width; j < (g + 1) * width; j++)
            mean += k.mean[j] + k.total[j] / rows;
        mean /= (double)width;
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            double off = k.mean[j] + k.total[j] / rows - mean;
            square += k.total2[j] - k.total[j] * k.total[j] / rows + rows * off * off;
        }
        double var = fmax(square, 0) / (rows * (double)width);
        a->mean[n * a->groups + g] = (float)mean;
        a->rstd[n * a->groups + g] = (float)(1 / sqrt(var + (double)a->eps));
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            k.mean[j] = (float)mean;
            k.scale[j] = a->rstd[n * a->groups + g] * a->gamma->t.data[j];
            k.shift[j] = a->beta->t.data[j] - (float)(mean - (float)mean) * k.scale[j];
        }
    }
}

/* z of row i, channels j onwards. */
static ALWAYS_INLINE vec affine(const struct slab *s, enum dtype type, int64_t i,
                                int64_t j, int64_t n)
{
    vec centred = act_load(type, s->x, i * s->c + j, n) - vec_load(s->k.mean + j, n);
    return MULADD(centred, vec_load(s->k.scale + j, n), vec_load(s->k.shift + j, n));
}

static ALWAYS_INLINE void normalise_step(const struct slab *s, enum dtype type,
                                         bool silu, int64_t i, int64_t j, int64_t n)
{
    vec z = affine(s, type, i, j, n);
    act_store(type, s->y, i * s->stride + j, n, silu ? vec_silu(z) : z);
}

static ALWAYS_INLINE void normalise(const struct slab *s, enum dtype type, bool silu)
{
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t j = 0;
        for (; j + LANES <= s->c; j += LANES)
            normalise_step(s, type, silu, i, j, LANES);
        if (j < s->c)
            normalise_step(s, type, silu, i, j, s->c - j);
    }
}

static void slab_moments(const struct slab *s)
{
    if (s->type == DTYPE_BF16)
        moments(s, DTYPE_BF16);
    else
        moments(s, DTYPE_F32);
}

static void slab_normalise(const struct slab *s)
{
    if (s->type == DTYPE_BF16)
        s->silu ? normalise(s, DTYPE_BF16, true) : normalise(s, DTYPE_BF16, false);
    else
        s->silu ? normalise(s, DTYPE_F32, true) : normalise(s, DTYPE_F32, false);
}

void fast_norm(const struct norm_args *a)
{
    struct channels *per_thread = channels_per_thread(a->scratch, a->c);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < a->n; n++) {
        const struct channels k = per_thread[omp_get_thread_num()];
        struct slab s[PARTS];
        for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
            s[p] = slab_of(a, n, p, k);
            slab_moments(&s[p]);
        }
        item_groups(a, n, k);
        for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
            slab_normalise(&s[p]);
    }
}

/* Rows i to i + rows: dz = dy * d silu / dz where silu, kept where wanted; the sums of
 * dz and of dz * (x - mean). */
static ALWAYS_INLINE void slopes_step(const struct slab *s, enum dtype type, bool silu,
                                      int64_t i, int rows, int64_t j, int64_t n)
{
    const vec mean = vec_load(s->k.mean + j, n), scale = vec_load(s->k.scale + j, n);
    const vec shift = vec_load(s->k.shift + j, n);
    vec sum = vec_load(s->k.part + j, n), products = vec_load(s->k.part2 + j, n);
    for (int r = 0; r < rows; r++) {
        vec d = act_load(type, s->dy, (i + r) * s->stride + j, n);
        vec centred = act_load(type, s->x, (i + r) * s->c + j, n) - mean;
        if (silu) {
            d *= vec_silu_slope(MULADD(centred, scale, shift));
            if (s->dz != NULL)
                vec_store(s->dz + (i + r) * s->c + j, n, d);
        }
        sum += d;
        products = MULADD(d, centred, products);
    }
    vec_store(s->k.part + j, n, sum);
    vec_store(s->k.part2 + j, n, products);
}

static ALWAYS_INLINE void slopes_rows(const struct slab *s, enum dtype type, bool silu,
                                      int64_t i, int rows)
{
    int64_t j = 0;
    for (; j + LANES <= s->c; j += LANES)
        slopes_step(s, type, silu, i, rows, j, LANES);
    if (j < s->c)
        slopes_step(s, type, silu, i, rows, j, s->c - j);
}

static ALWAYS_INLINE void slopes(const struct slab *s, enum dtype type, bool silu)
{
    clear(s);
    for (int64_t first = 0; first < s->rows; first += BLOCK) {
        int64_t last = first + BLOCK < s->rows ? first + BLOCK : s->rows, i = first;
        for (; i + 2 <= last; i += 2)
            slopes_rows(s, type, silu, i, 2);
        for (; i < last; i++)
            slopes_rows(s, type, silu, i, 1);
        flush(s->c, s->k.part, s->k.total);
        flush(s->c, s->k.part2, s->k.total2);
    }
}

/* dx (+)= dz * scale + part + (x - mean) * part2, with dz = dy without SiLU. */
static ALWAYS_INLINE void spread_step(const struct slab *s, enum dtype type, bool silu,
                                      int64_t i, int64_t j, int64_t n)
{
    const int64_t at = i * s->c + j;
    vec dz =
        silu ? vec_load(s->dz + at, n) : act_load(type, s->dy, i * s->stride + j, n);
    vec centred = act_load(type, s->x, at, n) - vec_load(s->k.mean + j, n);
    vec dx = MULADD(dz, vec_load(s->k.scale + j, n), vec_load(s->k.part + j, n));
    dx = MULADD(centred, vec_load(s->k.part2 + j, n), dx);
    if (s->add)
        dx += act_load(type, s->dx, at, n);
    act_store(type, s->dx, at, n, dx);
}

static ALWAYS_INLINE void spread(const struct slab *s, enum dtype type, bool silu)
{
    for (int64_t i = 0; i < s->rows; i++) {
        int64_t j = 0;
        for (; j + LANES <= s->c; j += LANES)
            spread_step(s, type, silu, i, j, LANES);
        if (j < s->c)
            spread_step(s, type, silu, i, j, s->c - j);
    }
}

static void slab_slopes(const struct slab *s)
{
    if (s->type == DTYPE_BF16)
        s->silu ? slopes(s, DTYPE_BF16, true) : slopes(s, DTYPE_BF16, false);
    else
        s->silu ? slopes(s, DTYPE_F32, true) : slopes(s, DTYPE_F32, false);
}

static void slab_spread(const struct slab *s)
{
    if (s->type == DTYPE_BF16)
        s->silu ? spread(s, DTYPE_BF16, true) : spread(s, DTYPE_BF16, false);
    else
        s->silu ? spread(s, DTYPE_F32, true) : spread(s, DTYPE_F32, false);
}

static void item_channels(const struct norm_args *a, int64_t n, struct channels k)
{
    const int64_t width = a->c / a->groups;
    for (int64_t j = 0; j < a->c; j++) {
        k.mean[j] = a->mean[n * a->groups + j / width];
        k.rstd[j] = a->rstd[n * a->groups + j / width];
        k.scale[j] = k.rstd[j] * a->gamma->t.data[j];
        k.shift[j] = a->beta->t.data[j];
    }
}

/* From the sums over pixels: the coefficients of dx, per channel, in part and part2. */
static void item_coefficients(const struct norm_args *a, struct channels k)
{
    const int64_t width = a->c / a->groups;
    const float *gamma = a->gamma->t.data;
    const double count = (double)(a->rows * width);
    for (int64_t g = 0; g < a->groups; g++) {
        double sum = 0, sum_x = 0, rstd = k.rstd[g * width];
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            sum += gamma[j] * k.total[j];
            sum_x += gamma[j] * k.total2[j];
        }
        for (int64_t j = g * width; j < (g + 1) * width; j++) {
            k.part[j] = (float)(-rstd * sum / count);
            k.part2[j] = (float)(-rstd * rstd * rstd * sum_x / count);
        }
    }
}

/* Where dz of a part is kept: in dx itself where that has room for it. */
static float *dz_place(const struct slab *s, float *dz)
{
    if (!s->silu || s->dx == NULL)
        return NULL;
    return s->type == DTYPE_F32 && !s->add ? s->dx : dz;
}

/* One item. dz: [rows, c] of working memory. sums [2, c]: its share of dbeta, dgamma.
 */
static void item_dx(const struct norm_args *a, int64_t n, struct channels k, float *dz,
                    double *sums)
{
    struct slab s[PARTS];
    item_channels(a, n, k);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++) {
        s[p] = slab_of(a, n, p, k);
        s[p].dz = dz_place(&s[p], dz);
        dz += a->rows * a->part[p].c;
        slab_slopes(&s[p]);
    }
    for (int64_t j = 0; j < a->c; j++) {
        sums[j] = k.total[j];
        sums[a->c + j] = k.total2[j] * k.rstd[j];
    }
    item_coefficients(a, k);
    for (int p = 0; p < PARTS && a->part[p].c > 0; p++)
        if (s[p].dx != NULL)
            slab_spread(&s[p]);
}

void fast_norm_dx(const struct norm_args *a)
{
    struct channels *per_thread = channels_per_thread(a->scratch, a->c);
    const int64_t size = a->rows * a->c;
    float *dz = arena_take(a->scratch, omp_get_max_threads() * size, sizeof *dz);
    double *sums = arena_take(a->scratch, a->n * 2 * a->c, sizeof *sums);
#pragma omp parallel for schedule(static)
    for (int64_t n = 0; n < a->n; n++) {
        int thread = omp_get_thread_num();
        item_dx(a, n, per_thread[thread], dz + thread * size, sums + n * 2 * a->c);
    }
    for (int64_t j = 0; j < a->c; j++) {
        double dbeta = 0, dgamma = 0;
        for (int64_t n = 0; n < a->n; n++) {
            dbeta += sums[n * 2 * a->c + j];
            dgamma += sums[n * 2 * a->c + a->c + j];
        }
        if (a->beta->t.grad != NULL)
            a->beta->t.grad[j] += (float)dbeta;
        if (a->gamma->t.grad != NULL)
            a->gamma->t.grad[j] += (float)dgamma;
    }
}

static ALWAYS_INLINE void silu_span(int64_t n, enum dtype type, const void *x, void *y)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        act_store(type, y, i, LANES, vec_silu(act_load(type, x, i, LANES)));
    if (i < n)
        act_store(type, y, i, n - i, vec_silu(act_load(type, x, i, n - i)));
}

static ALWAYS_INLINE void silu_dx_step(int64_t i, int64_t n, enum dtype type,
                                       const void *x, const void *dy, void *dx,
                                       bool add)
{
    vec d = act_load(type, dy, i, n) * vec_silu_slope(act_load(type, x, i, n));
    act_store(type, dx, i, n, add ? act_load(type, dx, i, n) + d : d);
}

static ALWAYS_INLINE void silu_dx_span(int64_t n, enum dtype type, const void *x,
                                       const void *dy, void *dx, bool add)
{
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        silu_dx_step(i, LANES, type, x, dy, dx, add);
    if (i < n)
        silu_dx_step(i, n - i, type, x, dy, dx, add);
}

#define SPAN 4096 /* values at a time */

void fast_silu(int64_t n, enum dtype type, const void *x, void *y)
{
#pragma omp parallel for schedule(static) if (n > 2 * SPAN)
    for (int64_t i = 0; i < n; i += SPAN) {
        int64_t some = n - i < SPAN ? n - i : SPAN;
        if (type == DTYPE_BF16)
            silu_span(some, DTYPE_BF16, act_at(type, x, i), act_at(type, y, i));
        else
            silu_span(some, DTYPE_F32, act_at(type, x, i), act_at(type, y, i));
    }
}

void fast_silu_dx(int64_t n, enum dtype type, const void *x, const void *dy, void *dx,
                  bool add)
{
#pragma omp parallel for schedule(static) if (n > 2 * SPAN)
    for (int64_t i = 0; i < n; i += SPAN) {
        int64_t some = n - i < SPAN ? n - i : SPAN;
        const void *xi = act_at(type, x, i), *di = act_at(type, dy, i);
        if (type == DTYPE_BF16)
            silu_dx_span(some, DTYPE_BF16, xi, di, act_at(type, dx, i), add);
        else
            silu_dx_span(some, DTYPE_F32, xi, di, act_at(type, dx, i), add);
    }
}

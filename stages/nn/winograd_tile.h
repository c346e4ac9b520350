/* Inside of winograd.c and winograd_dw.c: tiles of a picture, the way of activations
 * into vectors and back, the input transform, and the kernel of the products. */
#ifndef SLUICE_STAGES_NN_WINOGRAD_TILE_H
#define SLUICE_STAGES_NN_WINOGRAD_TILE_H

#include "stages/nn/vec.h"
#include "stages/nn/winograd.h"

#define WINOGRAD_POINTS 16

/* As many accumulators as the registers hold: [ROWS, 2 vectors], or for few columns
 * [2 ROWS, 1 vector]. Any multiple of 4 is a sum of 4s and ROWS or 2 ROWS. */
#define WINOGRAD_ROWS (LANES == 16 ? 12 : 6)

/* So few channels on one side that plain sums are as fast (winograd_few.c). */
#define WINOGRAD_FEW 4

/* Element (c, o) of the filters is at weight + c * c_step + o * o_step; tap t at
 * [t], or where turned at [8 - t]. */
struct winograd_filters {
    const float *weight;
    int64_t c, o, c_step, o_step;
    bool turned;
};

/* The calls of winograd.h, where one of c and o is at most WINOGRAD_FEW. */
void winograd_few_pack(const struct winograd_filters *f, float *packed);
int64_t winograd_few_work(const struct winograd_shape *s, int threads);
void winograd_few_conv(const struct winograd_shape *s, const float *x,
                       const float *packed, const struct winograd_output *out, float *y,
                       float *work, int threads);
void winograd_few_dw(const struct winograd_shape *s, const float *x, const float *dy,
                     float *dw, float *work, int threads);

/* Floats of working memory of winograd_dw. */
int64_t winograd_dw_work(const struct winograd_shape *s, int threads);

#define WINOGRAD_INLINE static inline __attribute__((always_inline))

/* Keeps the compiler from holding all multiples of a stride in memory. */
#define WINOGRAD_OPAQUE(x) __asm__("" : "+r"(x))

static inline int64_t winograd_up(int64_t n, int64_t step)
{
    return (n + step - 1) / step * step;
}

/* Floats between rows of n: whole cache lines, for long rows an odd number of them, so
 * that rows below each other do not fall on the same lines of the cache. */
static inline int64_t winograd_stride(int64_t n)
{
    int64_t lines = winograd_up(n, 16) / 16;
    return 16 * (lines >= 4 ? lines | 1 : lines);
}

/* The same between the 16 planes of `rows` rows. */
static inline int64_t winograd_plane(int64_t rows, int64_t stride)
{
    return 16 * (rows * stride / 16 | 1);
}

/* n < LANES values at p as a vector, the rest 0, and back. */
#if LANES == 16
static inline vec winograd_get_some(const float *p, int64_t n)
{
    return (vec)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

static inline void winograd_put_some(float *p, int64_t n, vec v)
{
    _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), (__m512)v);
}
#elif LANES == 8
static inline __m256i winograd_mask(int64_t n)
{
    static const int32_t mask[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const __m256i *)(mask + 8 - n));
}

static inline vec winograd_get_some(const float *p, int64_t n)
{
    return (vec)_mm256_maskload_ps(p, winograd_mask(n));
}

static inline void winograd_put_some(float *p, int64_t n, vec v)
{
    _mm256_maskstore_ps(p, winograd_mask(n), (__m256)v);
}
#else
#define winograd_get_some vec_load
#define winograd_put_some vec_store
#endif

/* The only ways between activations and vectors. */
static inline vec winograd_get(const float *p, int64_t n)
{
    return n >= LANES ? *(const vec_anywhere *)p : winograd_get_some(p, n);
}

static inline void winograd_put(float *p, int64_t n, vec v)
{
    if (n >= LANES)
        *(vec_anywhere *)p = v;
    else
        winograd_put_some(p, n, v);
}

/* What is added to the outputs of one item. */
struct winograd_sums {
    const float *bias, *shift, *residual; /* [o], [o], as y; each may be NULL */
    bool add;
};

static inline struct winograd_sums winograd_sums_of(const struct winograd_output *out,
                                                    int64_t item, int64_t o)
{
    const float *shift = out->shift != NULL ? out->shift + item * o : NULL;
    return (struct winograd_sums){out->bias, shift, out->residual, out->add};
}

/* The part that all pixels share, of outputs o .. o + some. */
static inline vec winograd_offset(const struct winograd_sums *s, int64_t o,
                                  int64_t some)
{
    vec v = {0};
    if (s->bias != NULL)
        v += winograd_get(s->bias + o, some);
    if (s->shift != NULL)
        v += winograd_get(s->shift + o, some);
    return v;
}

/* y[at .. at + some] = v and the rest of the sums. */
static inline void winograd_finish(const struct winograd_sums *s, int64_t at,
                                   int64_t some, vec v, float *y)
{
    if (s->residual != NULL)
        v += winograd_get(s->residual + at, some);
    if (s->add)
        v += winograd_get(y + at, some);
    winograd_put(y + at, some, v);
}

/* Tiles of all items, numbered by item, row, column. */
struct winograd_grid {
    int64_t h, w, th, tw;
};

static inline struct winograd_grid winograd_grid_of(const struct winograd_shape *s)
{
    return (struct winograd_grid){s->h, s->w, (s->h + 1) / 2, (s->w + 1) / 2};
}

/* Where a tile's outputs begin. */
struct winograd_place {
    int64_t item, row, column;
};

static inline struct winograd_place winograd_place_of(const struct winograd_grid *g,
                                                      int64_t tile)
{
    int64_t row = tile / g->tw, item = row / g->th;
    return (struct winograd_place){item, 2 * (row - item * g->th),
                                   2 * (tile - row * g->tw)};
}

/* B^T d B of tile d [4, 4][c], whose pixels lie c floats and whose rows `row` floats
 * apart -> to [16 planes][c], c rounded up to whole vectors. */
static inline void winograd_input(const float *d, int64_t row, int64_t c, float *to,
                                  int64_t plane)
{
    for (int64_t k = 0; k < c; k += LANES) {
        vec t[4][4];
        int64_t column = c, below = row, step = plane;
        WINOGRAD_OPAQUE(column);
        WINOGRAD_OPAQUE(below);
        WINOGRAD_OPAQUE(step);
        for (int j = 0; j < 4; j++) {
            const float *at = d + j * column + k;
            vec a = winograd_get(at, c - k), b = winograd_get(at + below, c - k);
            vec e = winograd_get(at + 2 * below, c - k);
            vec f = winograd_get(at + 3 * below, c - k);
            t[0][j] = a - e;
            t[1][j] = b + e;
            t[2][j] = e - b;
            t[3][j] = b - f;
        }
        for (int i = 0; i < 4; i++) {
            float *v = to + 4 * i * step + k;
            *(vec *)v = t[i][0] - t[i][2];
            *(vec *)(v + step) = t[i][1] + t[i][2];
            *(vec *)(v + 2 * step) = t[i][2] - t[i][1];
            *(vec *)(v + 3 * step) = t[i][1] - t[i][3];
        }
    }
}

/* A tile at the picture's edge -> patch [4, 4][c], 0 outside. */
static inline void winograd_patch(const struct winograd_grid *g,
                                  struct winograd_place p, const float *x, int64_t c,
                                  float *patch)
{
    for (int64_t i = 0; i < 16; i++, patch += c) {
        int64_t row = p.row + i / 4, column = p.column + i % 4;
        const float *at = x + ((p.item * g->h + row) * g->w + column) * c;
        bool inside = row >= 0 && row < g->h && column >= 0 && column < g->w;
        if (!inside)
            memset(patch, 0, (size_t)c * sizeof *patch);
        for (int64_t k = 0; inside && k < c; k += LANES)
            vec_store(patch + k, c - k, winograd_get(at + k, c - k));
    }
}

/* V of tiles first .. first + count: to[16 planes][tile * stride + c]; patch [16 c] is
 * for working. */
static inline void winograd_input_tiles(const struct winograd_grid *g, int64_t first,
                                        int64_t count, const float *x, int64_t c,
                                        float *patch, float *to, int64_t plane)
{
    int64_t stride = winograd_stride(c);
    for (int64_t i = 0; i < count; i++) {
        struct winograd_place p = winograd_place_of(g, first + i);
        p.row--;
        p.column--;
        if (p.row >= 0 && p.row + 4 <= g->h && p.column >= 0 && p.column + 4 <= g->w)
            winograd_input(x + ((p.item * g->h + p.row) * g->w + p.column) * c,
                           g->w * c, c, to + i * stride, plane);
        else {
            winograd_patch(g, p, x, c, patch);
            winograd_input(patch, 4 * c, c, to + i * stride, plane);
        }
    }
}

/* c [rows, vectors * LANES] = a b, or += where add; element (i, p) of a is
 * a[i * a_row + p * a_step], row p of b is at b + p * b_step (aligned). */
struct winograd_product {
    const float *a, *b;
    float *c;
    int64_t k, a_row, a_step, b_step, c_row;
    bool add;
};

/* Each element is a chain of fused multiply-adds over k, whatever rows and vectors. */
WINOGRAD_INLINE void winograd_kernel(const int rows, const int vectors,
                                     struct winograd_product q)
{
    vec sum[2 * WINOGRAD_ROWS][2];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sum[i][j] = (vec){0};
    for (int64_t p = 0; p < q.k; p++, q.a += q.a_step, q.b += q.b_step) {
        vec b[2];
        for (int j = 0; j < vectors; j++)
            b[j] = *(const vec *)(q.b + j * LANES);
        for (int i = 0; i < rows; i++) {
            vec a = SPLAT(q.a[i * q.a_row]);
            for (int j = 0; j < vectors; j++)
                sum[i][j] = MULADD(a, b[j], sum[i][j]);
        }
    }
    if (q.add)
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++)
                sum[i][j] += *(const vec *)(q.c + i * q.c_row + j * LANES);
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            *(vec *)(q.c + i * q.c_row + j * LANES) = sum[i][j];
}

/* All rows, a multiple of 4, of one panel of columns. */
WINOGRAD_INLINE void winograd_panel(const int vectors, int64_t rows,
                                    struct winograd_product q)
{
    const int most = vectors == 2 ? WINOGRAD_ROWS : 2 * WINOGRAD_ROWS;
    while (rows > 0) {
        int64_t some = rows % most != 0 ? 4 : most;
        if (some == 4)
            winograd_kernel(4, vectors, q);
        else
            winograd_kernel(most, vectors, q);
        q.a += some * q.a_row;
        q.c += some * q.c_row;
        rows -= some;
    }
}

#endif

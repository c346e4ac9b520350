/* The usual blocked product: panels of a and b are copied into the order in which the
 * inner kernel reads them, padded with zeros to its size. */
#include "stages/nn/sgemm.h"

#include "stages/nn/vec.h"

/* As many accumulators as the registers hold. */
#define ROWS (LANES == 16 ? 12 : 6)
#define COLUMNS (2 * LANES)


_Static_assert(SGEMM_M % ROWS == 0 && SGEMM_N % COLUMNS == 0, "blocks hold whole panels");

static int64_t least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* to[panel][k][width]: `lines` lines of length k; lines are rows of a or columns of b. */
static void pack(int64_t lines, int64_t k, const float *from, int64_t line_step,
                 int64_t k_step, int width, float *to)
{
    for (int64_t first = 0; first < lines; first += width, to += k * width) {
        int64_t full = least(width, lines - first);
        const float *at = from + first * line_step;
        if (full < width)
            memset(to, 0, (size_t)(k * width) * sizeof *to);
        if (line_step == 1) {
            for (int64_t p = 0; p < k; p++)
                for (int64_t i = 0; i < full; i++)
                    to[p * width + i] = at[p * k_step + i];
        } else {
            for (int64_t i = 0; i < full; i++)
                for (int64_t p = 0; p < k; p++)
                    to[p * width + i] = at[i * line_step + p * k_step];
        }
    }
}

/* One tile [ROWS, COLUMNS] of the product of two panels, put or added. */
static inline void kernel(int64_t k, const float *a, const float *b, float *c,
                          int64_t stride, bool add)
{
    vec sum[ROWS][2];
    for (int i = 0; i < ROWS; i++)
        sum[i][0] = sum[i][1] = (vec){0};
    for (int64_t p = 0; p < k; p++, a += ROWS, b += COLUMNS) {
        vec left = *(const vec *)b, right = *(const vec *)(b + LANES);
        for (int i = 0; i < ROWS; i++) {
            vec x = SPLAT(a[i]);
            sum[i][0] = MULADD(x, left, sum[i][0]);
            sum[i][1] = MULADD(x, right, sum[i][1]);
        }
    }
    if (add)
        for (int i = 0; i < ROWS; i++) {
            sum[i][0] += *(const vec_anywhere *)(c + i * stride);
            sum[i][1] += *(const vec_anywhere *)(c + i * stride + LANES);
        }
    for (int i = 0; i < ROWS; i++) {
        *(vec_anywhere *)(c + i * stride) = sum[i][0];
        *(vec_anywhere *)(c + i * stride + LANES) = sum[i][1];
    }
}

/* A tile that reaches over the edge of c goes by way of a whole one. */
static void edge(struct extent e, const float *a, const float *b, float *c,
                 int64_t stride, bool add)
{
    float tile[ROWS * COLUMNS];
    kernel(e.k, a, b, tile, COLUMNS, false);
    for (int64_t i = 0; i < e.m; i++)
        for (int64_t j = 0; j < e.n; j++)
            c[i * stride + j] = tile[i * COLUMNS + j] + (add ? c[i * stride + j] : 0);
}

/* All tiles of one block: packed a [m, k], packed b [k, n]. */
static void block(struct extent e, const float *a, const float *b, float *c,
                  int64_t stride, bool add)
{
    for (int64_t j = 0; j < e.n; j += COLUMNS)
        for (int64_t i = 0; i < e.m; i += ROWS) {
            struct extent left = {least(ROWS, e.m - i), least(COLUMNS, e.n - j), e.k};
            float *to = c + i * stride + j;
            if (left.m == ROWS && left.n == COLUMNS)
                kernel(e.k, a + i * e.k, b + j * e.k, to, stride, add);
            else
                edge(left, a + i * e.k, b + j * e.k, to, stride, add);
        }
}

void sgemm(struct extent e, struct matrix a, struct matrix b, float *c, int64_t stride,
           bool add, float *work)
{
    float *packed_a = work, *packed_b = work + SGEMM_K * SGEMM_M;
    for (int64_t j = 0; j < e.n; j += SGEMM_N)
        for (int64_t p = 0; p < e.k; p += SGEMM_K) {
            struct extent part = {.n = least(SGEMM_N, e.n - j),
                                  .k = least(SGEMM_K, e.k - p)};
            pack(part.n, part.k, b.at + p * b.row + j * b.column, b.column, b.row,
                 COLUMNS, packed_b);
            for (int64_t i = 0; i < e.m; i += SGEMM_M) {
                part.m = least(SGEMM_M, e.m - i);
                pack(part.m, part.k, a.at + i * a.row + p * a.column, a.row, a.column,
                     ROWS, packed_a);
                block(part, packed_a, packed_b, c + i * stride + j, stride, add || p > 0);
            }
        }
}

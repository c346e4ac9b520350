/* One loop per operation, specialised by the compiler for each dtype. */
#include "stages/nn/accumulate.h"

#include "stages/nn/vec.h"

#define INLINE static inline __attribute__((always_inline))

/* Below this many values a second thread costs more than it brings; and how many values
 * a thread takes at a time. */
#define ENOUGH 32768
#define STRETCH 8192

INLINE void scaled(int64_t first, int64_t last, enum dtype type, float scale,
                   const void *x, void *y, bool add)
{
    for (int64_t i = first; i < last; i += LANES) {
        vec v = act_load(type, x, i, last - i) * SPLAT(scale);
        act_store(type, y, i, last - i, add ? act_load(type, y, i, last - i) + v : v);
    }
}

void accumulate_scaled(int64_t n, enum dtype type, float scale, const void *x, void *y,
                       bool add)
{
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t first = 0; first < n; first += STRETCH) {
        int64_t last = first + STRETCH < n ? first + STRETCH : n;
        if (type == DTYPE_F32)
            scaled(first, last, DTYPE_F32, scale, x, y, add);
        else
            scaled(first, last, DTYPE_BF16, scale, x, y, add);
    }
}

void accumulate(int64_t n, enum dtype type, const void *x, void *y, bool add)
{
    accumulate_scaled(n, type, 1, x, y, add);
}

INLINE void sum(int64_t first, int64_t last, enum dtype type, const void *a,
                const void *b, float scale, void *y)
{
    for (int64_t i = first; i < last; i += LANES) {
        vec v = act_load(type, a, i, last - i) + act_load(type, b, i, last - i);
        act_store(type, y, i, last - i, v * SPLAT(scale));
    }
}

void accumulate_sum(int64_t n, enum dtype type, const void *a, const void *b,
                    float scale, void *y)
{
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t first = 0; first < n; first += STRETCH) {
        int64_t last = first + STRETCH < n ? first + STRETCH : n;
        if (type == DTYPE_F32)
            sum(first, last, DTYPE_F32, a, b, scale, y);
        else
            sum(first, last, DTYPE_BF16, a, b, scale, y);
    }
}

/* Columns [j, j + LANES) of one item. */
INLINE void column_block(int64_t rows, int64_t c, int64_t j, enum dtype type,
                         const void *x, int64_t at, double *sums)
{
    double total[LANES] = {0};
    int64_t n = c - j < LANES ? c - j : LANES;
    for (int64_t first = 0; first < rows; first += 16) {
        int64_t last = first + 16 < rows ? first + 16 : rows;
        vec part = {0};
        for (int64_t r = first; r < last; r++)
            part += act_load(type, x, at + r * c + j, n);
        for (int k = 0; k < LANES; k++)
            total[k] += (double)part[k];
    }
    for (int64_t k = 0; k < n; k++)
        sums[j + k] = total[k];
}

void accumulate_columns(int64_t items, int64_t rows, int64_t c, enum dtype type,
                        const void *x, double *sums)
{
#pragma omp parallel for schedule(static) if (items * rows * c > ENOUGH)
    for (int64_t i = 0; i < items; i++)
        for (int64_t j = 0; j < c; j += LANES) {
            if (type == DTYPE_F32)
                column_block(rows, c, j, DTYPE_F32, x, i * rows * c, sums + i * c);
            else
                column_block(rows, c, j, DTYPE_BF16, x, i * rows * c, sums + i * c);
        }
}

void convert_to_f32(int64_t n, const bf16 *x, float *y)
{
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t i = 0; i < n; i += LANES)
        act_store(DTYPE_F32, y, i, n - i, act_load(DTYPE_BF16, x, i, n - i));
}

void convert_to_bf16(int64_t n, const float *x, bf16 *y, bool add)
{
#pragma omp parallel for schedule(static) if (n > ENOUGH)
    for (int64_t i = 0; i < n; i += LANES) {
        vec v = act_load(DTYPE_F32, x, i, n - i);
        act_store(DTYPE_BF16, y, i, n - i,
                  add ? act_load(DTYPE_BF16, y, i, n - i) + v : v);
    }
}

const float *weight_rounded(const struct tensor *w, struct arena *scratch)
{
    const int64_t n = tensor_count(w);
    float *to = arena_take(scratch, n, sizeof *to);
    for (int64_t i = 0; i < n; i++)
        to[i] = bf16_to_float(bf16_from_float(w->data[i]));
    return to;
}

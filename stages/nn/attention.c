/* Softmax of attention by rows, and the way of its results to activations. */
#include "stages/nn/attention.h"
#include "stages/nn/sgemm.h"
#include "stages/nn/vec.h"

#include <math.h>

int64_t attention_block(int64_t t)
{
    return t <= 256 ? t : 128;
}

float attention_scale(const struct attention_args *a)
{
    return 1.0f / sqrtf((float)(a->c / a->heads));
}

int64_t attention_head(const struct attention_args *a, int64_t i)
{
    return i / a->heads * a->t * a->c + i % a->heads * (a->c / a->heads);
}

static float row_max(int64_t n, const float *p)
{
    vec top = SPLAT(p[0]);
    float most = p[0];
    for (int64_t i = 0; i + LANES <= n; i += LANES)
        top = VEC_MAX(vec_load(p + i, LANES), top);
    for (int j = 0; j < LANES; j++)
        most = top[j] > most ? top[j] : most;
    for (int64_t i = n / LANES * LANES; i < n; i++)
        most = p[i] > most ? p[i] : most;
    return most;
}

/* Sum of p * q. */
static float row_dot(int64_t n, const float *p, const float *q)
{
    vec part = {0};
    int64_t i = 0;
    for (; i + LANES <= n; i += LANES)
        part = MULADD(vec_load(p + i, LANES), vec_load(q + i, LANES), part);
    if (i < n)
        part = MULADD(vec_load(p + i, n - i), vec_load(q + i, n - i), part);
    return vec_sum(part);
}

/* p = exp(scale * (s - max s)) in place, by rows; factor[i] = 1 / the sum of row i. */
void attention_exp(int64_t rows, int64_t t, float scale, float *s, float *factor)
{
    for (int64_t i = 0; i < rows; i++, s += t) {
        const vec shift = SPLAT(row_max(t, s) * -scale);
        vec part = {0};
        int64_t j = 0;
        for (; j + LANES <= t; j += LANES) {
            vec e = vec_exp(MULADD(vec_load(s + j, LANES), SPLAT(scale), shift));
            vec_store(s + j, LANES, e);
            part += e;
        }
        if (j < t) {
            vec e = vec_exp(MULADD(vec_load(s + j, t - j), SPLAT(scale), shift));
            vec_store(s + j, t - j, e);
            part += vec_load(s + j, t - j); /* zeros beyond the end */
        }
        factor[i] = 1.0f / vec_sum(part);
    }
}

void attention_scale_rows(int64_t rows, int64_t n, const float *factor, float *p)
{
    for (int64_t i = 0; i < rows; i++, p += n)
        for (int64_t j = 0; j < n; j++)
            p[j] *= factor[i];
}

void attention_softmax_dx(int64_t rows, int64_t t, float scale, const float *restrict p,
                          float *restrict ds)
{
    for (int64_t i = 0; i < rows; i++, p += t, ds += t) {
        float mean = row_dot(t, p, ds);
        for (int64_t j = 0; j < t; j++)
            ds[j] = p[j] * (ds[j] - mean) * scale;
    }
}

/* from [t, d] dense -> columns of rows of length c, from value `at` on. */
static ALWAYS_INLINE void put_rows(enum dtype type, struct extent e, int64_t c,
                                   const float *from, void *to, int64_t at, bool add)
{
    for (int64_t i = 0; i < e.m; i++, from += e.n, at += c)
        for (int64_t j = 0; j < e.n; j += LANES) {
            vec v = vec_load(from + j, e.n - j);
            if (add)
                v += act_load(type, to, at + j, e.n - j);
            act_store(type, to, at + j, e.n - j, v);
        }
}

void attention_put(const struct attention_args *a, int64_t rows, const float *from,
                   void *to, int64_t at, bool add)
{
    const struct extent e = {.m = rows, .n = a->c / a->heads};
    if (to == NULL)
        return;
    if (a->type == DTYPE_BF16)
        put_rows(DTYPE_BF16, e, a->c, from, to, at, add);
    else
        put_rows(DTYPE_F32, e, a->c, from, to, at, add);
}

/* Vectors of the machine's width for the loops that the compiler does not vectorise well
 * by itself, and exp on them. A tail goes through the same vector code as the rest, so
 * that a value's bits do not depend on where a loop was cut. */
#ifndef SLUICE_STAGES_NN_VEC_H
#define SLUICE_STAGES_NN_VEC_H

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define SPLAT(x) ((vec)_mm512_set1_ps(x))
#define MULADD(a, b, c) ((vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define VEC_MAX(a, b) ((vec)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define VEC_MIN(a, b) ((vec)_mm512_min_ps((__m512)(a), (__m512)(b)))
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define SPLAT(x) ((vec)_mm256_set1_ps(x))
#define MULADD(a, b, c) ((vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define VEC_MAX(a, b) ((vec)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define VEC_MIN(a, b) ((vec)_mm256_min_ps((__m256)(a), (__m256)(b)))
#else
#define LANES 4
#define SPLAT(x) ((vec){x, x, x, x})
#define MULADD(a, b, c) ((a) * (b) + (c))
#define VEC_MAX(a, b) vec_pick(a, b, (a) > (b))
#define VEC_MIN(a, b) vec_pick(a, b, (a) < (b))
#endif

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));

/* a where the mask is set, else b; so VEC_MAX and VEC_MIN give b where either is NaN. */
static inline vec vec_pick(vec a, vec b, ivec mask)
{
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
}

/* The first n values at p, at most a vector of them; the rest 0. */
static inline vec vec_load(const float *p, int64_t n)
{
    vec v = {0};
    if (n >= LANES)
        return *(const vec_anywhere *)p;
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static inline void vec_store(float *p, int64_t n, vec v)
{
    if (n >= LANES)
        *(vec_anywhere *)p = v;
    else
        memcpy(p, &v, (size_t)n * sizeof *p);
}

/* exp: within 2 units in the last place on [-87, 88], clamped outside, NaN stays NaN.
 * 2^k e^r with r = x - k ln 2; e^r by a polynomial of degree 6 (Cephes, Moshier). */
static inline vec vec_exp(vec x)
{
    x = VEC_MIN(SPLAT(88.0f), x);
    x = VEC_MAX(SPLAT(-87.0f), x);
    vec magic = SPLAT(12582912.0f); /* 1.5 * 2^23: rounds to an integer */
    vec k = MULADD(x, SPLAT(1.44269504f), magic), whole = k - magic;
    vec r = MULADD(whole, SPLAT(-0.693359375f), x); /* ln 2 in two parts */
    r = MULADD(whole, SPLAT(2.12194440e-4f), r);
    vec p = MULADD(SPLAT(1.3981999507e-3f), r, SPLAT(8.3334519073e-3f));
    p = MULADD(p, r, SPLAT(4.1665795894e-2f));
    p = MULADD(p, r, SPLAT(1.6666665459e-1f));
    p = MULADD(p, r, SPLAT(0.5f));
    p = MULADD(p, r * r, r) + SPLAT(1.0f);
    return p * (vec)(((ivec)k << 23) + 0x3f800000);
}

static inline vec vec_sigmoid(vec z)
{
    return SPLAT(1.0f) / (SPLAT(1.0f) + vec_exp((vec){0} - z));
}

static inline vec vec_silu(vec z)
{
    return z * vec_sigmoid(z);
}

/* d silu(z) / dz */
static inline vec vec_silu_slope(vec z)
{
    vec s = vec_sigmoid(z);
    return s * MULADD(z, SPLAT(1.0f) - s, SPLAT(1.0f));
}

/* In a fixed order. */
static inline float vec_sum(vec v)
{
    float sum = 0;
    for (int i = 0; i < LANES; i++)
        sum += v[i];
    return sum;
}

#endif

/* Vectors of the machine's width for the loops that the compiler does not vectorise
 * well by itself, and exp on them. A tail goes through the same vector code as the
 * rest, so that a value's bits do not depend on where a loop was cut. */
#ifndef SLUICE_STAGES_NN_VEC_H
#define SLUICE_STAGES_NN_VEC_H

#include "stages/nn/tensor.h"

#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LANES 16
#define SPLAT(x) ((vec)_mm512_set1_ps(x))
#define MULADD(a, b, c) ((vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define VEC_MAX(a, b) ((vec)_mm512_max_ps((__m512)(a), (__m512)(b)))
#define VEC_MIN(a, b) ((vec)_mm512_min_ps((__m512)(a), (__m512)(b)))
#define WIDEN(h) ((uvec)_mm512_cvtepu16_epi32((__m256i)(h)))
#define NARROW(u) ((halves)_mm512_cvtepi32_epi16((__m512i)(u)))
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LANES 8
#define SPLAT(x) ((vec)_mm256_set1_ps(x))
#define MULADD(a, b, c) ((vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define VEC_MAX(a, b) ((vec)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define VEC_MIN(a, b) ((vec)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define BLEND(a, b, mask) \
    ((vec)_mm256_blendv_ps((__m256)(b), (__m256)(a), (__m256)(mask)))
#define WIDEN(h) ((uvec)_mm256_cvtepu16_epi32((__m128i)(h)))
#define NARROW(u)                                                   \
    ((halves)_mm_packus_epi32(_mm256_castsi256_si128((__m256i)(u)), \
                              _mm256_extracti128_si256((__m256i)(u), 1)))
#else
#define LANES 4
#define SPLAT(x) ((vec){x, x, x, x})
#define MULADD(a, b, c) ((a) * (b) + (c))
#define VEC_MAX(a, b) vec_pick(a, b, (a) > (b))
#define VEC_MIN(a, b) vec_pick(a, b, (a) < (b))
#define WIDEN(h) __builtin_convertvector(h, uvec)
#define NARROW(u) __builtin_convertvector(u, halves)
#endif
#define ALWAYS_INLINE inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * LANES)));
typedef float vec_anywhere __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t ivec __attribute__((vector_size(4 * LANES)));
typedef uint32_t uvec __attribute__((vector_size(4 * LANES)));
typedef bf16 halves __attribute__((vector_size(2 * LANES)));
typedef bf16 halves_anywhere __attribute__((vector_size(2 * LANES), aligned(2)));

/* a where the mask is set, else b; so VEC_MAX and VEC_MIN give b where either is NaN.
 */
static inline vec vec_pick(vec a, vec b, ivec mask)
{
#ifdef BLEND
    return BLEND(a, b, mask);
#else
    return (vec)(((ivec)a & mask) | ((ivec)b & ~mask));
#endif
}

/* The first n values at p, at most a vector of them; the rest 0. */
static ALWAYS_INLINE vec vec_load(const float *p, int64_t n)
{
    vec v = {0};
    if (n >= LANES)
        return *(const vec_anywhere *)p;
    memcpy(&v, p, (size_t)n * sizeof *p);
    return v;
}

static ALWAYS_INLINE void vec_store(float *p, int64_t n, vec v)
{
    if (n >= LANES)
        *(vec_anywhere *)p = v;
    else
        memcpy(p, &v, (size_t)n * sizeof *p);
}

/* e^(sign x) = 2^k p, sign 1 or -1: p is returned, between 0.7 and 1.5, and k in the
 * low bits of a float. By a polynomial of degree 6 in r = x - k ln 2 (Cephes, Moshier).
 */
static inline vec vec_exp_parts(vec x, float sign, vec *k)
{
    const vec magic = SPLAT(12582912.0f); /* 1.5 * 2^23: rounds to an integer */
    *k = MULADD(x, SPLAT(sign * 1.44269504f), magic);
    vec whole = *k - magic;
    vec r = MULADD(whole, SPLAT(sign * -0.693359375f), x); /* ln 2 in two parts */
    r = MULADD(whole, SPLAT(sign * 2.12194440e-4f), r);
    vec p = MULADD(SPLAT(1.3981999507e-3f), r, SPLAT(sign * 8.3334519073e-3f));
    p = MULADD(p, r, SPLAT(4.1665795894e-2f));
    p = MULADD(p, r, SPLAT(sign * 1.6666665459e-1f));
    p = MULADD(p, r, SPLAT(0.5f));
    p = MULADD(p, r, SPLAT(sign));
    return MULADD(p, r, SPLAT(1.0f));
}

/* exp: within 2.1 units of 2^-23 of the value on [-87, 88] (2 with fused products),
 * clamped outside, NaN stays NaN. */
static inline vec vec_exp(vec x)
{
    vec k;
    x = VEC_MIN(SPLAT(88.0f), x);
    x = VEC_MAX(SPLAT(-87.0f), x);
    vec p = vec_exp_parts(x, 1, &k);
    return p * (vec)(((ivec)k << 23) + 0x3f800000);
}

/* Within 2.5 units of 2^-23 of the value on [-87, 87], clamped outside. Of NaN: any
 * value, so that callers multiply by z. */
static inline vec vec_sigmoid(vec z)
{
    vec k;
    z = VEC_MIN(SPLAT(87.0f), z);
    z = VEC_MAX(SPLAT(-87.0f), z);
    vec p = vec_exp_parts(z, -1, &k);
    vec e = (vec)((ivec)p + ((ivec)k << 23)); /* 2^k p */
    return SPLAT(1.0f) /
           (SPLAT(1.0f) + e); /* not by a table, whose bits are the maker's */
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

static inline float bf16_to_float(bf16 x)
{
    uint32_t bits = (uint32_t)x << 16;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

/* Round to nearest, ties to even; NaN becomes a quiet NaN. */
static inline bf16 bf16_from_float(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    if (v != v)
        return (bf16)(bits >> 16 | 0x40);
    return (bf16)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

/* As vec_load and vec_store: n values, at most a vector of them. */
static ALWAYS_INLINE vec vec_load_bf16(const bf16 *p, int64_t n)
{
    halves h = {0};
    if (n >= LANES)
        h = *(const halves_anywhere *)p;
    else
        memcpy(&h, p, (size_t)n * sizeof *p);
    return (vec)(WIDEN(h) << 16);
}

/* v rounded to bf16 in the upper half of each value; the lower half is of no meaning.
 */
static inline uvec vec_upper_bf16(vec v)
{
    uvec bits = (uvec)v, even = bits + 0x7fff + (bits >> 16 & 1);
    return (uvec)vec_pick((vec)even, (vec)(bits | 0x400000), v == v);
}

/* v rounded to bf16, as float32. */
static inline vec vec_round_bf16(vec v)
{
    return (vec)(vec_upper_bf16(v) & 0xffff0000);
}

static ALWAYS_INLINE void vec_store_bf16(bf16 *p, int64_t n, vec v)
{
    halves h = NARROW(vec_upper_bf16(v) >> 16);
    if (n >= LANES)
        *(halves_anywhere *)p = h;
    else
        memcpy(p, &h, (size_t)n * sizeof *p);
}

/* For kernels that are written once and specialised by a constant type: n values, at
 * most a vector of them, from `index` on. */
static ALWAYS_INLINE vec act_load(enum dtype type, const void *base, int64_t index,
                                  int64_t n)
{
    return type == DTYPE_BF16 ? vec_load_bf16((const bf16 *)base + index, n)
                              : vec_load((const float *)base + index, n);
}

static ALWAYS_INLINE void act_store(enum dtype type, void *base, int64_t index,
                                    int64_t n, vec v)
{
    if (type == DTYPE_BF16)
        vec_store_bf16((bf16 *)base + index, n, v);
    else
        vec_store((float *)base + index, n, v);
}

/* base + index values of that type. */
static inline void *act_at(enum dtype type, const void *base, int64_t index)
{
    return (char *)base + index * (type == DTYPE_BF16 ? 2 : 4);
}

#endif

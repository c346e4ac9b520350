/* exp for loops that the compiler vectorises: within 1.5 units in the last place on
 * [-87, 88], clamped outside, NaN stays NaN. */
#ifndef SLUICE_STAGES_NN_VEXP_H
#define SLUICE_STAGES_NN_VEXP_H

#include <math.h>
#include <stdint.h>

#ifdef FP_FAST_FMAF
#define VEXP_MULADD(a, b, c) fmaf(a, b, c)
#else
#define VEXP_MULADD(a, b, c) ((a) * (b) + (c))
#endif

/* 2^k e^r, r = x - k ln 2 in [-ln2/2, ln2/2]; e^r by a polynomial of degree 6. */
static inline float vexp(float x)
{
    union {
        float f;
        uint32_t u;
    } k, scale;
    x = x > 88.0f ? 88.0f : x;
    x = x < -87.0f ? -87.0f : x;
    k.f = VEXP_MULADD(x, 1.44269504f, 12582912.0f); /* 1.5 * 2^23: rounds to integer */
    float whole = k.f - 12582912.0f;
    float r = VEXP_MULADD(whole, -0.693359375f, x); /* ln 2 in two parts */
    r = VEXP_MULADD(whole, 2.12194440e-4f, r);
    float p = 1.3981999507e-3f;
    p = VEXP_MULADD(p, r, 8.3334519073e-3f);
    p = VEXP_MULADD(p, r, 4.1665795894e-2f);
    p = VEXP_MULADD(p, r, 1.6666665459e-1f);
    p = VEXP_MULADD(p, r, 0.5f);
    p = VEXP_MULADD(p, r * r, r) + 1.0f;
    scale.u = (k.u << 23) + 0x3f800000u;
    return p * scale.f;
}

static inline float vsigmoid(float z)
{
    return 1.0f / (1.0f + vexp(-z));
}

/* d silu(z) / dz */
static inline float vsilu_slope(float z)
{
    float s = vsigmoid(z);
    return s * VEXP_MULADD(z, 1.0f - s, 1.0f);
}

#endif

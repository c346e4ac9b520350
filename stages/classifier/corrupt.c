/* Kinds of damage. Number 0 of the key's stream chooses the kind, 1 the strength, those
 * from 2 on places; noise has a stream of its own. */
#include "stages/classifier/corrupt.h"

#include "io/sys/rng.h"

#include <math.h>
#include <string.h>

enum { BLOCK = 8 };

static double strength(uint64_t key, double low, double high)
{
    return low + (high - low) * rng_uniform(key, 1);
}

static void add_noise(int64_t n, uint64_t key, float *y)
{
    const float scale = (float)strength(key, 0.15, 0.6);
    float z[256];
    for (int64_t at = 0; at < n; at += 256) {
        int64_t m = n - at < 256 ? n - at : 256;
        rng_normal(rng_mix64(key + (uint64_t)at), z, m);
        for (int64_t i = 0; i < m; i++)
            y[at + i] += scale * z[i];
    }
}

/* Means of 3 x 3 pixels, in place; the border repeats. */
static void blur_plane(int64_t h, int64_t w, float *y)
{
    for (int64_t i = 0; i < h; i++) { /* along rows */
        float left = y[i * w];
        for (int64_t k = 0; k < w; k++) {
            float here = y[i * w + k], right = y[i * w + (k + 1 < w ? k + 1 : k)];
            y[i * w + k] = (left + here + right) / 3;
            left = here;
        }
    }
    for (int64_t k = 0; k < w; k++) { /* along columns */
        float above = y[k];
        for (int64_t i = 0; i < h; i++) {
            float here = y[i * w + k], below = y[(i + 1 < h ? i + 1 : i) * w + k];
            y[i * w + k] = (above + here + below) / 3;
            above = here;
        }
    }
}

static void blur(const int64_t dim[3], uint64_t key, float *y)
{
    for (int64_t times = 1 + rng_below(key, 1, 3); times > 0; times--)
        for (int64_t c = 0; c < dim[0]; c++)
            blur_plane(dim[1], dim[2], y + c * dim[1] * dim[2]);
}

/* A rectangle of a quarter to a half of each side becomes one colour. */
static void erase(const int64_t dim[3], uint64_t key, float *y)
{
    int64_t at[2], size[2];
    for (int k = 0; k < 2; k++) {
        int64_t side = dim[1 + k], low = (side + 3) / 4, high = (side + 1) / 2;
        size[k] = low + rng_below(key, 2 + 2 * k, high - low + 1);
        at[k] = rng_below(key, 3 + 2 * k, side - size[k] + 1);
    }
    for (int64_t c = 0; c < dim[0]; c++) {
        const float colour = (float)(2 * rng_uniform(key, 6 + c) - 1);
        for (int64_t i = at[0]; i < at[0] + size[0]; i++)
            for (int64_t k = at[1]; k < at[1] + size[1]; k++)
                y[(c * dim[1] + i) * dim[2] + k] = colour;
    }
}

/* The orthonormal cosine transform of n values at distance `step`, or its inverse. */
static void cosines(int64_t n, int64_t step, int back, float *y)
{
    double out[BLOCK];
    for (int64_t i = 0; i < n; i++) {
        out[i] = 0;
        for (int64_t k = 0; k < n; k++) {
            int64_t place = back ? i : k, wave = back ? k : i;
            double unit = sqrt((wave == 0 ? 1.0 : 2.0) / (double)n);
            out[i] += unit *
                      cos(M_PI * ((double)place + 0.5) * (double)wave / (double)n) *
                      (double)y[k * step];
        }
    }
    for (int64_t i = 0; i < n; i++)
        y[i * step] = (float)out[i];
}

static void transform(int64_t h, int64_t w, int64_t row, int back, float *y)
{
    for (int64_t i = 0; i < h; i++)
        cosines(w, 1, back, y + i * row);
    for (int64_t k = 0; k < w; k++)
        cosines(h, row, back, y + k);
}

/* Blocks of 8 x 8: coefficients in steps that grow with the frequency. */
static void quantise(const int64_t dim[3], uint64_t key, float *y)
{
    const double step = strength(key, 0.2, 0.6);
    for (int64_t c = 0; c < dim[0]; c++)
        for (int64_t i = 0; i < dim[1]; i += BLOCK)
            for (int64_t k = 0; k < dim[2]; k += BLOCK) {
                int64_t h = dim[1] - i < BLOCK ? dim[1] - i : BLOCK;
                int64_t w = dim[2] - k < BLOCK ? dim[2] - k : BLOCK;
                float *block = y + (c * dim[1] + i) * dim[2] + k;
                transform(h, w, dim[2], 0, block);
                for (int64_t a = 0; a < h; a++)
                    for (int64_t b = 0; b < w; b++) {
                        double q = step * (1 + 0.5 * (double)(a + b));
                        float *v = block + a * dim[2] + b;
                        *v = (float)(q * rint((double)*v / q));
                    }
                transform(h, w, dim[2], 1, block);
            }
}

/* One value in 16, at least one, jumps by 2 to 4 up or down. */
static void spikes(int64_t n, uint64_t key, float *y)
{
    const double size = strength(key, 2, 4);
    for (int64_t i = 0; i < (n + 15) / 16; i++)
        y[rng_below(key, 2 + 2 * i, n)] +=
            (float)((rng_u64(key, 3 + 2 * i) & 1) != 0 ? size : -size);
}

void corrupt_sample(const int64_t dim[3], uint64_t key, const float *x, float *y)
{
    const int64_t n = dim[0] * dim[1] * dim[2];
    memcpy(y, x, (size_t)n * sizeof *y);
    if (dim[1] == 1) {
        if ((rng_u64(key, 0) & 1) != 0)
            spikes(n, key, y);
        else
            add_noise(n, key, y);
        return;
    }
    switch (rng_below(key, 0, 4)) {
    case 0:
        add_noise(n, key, y);
        break;
    case 1:
        blur(dim, key, y);
        break;
    case 2:
        erase(dim, key, y);
        break;
    default:
        quantise(dim, key, y);
        break;
    }
}

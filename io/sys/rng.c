/* Counter-based random numbers: splitmix64's finaliser over key + counter. */
#include "io/sys/rng.h"

#include "io/sys/mem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define GOLDEN UINT64_C(0x9E3779B97F4A7C15)

uint64_t rng_mix64(uint64_t x)
{
    x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
    return x ^ (x >> 31);
}

uint64_t rng_fnv1a64(const char *s)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *s != '\0'; s++)
        h = (h ^ (unsigned char)*s) * UINT64_C(0x100000001b3);
    return h;
}

uint64_t rng_key(uint64_t seed, enum rng_use use, int64_t a, int64_t b, int64_t c,
                 int64_t d)
{
    uint64_t k = rng_mix64(seed + GOLDEN);
    const uint64_t word[5] = {(uint64_t)use, (uint64_t)a, (uint64_t)b, (uint64_t)c,
                              (uint64_t)d};
    for (int i = 0; i < 5; i++)
        k = rng_mix64((k ^ word[i]) + (uint64_t)(i + 2) * GOLDEN);
    return k;
}

uint64_t rng_u64(uint64_t key, int64_t i)
{
    return rng_mix64(key + ((uint64_t)i + 1) * GOLDEN);
}

double rng_uniform(uint64_t key, int64_t i)
{
    return (double)(rng_u64(key, i) >> 11) * 0x1p-53;
}

int64_t rng_below(uint64_t key, int64_t i, int64_t n)
{
    return (int64_t)(((unsigned __int128)rng_u64(key, i) * (uint64_t)n) >> 64);
}

void rng_normal(uint64_t key, float *out, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double u1 = (double)((rng_u64(key, 2 * i) >> 11) + 1) * 0x1p-53; /* (0, 1] */
        double u2 = (double)(rng_u64(key, 2 * i + 1) >> 11) * 0x1p-53;
        out[i] = (float)(sqrt(-2.0 * log(u1)) * cos(6.283185307179586476925 * u2));
    }
}

struct ranked {
    uint64_t hash;
    int64_t index;
};

static int by_hash(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->hash != y->hash)
        return x->hash < y->hash ? -1 : 1;
    return (x->index > y->index) - (x->index < y->index);
}

void rng_permutation(uint64_t key, int64_t *perm, int64_t n)
{
    struct ranked *r = mem_alloc(n, sizeof *r);
    for (int64_t i = 0; i < n; i++)
        r[i] = (struct ranked){rng_u64(key, i), i};
    qsort(r, (size_t)n, sizeof *r, by_hash);
    for (int64_t i = 0; i < n; i++)
        perm[i] = r[i].index;
    mem_free(r);
}

uint64_t rng_name_key(const char *name, uint64_t seed)
{
    return rng_fnv1a64(name) ^ rng_mix64(seed);
}

void rng_detinit(const char *name, uint64_t seed, int nd, const int64_t *dim, float *out)
{
    uint64_t key = rng_name_key(name, seed);
    int64_t n = 1, fan_in = 1;
    for (int i = 0; i < nd; i++) {
        n *= dim[i];
        fan_in *= i > 0 ? dim[i] : 1;
    }
    size_t len = strlen(name);
    double base = 0, scale = 0.1;
    if (nd >= 2)
        scale = sqrt(3.0 / (double)fan_in);
    else if (len >= 7 && strcmp(name + len - 7, ".weight") == 0)
        base = 1;
    for (int64_t i = 0; i < n; i++) {
        double v = 2.0 * ((double)(rng_u64(key, i) >> 40) * 0x1p-24) - 1.0;
        out[i] = (float)(base + v * scale);
    }
}

/* Counter-based random numbers, keyed by meaning and never by rank or order: the same
 * key gives the same numbers on any number of ranks.
 *
 * Also the project's deterministic weight generator ("detinit"), by which networks of
 * any shape can be filled identically here and in a reference implementation. */
#ifndef SLUICE_IO_SYS_RNG_H
#define SLUICE_IO_SYS_RNG_H

#include <stdint.h>

/* What a stream of random numbers is for; part of the key. Never renumber. */
enum rng_use {
    RNG_NOISE = 1,   /* a sampler's noise: (iteration, prompt, copy, step) */
    RNG_PROMPT = 2,  /* the draw of prompts: (iteration, group) */
    RNG_SHUFFLE = 3, /* order of samples: (iteration, inner epoch) */
    RNG_STEPS = 4,   /* order of one sample's steps: (iteration, inner epoch, sample) */
    RNG_DATA = 5,    /* pretraining: order and augmentation of data */
    RNG_FORWARD = 6, /* pretraining: noise and timesteps */
    RNG_INIT = 7,    /* weight initialisation */
    RNG_RENOISE = 8, /* timestep and noise of final samples that are noised again:
                        (iteration, inner epoch, sample, 2 draw and 2 draw + 1) */
    RNG_QUERY = 9,     /* noise of a reward's answers: (iteration, sample) */
    RNG_SEARCH = 10,   /* guided sampling and noise optimisation */
    RNG_FEATURES = 11, /* random features, resampling and draws of learned rewards */
    RNG_TRUNCATE = 12, /* which steps of a chain keep their gradient */
    RNG_CLASSIFIER = 13, /* classifier training: order, corruption, initial values */
    RNG_TEST = 99,
};

/* The key of a stream: seed, use and up to four integers of meaning. */
uint64_t rng_key(uint64_t seed, enum rng_use use, int64_t a, int64_t b, int64_t c,
                 int64_t d);

/* Number i of the stream: 64 uniform bits (splitmix64 of key + (i+1) * golden ratio). */
uint64_t rng_u64(uint64_t key, int64_t i);

/* Uniform in [0, 1) with 53 bits; uniform integer in [0, n) without modulo bias that
 * matters (128-bit multiply). */
double rng_uniform(uint64_t key, int64_t i);
int64_t rng_below(uint64_t key, int64_t i, int64_t n);

/* out[0..n): standard normals, Box-Muller (cosine) on numbers 2i and 2i+1, in double,
 * rounded once to float. */
void rng_normal(uint64_t key, float *out, int64_t n);

/* perm[0..n): a permutation, the argsort of n hash values (ties by index). */
void rng_permutation(uint64_t key, int64_t *perm, int64_t n);

/* detinit: key of a parameter name, and its values. nd and dim: the shape as in the
 * file. 2 or more dimensions: uniform with variance 1/fan_in, fan_in = product of
 * dim[1..]; 1-D "*.weight": 1 + 0.1 v; other 1-D: 0.1 v; v uniform in [-1, 1). */
uint64_t rng_name_key(const char *name, uint64_t seed);
void rng_detinit(const char *name, uint64_t seed, int nd, const int64_t *dim, float *out);

uint64_t rng_fnv1a64(const char *s);
uint64_t rng_mix64(uint64_t x);

#endif

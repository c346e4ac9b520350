/* The canonical tree in one process against its definition. */
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/reduce.h"
#include "tests/tap.h"

/* Node [lo, hi) as the header defines it. */
static float defined(const float *leaf, int64_t n, int64_t i, int64_t lo, int64_t hi)
{
    if (hi - lo == 1)
        return leaf[lo * n + i];
    int64_t half = 1;
    while (2 * half < hi - lo)
        half *= 2;
    return defined(leaf, n, i, lo, lo + half) + defined(leaf, n, i, lo + half, hi);
}

static void one_tree(int64_t n, int64_t leaves)
{
    struct comm c = comm_self();
    float *leaf = mem_alloc(n * leaves, sizeof *leaf), *out = mem_alloc(n, sizeof *out);
    float *whole = mem_alloc(n, sizeof *whole);
    int64_t first, number, at, len, wrong = 0;
    rng_normal(rng_key(9, RNG_TEST, n, leaves, 0, 0), leaf, n * leaves);
    struct reduce *r = reduce_create(&c, n, leaves);
    reduce_leaves(r, &first, &number);
    reduce_slice(r, &at, &len);
    for (int step = 0; step < 2; step++) { /* the second one after the reset */
        for (int64_t k = 0; k < leaves; k++)
            reduce_add(r, leaf + k * n);
        wrong += reduce_finish(r, out) != 0;
        for (int64_t i = 0; i < n; i++)
            wrong += out[i] != defined(leaf, n, i, 0, leaves);
    }
    double norm2, plain = 0;
    for (int64_t i = 0; i < n; i++)
        plain += (double)out[i] * (double)out[i];
    wrong += reduce_norm2(r, out, &norm2) != 0 || fabs(norm2 - plain) > 1e-12 * plain;
    wrong += reduce_spread(r, out, whole) != 0 ||
             memcmp(out, whole, (size_t)n * sizeof *out) != 0;
    tap_ok(wrong == 0 && first == 0 && number == leaves && at == 0 && len == n,
           "n %lld, %lld leaves: %lld wrong", (long long)n, (long long)leaves,
           (long long)wrong);
    reduce_destroy(r);
    mem_free(leaf);
    mem_free(out);
    mem_free(whole);
}

int main(void)
{
    for (int64_t leaves = 1; leaves <= 33; leaves++)
        one_tree(7, leaves);
    one_tree(3 * REDUCE_CHUNK + 17, 5);
    one_tree(REDUCE_CHUNK, 100);
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

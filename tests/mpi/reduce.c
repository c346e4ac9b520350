/* ranks: 1 2 3 5 8 */
/* The canonical tree over ranks: the bits of the serial tree at every rank count, also
 * with more ranks than leaves or chunks. Rank 0 prints. */
#include "io/sys/comm.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/nn/reduce.h"
#include "tests/ranks.h"

static void leaf_values(int64_t n, int64_t k, int step, float *out)
{
    rng_normal(rng_key(21, RNG_TEST, n, k, step, 0), out, n);
}

/* Every rank evaluates the whole tree by its definition: out[n] <- node [lo, hi). */
static void defined(int64_t n, int64_t lo, int64_t hi, int step, float *out)
{
    if (hi - lo == 1) {
        leaf_values(n, lo, step, out);
        return;
    }
    int64_t half = 1;
    while (2 * half < hi - lo)
        half *= 2;
    float *right = mem_alloc(n, sizeof *right);
    defined(n, lo, lo + half, step, out);
    defined(n, lo + half, hi, step, right);
    for (int64_t i = 0; i < n; i++)
        out[i] += right[i];
    mem_free(right);
}

static int64_t one_step(const struct comm *c, struct reduce *r, int64_t n,
                        int64_t leaves, int step)
{
    int64_t first, number, at, len, wrong = 0;
    float *leaf = mem_alloc(n, sizeof *leaf), *want = mem_alloc(n, sizeof *want);
    float *whole = mem_alloc(n, sizeof *whole);
    reduce_leaves(r, &first, &number);
    reduce_slice(r, &at, &len);
    float *slice = mem_alloc(len, sizeof *slice);
    for (int64_t k = first; k < first + number; k++) {
        leaf_values(n, k, step, leaf);
        reduce_add(r, leaf);
    }
    wrong += reduce_finish(r, slice) != 0;
    defined(n, 0, leaves, step, want);
    wrong += memcmp(slice, want + at, (size_t)len * sizeof *slice) != 0;
    wrong += reduce_spread(r, slice, whole) != 0;
    wrong += memcmp(whole, want, (size_t)n * sizeof *whole) != 0;
    /* The norm in one process is the reference. */
    struct comm self = comm_self();
    struct reduce *serial = reduce_create(&self, n, leaves);
    double norm2 = -1, serial_norm2 = -2;
    wrong += reduce_norm2(r, slice, &norm2) != 0;
    wrong += reduce_norm2(serial, want, &serial_norm2) != 0;
    wrong += memcmp(&norm2, &serial_norm2, sizeof norm2) != 0;
    reduce_destroy(serial);
    mem_free(leaf);
    mem_free(want);
    mem_free(whole);
    mem_free(slice);
    if (comm_sum_i64(c, &wrong, 1) != 0)
        ERR_BUG("%s", err_text());
    return wrong;
}

static void one_tree(const struct comm *c, int64_t n, int64_t leaves)
{
    struct reduce *r = reduce_create(c, n, leaves);
    int64_t first, number, most;
    reduce_leaves(r, &first, &number);
    double busiest = (double)number;
    int64_t covered = number;
    if (comm_max_f64(c, &busiest, 1) != 0 || comm_sum_i64(c, &covered, 1) != 0)
        ERR_BUG("%s", err_text());
    most = (leaves + c->size - 1) / c->size;
    int64_t wrong = one_step(c, r, n, leaves, 0) + one_step(c, r, n, leaves, 1);
    reduce_destroy(r);
    if (c->rank == 0)
        tap_ok(wrong == 0 && covered == leaves && (int64_t)busiest == most,
               "%d ranks, n %lld, %lld leaves: %lld wrong, at most %g leaves a rank",
               c->size, (long long)n, (long long)leaves, (long long)wrong, busiest);
}

int main(int argc, char **argv)
{
    static const int64_t n[] = {1, 100, REDUCE_CHUNK, 3 * REDUCE_CHUNK + 17,
                                20 * REDUCE_CHUNK + 1};
    static const int64_t leaves[] = {1, 2, 3, 4, 5, 7, 8, 11, 16, 30, 37};
    struct comm c = ranks_begin(&argc, &argv);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        for (size_t k = 0; k < sizeof leaves / sizeof *leaves; k++)
            one_tree(&c, n[i], leaves[k]);
    return ranks_end(&c);
}

/* Hashes and weights of the generator against the reference implementation; the
 * streams' distribution and independence of order. */
#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/tap.h"

static void streams(void)
{
    enum { N = 100000 };
    uint64_t key = rng_key(7, RNG_NOISE, 1, 2, 3, 4);
    float *v = mem_alloc(N, sizeof *v), *part = mem_alloc(10, sizeof *part);
    double moment[5] = {0};
    rng_normal(key, v, N);
    rng_normal(key, part, 10);
    tap_ok(memcmp(v, part, 10 * sizeof *v) == 0, "a prefix has the same numbers");
    for (int64_t i = 0; i < N; i++)
        for (int p = 1; p <= 4; p++)
            moment[p] += pow((double)v[i], p) / N;
    tap_near(moment[1], 0, 4 / sqrt(N), "mean of normals");
    tap_near(moment[2], 1, 4 * sqrt(2.0 / N), "second moment");
    tap_near(moment[3], 0, 4 * sqrt(15.0 / N), "third moment");
    tap_near(moment[4], 3, 4 * sqrt(96.0 / N), "fourth moment");
    uint64_t other[] = {
        rng_key(8, RNG_NOISE, 1, 2, 3, 4), rng_key(7, RNG_PROMPT, 1, 2, 3, 4),
        rng_key(7, RNG_NOISE, 2, 1, 3, 4), rng_key(7, RNG_NOISE, 1, 2, 4, 3),
        rng_key(7, RNG_NOISE, 0, 2, 3, 4), rng_key(7, RNG_NOISE, 1, 2, 3, -4)};
    int64_t same = 0;
    for (size_t i = 0; i < sizeof other / sizeof *other; i++)
        same += other[i] == key;
    tap_ok(same == 0, "every part of the meaning changes the key");
    mem_free(v);
    mem_free(part);
}

static void integers(void)
{
    int64_t seen[7] = {0}, perm[100], hit[100] = {0}, wrong = 0, fixed = 0;
    uint64_t key = rng_key(1, RNG_TEST, 0, 0, 0, 0);
    for (int64_t i = 0; i < 70000; i++) {
        int64_t k = rng_below(key, i, 7);
        wrong += k < 0 || k >= 7;
        seen[k < 0 || k >= 7 ? 0 : k]++;
    }
    for (int k = 0; k < 7; k++)
        wrong += llabs(seen[k] - 10000) > 400; /* 4.3 standard deviations */
    tap_ok(wrong == 0, "integers below 7 are uniform");
    rng_permutation(key, perm, 100);
    for (int i = 0; i < 100; i++) {
        hit[perm[i]]++;
        fixed += perm[i] == i;
    }
    for (int i = 0; i < 100; i++)
        wrong += hit[i] != 1;
    tap_ok(wrong == 0 && fixed < 10, "a permutation of 100");
}

static void vectors(void)
{
    const char *path = tap_shared("goldens/detinit/vectors.json");
    struct json *j = path != NULL ? json_read(path, 1 << 20) : NULL;
    if (j == NULL) {
        tap_skip("hashes", "the reference numbers are absent");
        return;
    }
    int64_t seed = 0, wrong = 0;
    const char *name;
    json_to_i64(json_get(j, "seed"), &seed);
    const struct json *fnv = json_get(j, "fnv1a64"), *hashes = json_get(j, "hashes");
    for (int64_t i = 0; i < json_count(fnv); i++) {
        const char *hex = json_text(json_entry(fnv, i, &name));
        wrong += rng_fnv1a64(name) != strtoull(hex, NULL, 16);
    }
    tap_ok(wrong == 0, "FNV-1a of names");
    tap_ok(rng_mix64((uint64_t)seed) ==
               strtoull(json_text(json_get(j, "mix64_of_seed")), NULL, 16),
           "mix64 of the seed");
    const struct json *list = json_entry(hashes, 0, &name);
    uint64_t key = rng_name_key(name, (uint64_t)seed);
    for (int64_t i = 0; i < json_count(list); i++)
        wrong += rng_u64(key, i) != strtoull(json_text(json_item(list, i)), NULL, 16);
    tap_ok(wrong == 0, "hashes of %s", name);
    json_free(j);
}

/* One parameter's values: the first four and the sum. */
static int same_weights(const struct json *params, const char *name, uint64_t seed)
{
    const struct json *shape = json_get(json_get(params, "shapes"), name);
    const struct json *first = json_get(json_get(params, "first4"), name);
    int64_t dim[4], n = 1;
    double sum = 0, want;
    for (int64_t i = 0; i < json_count(shape); i++) {
        if (i >= 4 || !json_to_i64(json_item(shape, i), &dim[i]))
            ERR_BUG("shape of %s", name);
        n *= dim[i];
    }
    float *v = mem_alloc(n, sizeof *v);
    rng_detinit(name, seed, (int)json_count(shape), dim, v);
    int same = 1;
    for (int64_t i = 0; i < json_count(first); i++)
        same &= json_to_f64(json_item(first, i), &want) && (double)v[i] == want;
    for (int64_t i = 0; i < n; i++)
        sum += (double)v[i];
    same &= json_to_f64(json_get(json_get(params, "sum_f64"), name), &want) &&
            fabs(sum - want) < 1e-9 * (double)n;
    mem_free(v);
    return same;
}

static void weights(void)
{
    const char *path = tap_shared("goldens/unet_cifar10/params.json");
    struct json *j = path != NULL ? json_read(path, 1 << 20) : NULL;
    if (j == NULL) {
        tap_skip("weights", "the reference numbers are absent");
        return;
    }
    const struct json *order = json_get(j, "grad_order");
    int64_t seed = 0, wrong = 0, n = json_count(order);
    json_to_i64(json_get(j, "weight_seed"), &seed);
    for (int64_t i = 0; i < n; i++)
        wrong += !same_weights(j, json_text(json_item(order, i)), (uint64_t)seed);
    tap_ok(n > 300 && wrong == 0, "weights of %lld parameters, %lld wrong",
           (long long)n, (long long)wrong);
    json_free(j);
}

int main(void)
{
    streams();
    integers();
    vectors();
    weights();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* Kernels. Tolerances are wide of rounding (1e-6) and narrow of any wrong kernel
 * (1e-1). */
#include "io/sys/clock.h"
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/selftest/selftest.h"

#include <math.h>
#include <string.h>

#define NEAR 1e-4 /* relative, of the largest element */

enum { BATCH = 2, SIZE = 8, VALUES = BATCH * 3 * SIZE * SIZE, KEPT = 4 };

/* Outputs, VALUES / KEPT apart, of the plain loops: selftest_network(8, SIZE), noise of
 * key 7, timestep 500. tests/unit/unet_golden.c compares the same code with the peer.
 */
static const double kept[KEPT] = {-0.675229, -0.022864, 0.127886, 0.096886};

static const char gaussian[] =
    "{\"_class_name\": \"GaussianDenoiser\", \"mean\": 0.5, \"variance\": 0.25, "
    "\"channels\": 3, \"sample_size\": 8, \"beta_start\": 1e-4, \"beta_end\": 0.02, "
    "\"beta_schedule\": \"linear\", \"num_train_timesteps\": 1000}";

/* out[VALUES] <- the network's prediction; grad, where not NULL, the gradient of their
 * sum by each parameter. */
static int predict(const struct compute *o, struct model *m, float *out, float *grad)
{
    float x[VALUES], when[BATCH], seed[VALUES];
    const struct model_input in = {
        .batch = BATCH, .height = SIZE, .width = SIZE, .x = x, .timesteps = when};
    struct tape *tape = compute_open(o, NULL);
    struct tensor *y = NULL;
    if (tape == NULL)
        return -1;
    rng_normal(rng_key(7, RNG_TEST, 0, 0, 0, 0), x, VALUES);
    for (int i = 0; i < BATCH; i++)
        when[i] = 500;
    for (int i = 0; i < VALUES; i++)
        seed[i] = 1;
    tape_begin(tape, grad != NULL);
    int rc = (y = model_forward(m, tape, &in, NULL)) == NULL ? -1 : 0;
    if (rc == 0)
        memcpy(out, y->data, VALUES * sizeof *out);
    if (rc == 0 && grad != NULL) {
        int64_t n = param_total(model_params(m));
        memset(param_grads(model_params(m)), 0, (size_t)n * sizeof *grad);
        rc = tape_backward(tape, y, seed);
        memcpy(grad, param_grads(model_params(m)), (size_t)n * sizeof *grad);
    }
    tape_destroy(tape);
    return rc;
}

/* The largest difference in units of the largest element of b. */
static double distance(const float *a, const float *b, int64_t n)
{
    double apart = 0, most = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = fabs((double)a[i] - (double)b[i]);
        apart = d > apart || isnan(d) ? d : apart;
        most = fmax(most, fabs((double)b[i]));
    }
    return apart / most;
}

/* eps(x, t) as stages/model/gaussian.h has it, with shift 0. */
static int closed_form(const struct compute *o)
{
    float x[VALUES], out[VALUES], want[VALUES];
    double bar = 1;
    struct model *m = model_new_text(gaussian, "the self-test's denoiser", 1);
    int rc = m == NULL ? -1 : 0;
    if (rc == 0) {
        memset(param_values(model_params(m)), 0, sizeof(float));
        param_touch(model_params(m));
        rc = predict(o, m, out, NULL);
    }
    rng_normal(rng_key(7, RNG_TEST, 0, 0, 0, 0), x, VALUES);
    for (int i = 0; i <= 500; i++)
        bar *= 1 - (1e-4 + (0.02 - 1e-4) * i / 999);
    for (int i = 0; i < VALUES; i++)
        want[i] = (float)(sqrt(1 - bar) * ((double)x[i] - sqrt(bar) * 0.5) /
                          (bar * 0.25 + 1 - bar));
    if (rc == 0 && !(distance(out, want, VALUES) < NEAR))
        rc =
            err_set(ERR_NUMERIC, "the Gaussian denoiser is off its closed form by %.1e",
                    distance(out, want, VALUES));
    model_destroy(m);
    return rc;
}

static int against_plain(const struct compute *fast, float *out, double *apart)
{
    struct compute plain = *fast;
    float slow[VALUES], at[KEPT], want[KEPT];
    struct model *m = selftest_network(8, SIZE);
    if (m == NULL)
        return -1;
    plain.backend = "reference";
    int64_t n = param_total(model_params(m));
    float *g = mem_alloc(2 * n, sizeof *g);
    int rc = predict(fast, m, out, g) != 0 ? -1 : predict(&plain, m, slow, g + n);
    for (int i = 0; i < KEPT; i++) {
        at[i] = slow[i * (VALUES / KEPT)];
        want[i] = (float)kept[i];
    }
    *apart = fmax(distance(out, slow, VALUES), distance(g, g + n, n));
    if (rc == 0 && !(*apart < NEAR))
        rc = err_set(ERR_NUMERIC, "plain loops and the fast path differ by %.1e",
                     *apart);
    else if (rc == 0 && !(distance(at, want, KEPT) < NEAR))
        rc =
            err_set(ERR_NUMERIC, "a network gives %.6f %.6f %.6f %.6f, not %g %g %g %g",
                    (double)at[0], (double)at[1], (double)at[2], (double)at[3], kept[0],
                    kept[1], kept[2], kept[3]);
    mem_free(g);
    model_destroy(m);
    return rc;
}

/* The lowest rank whose bits are not rank 0's, or -1. Collective. */
static int other_bits(const struct comm *all, uint64_t mine)
{
    uint64_t *bits = mem_alloc(all->size, sizeof *bits);
    int64_t *one = mem_alloc(all->size, sizeof *one);
    int other = -1;
    for (int r = 0; r < all->size; r++)
        one[r] = 1;
    comm_gather_all(all, &mine, one, sizeof mine, bits);
    for (int r = all->size - 1; r > 0; r--)
        if (bits[r] != bits[0])
            other = r;
    mem_free(bits);
    mem_free(one);
    return other;
}

void selftest_arithmetic(struct selftest *t)
{
    char kernels[128];
    float out[VALUES] = {0};
    double apart = 0;
    uint64_t bits = 0;
    selftest_watch("arithmetic", 120);
    const struct backend *b = backend_get(t->compute.backend, t->compute.threads);
    int rc = b == NULL ? -1 : closed_form(&t->compute);
    if (rc == 0)
        rc = against_plain(&t->compute, out, &apart);
    for (size_t i = 0; i < VALUES; i++) {
        uint32_t word;
        memcpy(&word, &out[i], sizeof word);
        bits = rng_mix64(bits ^ word);
    }
    if (comm_agree(t->all, rc) != 0) {
        selftest_fail(
            t, "arithmetic",
            "build anew on a node like these (`make clean; make check`), with "
            "another compiler if that does not help");
        return;
    }
    int other = other_bits(t->all, bits);
    backend_describe(b, kernels, sizeof kernels);
    if (other >= 0)
        selftest_say(
            t, SELFTEST_FAILED, "arithmetic",
            "rank %d computes other bits than rank 0; use nodes of one processor "
            "family and one build",
            other);
    else
        selftest_say(
            t, SELFTEST_OK, "arithmetic",
            "closed form, kept numbers; plain loops within %.0e; %d ranks, same "
            "bits; %s",
            apart, t->all->size, kernels);
}

/* Evaluations in about `seconds`. */
static int evaluate(struct tape *tape, struct model *m, double seconds, double *rate)
{
    enum { N = 4, SIDE = 16 };
    static const float when[N] = {900, 500, 100, 10};
    float *x = mem_alloc(N * 3 * SIDE * SIDE, sizeof *x);
    const struct model_input in = {
        .batch = N, .height = SIDE, .width = SIDE, .x = x, .timesteps = when};
    int64_t n = 0;
    int rc = 0;
    double start = clock_s(), now = start;
    rng_normal(rng_key(7, RNG_TEST, 1, 0, 0, 0), x, N * 3 * SIDE * SIDE);
    do {
        tape_begin(tape, false);
        rc = model_forward(m, tape, &in, NULL) == NULL ? -1 : 0;
        n += N;
        now = clock_s();
    } while (rc == 0 && now - start < seconds);
    *rate = (double)n / (now - start);
    mem_free(x);
    return rc;
}

void selftest_throughput(struct selftest *t)
{
    const struct comm *all = t->all;
    double seconds = t->quick ? 0.3 : 2, alone = 0, rate = 0;
    selftest_watch("throughput", 120);
    struct model *m = selftest_network(32, 16);
    struct tape *tape = m == NULL ? NULL : compute_open(&t->compute, NULL);
    int rc = tape == NULL ? -1 : evaluate(tape, m, 0.05, &rate);
    rc = comm_agree(all, rc);
    if (rc == 0 && all->rank == 0)
        rc = evaluate(tape, m, seconds, &alone);
    rc = comm_agree(all, rc);
    if (rc == 0)
        rc = comm_agree(all, evaluate(tape, m, seconds, &rate));
    double sum = rate, worst = -rate, gflops = m == NULL ? 0 : model_flops(m) / 1e9;
    int64_t milli = (int64_t)(1000 * sum);
    tape_destroy(tape);
    model_destroy(m);
    if (rc != 0) {
        selftest_fail(t, "throughput", "see whether the memory suffices");
        return;
    }
    comm_sum_i64(all, &milli, 1);
    comm_max_f64(all, &worst, 1);
    double share = -worst / alone;
    bool slow = share < 0.6;
    selftest_say(
        t, slow ? SELFTEST_SLOW : SELFTEST_OK, "throughput",
        "%.0f evaluations/s of a small U-Net by %d ranks; rank 0 alone %.0f/s "
        "(%.1f Gflop/s); the slowest of all at once has %.0f %% of that%s",
        (double)milli / 1000, all->size, alone, alone * gflops, 100 * share,
        slow ? "; ranks share cores: ask for a core per rank, see how the launcher "
               "binds (mpirun --report-bindings), or expect so much less"
             : "");
}

/* Choosing what to ask, on the measured binding of all DNA 8-mers: rounds of noisy answers
 * for the candidates that the learned reward values most, against candidates taken as they
 * come. Where candidates are drawn afresh, greed explores by itself; optimism must then
 * cost little. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/learned.h"
#include "stages/reward/lookup.h"
#include "tests/tap.h"

enum { POOL = 250, BATCH = 25, ROUNDS = 5, LENGTH = 8, D = 4 * LENGTH };

static struct coding letters = {.kind = CODING_TEXT, .alphabet = "ACGT"};

static struct learned *open_learned(const char *kind, uint64_t seed)
{
    struct config *c = config_create(schema);
    struct learned *l = NULL;
    char *own = text_new("surrogate.kind=%s", kind);
    const char *const keys[] = {own, "surrogate.noise=0.1", "surrogate.lambda=10",
                                "surrogate.bonus=0.03"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (config_override(c, keys[i]) != 0)
            ERR_BUG("%s", err_text());
    const struct reward_scene s = {.channels = 4, .height = 1, .width = LENGTH,
                                   .coding = &letters, .config = c, .seed = seed};
    if (learned_open(&s, &l) != 0)
        ERR_BUG("%s", err_text());
    mem_free(own);
    config_destroy(c);
    return l;
}

/* The rows of a round's candidates, the same for every kind. */
static void draw_pool(const struct lookup *t, uint64_t seed, int64_t round, int64_t *row,
                      float *x)
{
    uint64_t key = rng_key(seed, RNG_TEST, round, 0, 0, 0);
    for (int64_t i = 0; i < POOL; i++) {
        row[i] = rng_below(key, i, lookup_rows(t));
        if (coding_encode_text(&letters, lookup_text(t, row[i]), LENGTH, x + i * D) != 0)
            ERR_BUG("%s", err_text());
    }
}

/* The candidate of highest value that is not taken. */
static int64_t best(const double *value, const uint8_t *taken)
{
    int64_t at = -1;
    for (int64_t i = 0; i < POOL; i++)
        if (!taken[i] && (at < 0 || value[i] > value[at]))
            at = i;
    return at;
}

/* Adds the mean regret per answer, the best candidates' mean less the mean of those asked,
 * of the first round, which knows nothing, and of the others. */
static void play(const struct lookup *t, const char *kind, uint64_t seed, double *blind,
                 double *regret)
{
    static float x[POOL * D], asked[BATCH * ROUNDS * D];
    static double answer[BATCH * ROUNDS], value[POOL], truth[POOL];
    int64_t row[POOL], n = 0;
    struct learned *l = open_learned(kind, seed);
    struct comm self = comm_self();
    double bonus;
    for (int64_t r = 0; r < ROUNDS; r++) {
        uint8_t taken[POOL] = {0}, top[POOL] = {0};
        draw_pool(t, seed, r, row, x);
        for (int64_t i = 0; i < POOL; i++) {
            truth[i] = lookup_values(t, row[i])[0];
            value[i] = r == 0 ? (double)-i : learned_value(l, x + i * D, &bonus, NULL);
        }
        for (int64_t k = 0; k < BATCH; k++) {
            int64_t i = best(value, taken), ideal = best(truth, top);
            taken[i] = top[ideal] = 1;
            *(r > 0 ? regret : blind) +=
                (truth[ideal] - truth[i]) / (BATCH * (r > 0 ? ROUNDS - 1 : 1));
            memcpy(asked + n * D, x + i * D, D * sizeof *x);
            answer[n++] = truth[i] + learned_noise(l, r, i);
        }
        const struct learned_data data = {.n = n, .sample = asked, .answer = answer};
        if (learned_fit(l, &self, r, &data) != 0)
            ERR_BUG("%s", err_text());
    }
    learned_close(l);
}

int main(void)
{
    const char *file = tap_shared("data/tfbind8/tfbind8.csv");
    if (file == NULL)
        return tap_skip_all("the binding of DNA 8-mers is not here (data/tfbind8)");
    static const char *const kinds[] = {"greedy", "ucb", "bootstrap", "thompson"};
    double regret[4] = {0}, blind[4] = {0};
    char *spec = text_new("%s:seq:SIX6_REF_R1", file);
    struct lookup *t = lookup_open("reward.table", spec, 1);
    mem_free(spec);
    if (t == NULL)
        ERR_BUG("%s", err_text());
    for (int k = 0; k < 4; k++)
        for (uint64_t seed = 0; seed < 2; seed++)
            play(t, kinds[k], seed, &blind[k], &regret[k]);
    lookup_close(t);
    for (int k = 0; k < 4; k++) {
        double least = k < 3 ? 0.7 : 0.8; /* a draw of the posterior explores most */
        tap_ok(regret[k] < least * blind[k] && (k == 3 || regret[k] < regret[0] + 0.06),
               "%s: regret %.3f per answer, blind %.3f, greedy %.3f", kinds[k],
               regret[k] / 2, blind[k] / 2, regret[0] / 2);
    }
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

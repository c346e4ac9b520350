/* Rewards in shared objects, built here with cc: what is wrong with one is refused by
 * name, garbage becomes a status, gradients go through the coding, threads change
 * nothing. */
#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

#include <fenv.h>
#include <unistd.h>

enum { N = 20, W = 6 };

static char folder[] = "/tmp/sluice-plugin.XXXXXX";

/* FOLDER/name.so from a source; false where the compiler fails. */
static bool build(const char *name, const char *source, const char *flags)
{
    const char *cc = getenv("CC");
    char *line =
        text_new("%s -O2 -fPIC -shared -Istages/reward/plugin %s -o %s/%s.so %s -lm",
                 cc != NULL ? cc : "cc", flags, folder, name, source);
    int rc = system(line);
    mem_free(line);
    return rc == 0;
}

static struct config *settings(const char *name, const char *options)
{
    char *set[] = {text_new("plugin.path=%s/%s", folder, name),
                   text_new("plugin.options=%s", options)};
    struct config *c = schema_load(2, set);
    if (c == NULL)
        ERR_BUG("%s", err_text());
    mem_free(set[0]);
    mem_free(set[1]);
    return c;
}

static void refused(const char *name, const char *options, enum err_code code,
                    const char *says)
{
    struct config *c = settings(name, options);
    const struct reward_scene s = {.channels = 1, .height = 1, .width = W, .config = c};
    void *ctx = NULL;
    int rc = reward_find("plugin")->open(&s, &ctx);
    tap_ok(rc == -1 && err_code() == code && strstr(err_text(), says) != NULL &&
               strstr(err_text(), "plugin.path") != NULL,
           "refused: %s", rc == -1 ? err_text() : "it opened");
    err_clear();
    config_destroy(c);
}

static void refusals(void)
{
    static const char *const bad[][2] = {{"1", "version 2 of the interface"},
                                         {"2", "has 8 bytes"},
                                         {"3", "no score function"},
                                         {"4", "no name"},
                                         {"5", "no description"},
                                         {"6", "no symbol"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *flags = text_new("-DCASE=%s", bad[i][0]),
             *name = text_new("%s.so", bad[i][0]);
        tap_ok(build(bad[i][0], "tests/data/plugin.c", flags), "case %s is built",
               bad[i][0]);
        refused(name, "", ERR_INPUT, bad[i][1]);
        mem_free(flags);
        mem_free(name);
    }
    refused("none.so", "", ERR_INPUT, "no such file");
    refused("good.so", "refuse", ERR_USAGE, "these are no options: refuse");
    refused("good.so", "missing", ERR_INPUT, "no options: missing");
    refused("good.so", "silent", ERR_INPUT, "it says no more");
    char *line = text_new("echo text > %s/text.so", folder);
    tap_ok(system(line) == 0, "a file of text is written");
    refused("text.so", "", ERR_INPUT, "cannot be loaded");
    mem_free(line);
    char empty[] = "plugin.path=", *set[] = {empty};
    struct config *c = schema_load(1, set);
    struct reward_traits t;
    tap_ok(reward_traits(reward_find("plugin"), c, &t) == -1 && err_code() == ERR_USAGE,
           "refused: %s", err_text());
    err_clear();
    config_destroy(c);
}

static void traits_of_options(void)
{
    struct config *c = settings("good.so", ""), *noisy = settings("good.so", "noisy");
    struct reward own;
    tap_ok(reward_settle(reward_find("plugin"), c, &own) == 0 && own.deterministic &&
               own.differentiable && strcmp(own.units, "kW") == 0,
           "flags and units are the plugin's");
    tap_ok(reward_settle(reward_find("plugin"), noisy, &own) == 0 &&
               !own.deterministic && !own.differentiable,
           "and may follow from its options");
    tap_ok(reward_settle(reward_find("brightness"), c, &own) == 0 && own.differentiable,
           "other rewards' are as they stand");
    config_destroy(c);
    config_destroy(noisy);
}

struct outcome {
    double score[N];
    uint8_t status[N];
    float gradient[N * W];
    int rc;
};

static struct outcome run(const char *name, const char *options,
                          const struct coding *coding, int64_t channels, const float *x,
                          const int64_t *label, bool gradient)
{
    struct config *c = settings(name, options);
    struct outcome o = {0};
    const struct reward_scene s = {
        .channels = channels, .height = 1, .width = W, .coding = coding, .config = c};
    const struct reward *r = reward_find("plugin");
    void *ctx = NULL;
    if (r->open(&s, &ctx) != 0)
        ERR_BUG("%s", err_text());
    const struct reward_batch b = {.n = N,
                                   .channels = channels,
                                   .height = 1,
                                   .width = W,
                                   .sample = x,
                                   .label = label,
                                   .score = o.score,
                                   .status = o.status,
                                   .gradient = gradient ? o.gradient : NULL};
    o.rc = r->score(ctx, &b);
    r->close(ctx);
    config_destroy(c);
    return o;
}

static void garbage(const float *x)
{
    static const uint8_t want[N] = {REWARD_NON_FINITE, REWARD_NON_FINITE,
                                    REWARD_FAILED,     REWARD_INFEASIBLE,
                                    REWARD_TIMED_OUT,  REWARD_NON_FINITE};
    tap_ok(build("garbage", "tests/data/plugin.c", "-DCASE=7") &&
               build("fails", "tests/data/plugin.c", "-DCASE=8"),
           "two more are built");
    struct outcome o = run("garbage.so", "", NULL, 1, x, NULL, true);
    bool clean = true;
    for (int64_t i = 0; i < N; i++) {
        clean &= o.status[i] == want[i] && isnan(o.score[i]) == (want[i] != REWARD_OK);
        for (int64_t j = 0; j < W; j++)
            clean &= want[i] == REWARD_OK ? o.gradient[i * W + j] > 0
                                          : o.gradient[i * W + j] == 0;
    }
    tap_ok(o.rc == 0 && clean,
           "garbage becomes statuses, without scores and gradients");
    o = run("fails.so", "", NULL, 1, x, NULL, false);
    tap_ok(o.rc == -1 && err_code() == ERR_REWARD &&
               strstr(err_text(), "the simulator is gone") != NULL,
           "the run ends: %s", err_text());
    err_clear();
    tap_ok(fegetround() == FE_TONEAREST, "rounding is as it was");
}

static void values(const float *x)
{
    int64_t label[N];
    for (int64_t i = 0; i < N; i++)
        label[i] = i % 3;
    struct outcome o = run("good.so", "", NULL, 1, x, label, true);
    double worst = 0;
    for (int64_t i = 0; i < N; i++) {
        double sum = 0;
        for (int64_t j = 0; j < W; j++)
            sum += (double)x[i * W + j];
        worst = fmax(worst, fabs(o.score[i] - sum / W * (double)(label[i] + 1)));
    }
    tap_near(worst, 0, 1e-12, "scores by sample and label");
    struct outcome later = run("later.so", "", NULL, 1, x, label, true);
    struct outcome threads = run("good.so", "noisy", NULL, 1, x, label, true);
    tap_ok(memcmp(&o, &later, sizeof o) == 0,
           "a longer description is the same reward");
    tap_ok(memcmp(&o, &threads, sizeof o) == 0,
           "calls of eight in threads: the same bits");
}

static void texts(void)
{
    struct coding c = {0};
    float x[N * 5 * W];
    coding_set_alphabet(&c, "ACGT ");
    for (int64_t i = 0; i < N; i++)
        if (coding_encode_text(&c, i % 2 == 0 ? "ACGT" : "A", W, x + i * 5 * W) != 0)
            ERR_BUG("%s", err_text());
    struct outcome o = run("good.so", "", &c, 5, x, NULL, false);
    tap_ok(o.score[0] == 4 && o.score[1] == 1 && o.score[19] == 1, "texts are read");
}

/* The example, on standardised logarithms: the gradient by the network's numbers. */
static void differences(const float *x)
{
    const struct coding c = {
        .kind = CODING_SERIES, .log = true, .mean = -0.3, .std = 0.8};
    float moved[N * W];
    double worst = 0, norm = 0;
    const char *target = "1 2 1 0.5, 3, 1";
    tap_ok(build("target", "examples/rewards/plugin_target.c", "-Wall -Wextra -Werror"),
           "the example is built");
    struct outcome o = run("target.so", target, &c, 1, x, NULL, true);
    for (int64_t j = 0; j < W; j++) {
        struct outcome at[2];
        float step[2];
        for (int k = 0; k < 2; k++) {
            memcpy(moved, x, sizeof moved);
            for (int64_t i = 0; i < N; i++)
                moved[i * W + j] += k == 0 ? 1e-3f : -1e-3f;
            step[k] = moved[j];
            at[k] = run("target.so", target, &c, 1, moved, NULL, false);
        }
        double d =
            (at[0].score[0] - at[1].score[0]) / ((double)step[0] - (double)step[1]);
        worst = fmax(worst, fabs(d - (double)o.gradient[j]));
        norm = hypot(norm, (double)o.gradient[j]);
    }
    tap_ok(norm > 0.01 && worst < 1e-3 * norm, "gradient %.3g, differences within %.2g",
           norm, worst);
    refused("target.so", "1 2", ERR_USAGE, "wants 1 or 6 numbers");
    refused("target.so", "one", ERR_USAGE, "wants 1 or 6 numbers");
}

int main(void)
{
    float x[N * W];
    log_set_level(LOG_QUIET);
    if (system("cc --version > /dev/null 2>&1") != 0 && getenv("CC") == NULL)
        return tap_skip_all("there is no cc");
    if (mkdtemp(folder) == NULL)
        ERR_BUG("mkdtemp");
    rng_normal(rng_key(7, RNG_TEST, 0, 0, 0, 0), x, N * W);
    int64_t before = mem_live();
    tap_ok(build("good", "tests/data/plugin.c", "-Wall -Wextra -Werror") &&
               build("later", "tests/data/plugin.c", "-DCASE=9"),
           "plugins are built");
    refusals();
    traits_of_options();
    values(x);
    texts();
    garbage(x);
    differences(x);
    tap_ok(mem_live() == before, "no memory is left");
    char *line = text_new("rm -r %s", folder);
    if (system(line) != 0)
        perror(line);
    mem_free(line);
    return tap_done();
}

/* Mixtures of real rewards: sums, offsets, scales, gradients against differences, statuses,
 * which samples remote components are asked for, retries, kept scores, refusals. */
#include "io/spawn.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/scorer.h"
#include "tests/tap.h"

#include <ftw.h>
#include <unistd.h>

enum { N = 6, D = 24 };

static char folder[64], asked[80], table_file[80];

static struct config *settings(const char *const *set)
{
    struct config *c = schema_load(0, NULL);
    for (; c != NULL && *set != NULL; set++)
        if (config_override(c, *set) != 0)
            ERR_BUG("%s", err_text());
    return c;
}

#define SETTINGS(...) settings((const char *const[]){__VA_ARGS__, NULL})

struct opened {
    struct config *c;
    struct reward r;
    void *ctx;
};

/* Opens what the configuration says; "" or the error. */
static const char *open_as(struct opened *o, struct config *c, const char *name,
                           struct reward_scene scene)
{
    *o = (struct opened){.c = c};
    err_clear();
    if (scorer_describe(c, name, &o->r) != 0)
        return err_text();
    scene.config = c;
    scene.name = name;
    scene.seed = 5;
    return o->r.open(&scene, &o->ctx) == 0 ? "" : err_text();
}

static void close_all(struct opened *o)
{
    if (o->ctx != NULL)
        o->r.close(o->ctx);
    config_destroy(o->c);
}

static const struct coding series = {.kind = CODING_SERIES, .std = 1};

static struct reward_scene days(const char *memory)
{
    return (struct reward_scene){.channels = 1, .height = 1, .width = D, .coding = &series,
                                 .memory = memory};
}

static void make_days(float *x)
{
    for (int i = 0; i < N * D; i++)
        x[i] = 0.2f + (float)((i * 37) % 101) / 40;
}

static struct reward_batch batch(const float *x, double *score, uint8_t *status)
{
    return (struct reward_batch){.n = N, .channels = 1, .height = 1, .width = D,
                                 .sample = x, .score = score, .status = status};
}

static void run(struct opened *o, const struct reward_batch *b)
{
    if (o->r.score(o->ctx, b) != 0)
        ERR_BUG("%s", err_text());
}

/* The same reward by itself, as its own code says it. */
static void plain(struct config *c, const char *name, const struct reward_batch *b)
{
    const struct reward *r = reward_find(name);
    void *ctx = NULL;
    struct reward_scene s = days(NULL);
    s.config = c;
    if ((r->open != NULL && r->open(&s, &ctx) != 0) || r->score(ctx, b) != 0)
        ERR_BUG("%s", err_text());
    if (r->close != NULL)
        r->close(ctx);
}

static void test_sum(void)
{
    struct opened o;
    float x[N * D], g[N * D], up[N * D];
    double score[N], peak[N], energy[N], ramp[N], shifted[N];
    uint8_t status[N];
    make_days(x);
    const char *said = open_as(
        &o,
        SETTINGS("reward.name=mixture", "components.a.name=power_peak",
                 "components.a.weight=2", "components.a.scale=4", "components.a.peak_cap=1",
                 "components.b.name=power_energy", "components.b.weight=-0.5",
                 "components.b.offset=-3", "reward.energy_low=50", "reward.energy_high=51",
                 "components.b.energy_high=60", "components.c.name=power_ramp",
                 "components.c.weight=0"),
        NULL, days(NULL));
    tap_ok(said[0] == '\0', "a mixture opens: %s", said);
    tap_ok(o.r.differentiable && o.r.deterministic && !o.r.remote && scorer_parts(o.ctx) == 3 &&
               scorer_mixes(o.ctx) && strcmp(scorer_part(o.ctx, 1)->name, "b") == 0,
           "what is known of it");
    struct reward_part *part = scorer_parts_create(o.ctx, N);
    struct reward_batch b = batch(x, score, status), one = b;
    b.part = part;
    b.gradient = g;
    run(&o, &b);
    struct config *c = SETTINGS("reward.peak_cap=1", "reward.energy_low=50",
                                "reward.energy_high=60");
    uint8_t other[N];
    one.status = other;
    one.score = peak;
    plain(c, "power_peak", &one);
    one.score = energy;
    plain(c, "power_energy", &one);
    one.score = ramp;
    plain(c, "power_ramp", &one);
    config_destroy(c);
    double worst = 0, apart = 0;
    for (int i = 0; i < N; i++) {
        worst = fmax(worst, fabs(score[i] - (peak[i] / 2 - 0.5 * (energy[i] + 3))));
        apart += fabs(part[0].score[i] - peak[i]) + fabs(part[1].score[i] - energy[i]) +
                 fabs(part[2].score[i] - ramp[i]) + status[i] + part[2].status[i];
    }
    tap_ok(worst < 1e-9 && peak[0] != 0 && energy[0] != 0, "weights, offsets, scales: %g", worst);
    tap_ok(apart == 0, "parts have the components' own scores, also of the watched one");
    worst = 0;
    for (int j = 0; j < N * D; j += 5) {
        memcpy(up, x, sizeof up);
        double at[2];
        struct reward_batch d = batch(up, shifted, other);
        for (int side = 0; side < 2; side++) {
            up[j] = x[j] + (side == 0 ? 0.01f : -0.01f);
            run(&o, &d);
            at[side] = shifted[j / D];
        }
        worst = fmax(worst, fabs((at[0] - at[1]) / 0.02 - (double)g[j]) / (1 + fabs((double)g[j])));
    }
    tap_ok(worst < 0.02, "gradient against differences: %g", worst);
    memset(g, 0, sizeof g);
    run(&o, &b);
    double total = 0;
    for (int j = 0; j < N * D; j++)
        total += fabs((double)g[j]);
    tap_ok(total > 0, "gradients again");
    scorer_parts_free(part, o.ctx);
    close_all(&o);
}

static void test_single(void)
{
    struct opened o;
    float x[N * D];
    double score[N], want[N];
    uint8_t status[N], skip[N] = {0, 1, 0, 0, 1, 0};
    make_days(x);
    const char *said = open_as(&o, SETTINGS("reward.name=brightness", "reward.weight=3",
                                            "reward.offset=1", "reward.scale=2",
                                            "components.idle.name=power_ramp",
                                            "reward.guard=idle"),
                               NULL, days(NULL));
    tap_ok(said[0] == '\0' && !scorer_mixes(o.ctx) && scorer_parts(o.ctx) == 1 &&
               strcmp(o.r.name, "brightness") == 0,
           "one reward, a component as its guard: %s", said);
    struct reward_batch b = batch(x, want, status);
    struct config *c = SETTINGS("run.seed=1");
    plain(c, "brightness", &b);
    config_destroy(c);
    b.score = score;
    b.skip = skip;
    for (int i = 0; i < N; i++) {
        score[i] = -7;
        status[i] = 9;
    }
    run(&o, &b);
    int bad = 0;
    for (int i = 0; i < N; i++)
        bad += skip[i] ? score[i] != -7 || status[i] != 9
                       : status[i] != 0 || fabs(score[i] - 1.5 * (want[i] - 1)) > 1e-12;
    tap_ok(bad == 0, "weighted; what is to be left out stays as it is");
    close_all(&o);
    said = open_as(&o, SETTINGS("reward.name=mixture", "components.a.name=brightness",
                                "components.a.weight=5", "components.b.name=power_peak"),
                   "a", days(NULL));
    b.skip = NULL;
    run(&o, &b);
    tap_ok(said[0] == '\0' && fabs(score[2] - want[2]) < 1e-12 && strcmp(o.r.name, "a") == 0,
           "a component by its name says it without weight");
    close_all(&o);
}

static void test_overflow(void)
{
    struct opened o;
    float x[N * D] = {0}, g[N * D];
    double score[N];
    uint8_t status[N];
    int bad = 0;
    for (int i = 0; i < N * D; i++)
        x[i] = i / D % 2 == 0 ? 1 : 3e38f;
    x[2 * D] = NAN;
    open_as(&o, SETTINGS("reward.name=mixture", "components.a.name=power_energy",
                         "components.a.weight=1e9", "components.a.scale=1e-30",
                         "components.a.offset=-1e30", "components.b.name=brightness"),
            NULL, days(NULL));
    struct reward_batch b = batch(x, score, status);
    b.gradient = g;
    run(&o, &b);
    for (int i = 0; i < N; i++) {
        bad += (status[i] == REWARD_OK) != isfinite(score[i]);
        for (int j = 0; j < D; j++)
            bad += !isfinite(g[i * D + j]) || (status[i] != REWARD_OK && g[i * D + j] != 0);
    }
    tap_ok(bad == 0 && status[1] == REWARD_NON_FINITE && status[2] == REWARD_NON_FINITE,
           "what overflows is a status: %d %d %d", status[0], status[1], status[2]);
    close_all(&o);
}

/* Lines of the log that exec_log.pl writes; number: only those of this sample, or -1. */
static int questions(int number)
{
    FILE *f = fopen(asked, "r");
    int n = 0, iteration, which;
    double v;
    while (f != NULL && fscanf(f, "%d %d %lf", &iteration, &which, &v) == 3)
        n += number < 0 || which == number;
    if (f != NULL)
        fclose(f);
    return n;
}

static char *program(const char *part, const char *way)
{
    return text_new("components.%s.exec.command=perl tests/tools/exec_log.pl %s", part, way);
}

static struct coding letters;

static struct reward_scene texts(const char *memory)
{
    return (struct reward_scene){.channels = 4, .height = 1, .width = 2, .coding = &letters,
                                 .memory = memory};
}

/* CO is no row of the table. */
static void make_texts(float *x)
{
    static const char *const s[N] = {"CC", "CO", "C", "OC", "CO", "O"};
    for (int i = 0; i < N; i++)
        if (coding_encode_text(&letters, s[i], 2, x + i * 8) != 0)
            ERR_BUG("%s", err_text());
}

static void test_gate(void)
{
    struct opened o;
    float x[N * 8];
    double score[N];
    uint8_t status[N];
    make_texts(x);
    char *command = program("far", ""), *again = program("watched", "");
    char *file = text_new("reward.table=%s:s:v", table_file);
    const char *said = open_as(
        &o,
        SETTINGS("reward.name=mixture", file, "components.gate.name=table",
                 "components.far.name=exec", command, "components.idle.name=table",
                 "components.idle.weight=0", "components.idle.noise=1"),
        NULL, texts(NULL));
    tap_ok(said[0] == '\0' && o.r.remote && !o.r.deterministic && !o.r.differentiable,
           "a table before a program: %s", said);
    struct reward_part *part = scorer_parts_create(o.ctx, N);
    struct reward_batch b = {.n = N, .channels = 4, .height = 1, .width = 2, .sample = x,
                             .first = 10, .score = score, .status = status, .part = part};
    run(&o, &b);
    static const double want[N] = {1 + 2, NAN, 2 + 1, 3 + 2, NAN, 4 + 1};
    int bad = 0;
    for (int i = 0; i < N; i++)
        bad += isnan(want[i]) ? status[i] != REWARD_INFEASIBLE || !isnan(score[i]) ||
                                    part[1].status[i] != REWARD_NOT_ASKED ||
                                    !isnan(part[1].score[i])
                              : status[i] != REWARD_OK || fabs(score[i] - want[i]) > 1e-12;
    tap_ok(bad == 0, "the first loss is the whole's; others have their sum");
    tap_ok(questions(-1) == 4 && questions(11) == 0 && questions(14) == 0,
           "the program is not asked for what is lost");
    tap_ok(part[2].status[0] == REWARD_OK && part[2].score[0] != 1 &&
               part[2].status[1] == REWARD_INFEASIBLE,
           "the watched one has noise of its own and loses nothing");
    scorer_parts_free(part, o.ctx);
    close_all(&o);
    unlink(asked);
    /* The other way round, a watched program: all are asked. */
    said = open_as(&o, SETTINGS("reward.name=mixture", file, "components.watched.name=exec",
                                again, "components.watched.weight=0",
                                "components.gate.name=table"),
                   NULL, texts(NULL));
    b.part = NULL;
    run(&o, &b);
    tap_ok(said[0] == '\0' && questions(-1) == N && fabs(score[3] - 3) < 1e-12 &&
               !o.r.remote,
           "a watched program that stands first is asked for all: %s", said);
    close_all(&o);
    unlink(asked);
    mem_free(command);
    mem_free(again);
    mem_free(file);
}

static void test_retries(void)
{
    struct opened o;
    float x[N * D];
    double score[N], first[N];
    uint8_t status[N];
    make_days(x);
    char *flaky = program("a", "flaky"), *third = program("a", "third");
    for (int retries = 0; retries < 2; retries++) {
        char *set = text_new("reward.retries=%d", retries);
        open_as(&o, SETTINGS("reward.name=mixture", "components.a.name=exec", flaky, set,
                             "exec.attempts=1", "components.b.name=brightness"),
                NULL, days(NULL));
        struct reward_batch b = batch(x, score, status);
        run(&o, &b);
        int ok = 0;
        for (int i = 0; i < N; i++)
            ok += status[i] == REWARD_OK;
        tap_ok(retries == 0 ? ok == 0 && status[0] == REWARD_FAILED : ok == N,
               "retries %d: %d of 6 have a score", retries, ok);
        tap_ok(questions(-1) == N * (1 + retries), "each is asked %d times", 1 + retries);
        close_all(&o);
        mem_free(set);
        unlink(asked);
    }
    for (int go = 0; go < 2; go++) {
        open_as(&o, SETTINGS("reward.name=mixture", "components.a.name=exec", third,
                             "components.b.name=brightness", "reward.retries=2",
                             "exec.attempts=1"),
                NULL, days(folder));
        struct reward_batch b = batch(x, go == 0 ? first : score, status);
        run(&o, &b);
        tap_ok(questions(0) == 3 * (go + 1) && questions(3) == 3 * (go + 1) &&
                   questions(-1) == (go == 0 ? 10 : 16),
               "only failures are asked again, also by the next process: %d", questions(-1));
        close_all(&o);
    }
    int bad = 0;
    for (int i = 0; i < N; i++)
        bad += i % 3 == 0 ? status[i] != REWARD_FAILED : score[i] != first[i];
    tap_ok(bad == 0, "kept scores are the same bits");
    unlink(asked);
    mem_free(flaky);
    mem_free(third);
}

/* Two components with the same random program: each keeps its own answers. */
static void test_two_of_a_kind(void)
{
    struct opened o;
    float x[N * D];
    double score[2][N];
    uint8_t status[N];
    make_days(x);
    char *a = program("a", "lucky"), *b = program("b", "lucky");
    char *kept = text_new("%s/two", folder);
    for (int go = 0; go < 2; go++) {
        open_as(&o, SETTINGS("reward.name=mixture", "components.a.name=exec", a,
                             "components.b.name=exec", b, "components.b.weight=7"),
                NULL, days(kept));
        struct reward_batch one = batch(x, score[go], status);
        run(&o, &one);
        close_all(&o);
    }
    tap_ok(memcmp(score[0], score[1], sizeof *score) == 0 && questions(-1) == 2 * N,
           "two random programs: %d questions, the sum has the same bits", questions(-1));
    unlink(asked);
    mem_free(a);
    mem_free(b);
    mem_free(kept);
}

static void refuse(const char *said, struct config *c)
{
    struct opened o;
    const char *got = open_as(&o, c, NULL, days(NULL));
    tap_ok(strstr(got, said) != NULL, "refused with '%s': %s", said,
           got[0] == '\0' ? "(accepted)" : got);
    close_all(&o);
}

#define MIX "reward.name=mixture"
#define B "components.b.name=brightness"

static void test_refusals(void)
{
    refuse("needs components with a weight", SETTINGS(MIX));
    refuse("needs components with a weight", SETTINGS(MIX, B, "components.b.weight=0"));
    refuse("needs components with a weight", SETTINGS(MIX, B, "reward.guard=b"));
    refuse("they would not be asked", SETTINGS("reward.name=brightness", B));
    refuse("they would not be asked",
           SETTINGS("reward.name=brightness", B, "reward.guard=power_peak"));
    refuse("0 leaves nothing", SETTINGS("reward.name=brightness", "reward.weight=0"));
    refuse("components.a: names mixture", SETTINGS(MIX, B, "components.a.name=mixture"));
    refuse("components.a: name is missing", SETTINGS(MIX, B, "components.a.weight=2"));
    refuse("components.a", SETTINGS(MIX, B, "components.a.name=brightnes"));
    refuse("components.guard: this name",
           SETTINGS(MIX, B, "components.guard.name=brightness"));
    refuse("components.gradient: this name",
           SETTINGS(MIX, B, "components.gradient.name=brightness"));
    refuse("components.mixture: this name",
           SETTINGS(MIX, B, "components.mixture.name=brightness"));
    refuse("reward.guard: mixture is the reward", SETTINGS(MIX, B, "reward.guard=mixture"));
    refuse("reward.retries belongs to the run", SETTINGS(MIX, B, "components.b.retries=2"));
    refuse("reward.budget belongs to the run", SETTINGS(MIX, B, "components.b.budget=20"));
    refuse("reward.cache belongs to the run", SETTINGS(MIX, B, "components.b.cache=x"));
    refuse("components.t", SETTINGS(MIX, B, "components.t.name=table"));
    static const char *const bad[] = {"plugin", "memorisation", "molecule_property", "http",
                                      "exec", "classifier"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        char *name = text_new("components.t.name=%s", bad[i]);
        refuse("components.t", SETTINGS(MIX, B, name));
        mem_free(name);
    }
}

static int drop(const char *p, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(p);
}

int main(void)
{
    const char *rows = "s,v\nCC,1\nC,2\nOC,3\nO,4\n";
    log_set_level(LOG_QUIET);
    snprintf(folder, sizeof folder, "/tmp/sluice_scorer_%ld", (long)getpid());
    snprintf(asked, sizeof asked, "%s/asked", folder);
    snprintf(table_file, sizeof table_file, "%s/t.csv", folder);
    if (file_make_dirs(folder) != 0 || coding_set_alphabet(&letters, "CNO ") != 0 ||
        setenv("EXEC_LOG", asked, 1) != 0 || file_write(table_file, rows, (int64_t)strlen(rows)) != 0 || spawn_begin() != 0)
        ERR_BUG("%s", err_text());
    test_sum();
    test_single();
    test_overflow();
    test_gate();
    test_retries();
    test_two_of_a_kind();
    test_refusals();
    spawn_end();
    nftw(folder, drop, 8, FTW_DEPTH | FTW_PHYS);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

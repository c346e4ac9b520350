/* Reward exec against programs that behave and that do not: statuses, values, restarts,
 * nobody left behind. No MPI here, and none is needed: the helper is the same. */
#include "io/spawn.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/reward/exec.h"
#include "tests/tap.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

enum { N = 10, D = 12 };

static struct config *config;
static const struct coding none = {0};
static char flag[64]; /* a file for what goes wrong once */

struct outcome {
    int rc;
    double score[N];
    uint8_t status[N];
    int scored[N], idles;
    double leave; /* 0: nobody is to leave; -1: once there is an answer; else when */
};

static int on_idle(void *ctx)
{
    struct outcome *o = ctx;
    o->idles++;
    return 0;
}

static double on_leave(void *ctx)
{
    struct outcome *o = ctx;
    for (int i = 0; i < N && o->leave < 0; i++)
        if (o->scored[i] > 0)
            o->leave = clock_s() + 0.2;
    return o->leave > 0 ? o->leave : (double)INFINITY;
}

static void on_scored(void *ctx, int64_t i)
{
    struct outcome *o = ctx;
    o->scored[i]++;
}

static void set(const char *key, const char *value)
{
    char *a = text_new("exec.%s=%s", key, value);
    if (config_override(config, a) != 0)
        ERR_BUG("%s", err_text());
    mem_free(a);
}

static void samples(float *x)
{
    for (int i = 0; i < N * D; i++)
        x[i] = (float)((i * 37) % 101) / 64 - 0.5f;
}

static double mean_of(const float *x)
{
    double sum = 0;
    for (int j = 0; j < D; j++)
        sum += (double)x[j];
    return sum / D;
}

/* Scores the N samples `times` over with a fresh scorer; the last outcome. */
static struct outcome ask_with(const uint8_t *skip, int times)
{
    static struct outcome o;
    float x[N * D];
    void *ctx = NULL;
    o = (struct outcome){0};
    samples(x);
    const struct reward_scene scene = {.channels = 3,
                                       .height = 2,
                                       .width = 2,
                                       .coding = &none,
                                       .config = config,
                                       .idle = on_idle,
                                       .idle_ctx = &o};
    o.rc = reward_exec.open(&scene, &ctx);
    for (int t = 0; t < times && o.rc == 0; t++) {
        memset(o.scored, 0, sizeof o.scored);
        for (int i = 0; i < N; i++)
            o.score[i] = -7;
        const struct reward_batch b = {.n = N,
                                       .channels = 3,
                                       .height = 2,
                                       .width = 2,
                                       .sample = x,
                                       .iteration = t,
                                       .skip = skip,
                                       .scored = on_scored,
                                       .scored_ctx = &o,
                                       .score = o.score,
                                       .status = o.status};
        o.rc = reward_exec.score(ctx, &b);
    }
    reward_exec.close(ctx);
    return o;
}

static struct outcome ask(const char *way)
{
    char *command = text_new("perl tests/tools/exec_peer.pl %s", way);
    set("command", command);
    mem_free(command);
    return ask_with(NULL, 1);
}

/* Of all samples: one status, a number where it is ok and none elsewhere, told of once. */
static void all_are(struct outcome o, enum reward_status want, const char *what)
{
    float x[N * D];
    int good = 0;
    samples(x);
    for (int i = 0; i < N; i++)
        good += o.status[i] == want && o.scored[i] == 1 &&
                (want == REWARD_OK ? fabs(o.score[i] - mean_of(x + (ptrdiff_t)i * D)) < 1e-12
                                   : isnan(o.score[i]));
    tap_ok(o.rc == 0 && good == N, "%s: %d of %d %s%s", what, good, N,
           reward_status_name(want), o.rc != 0 ? err_text() : "");
}

static void refused(const char *command, const char *said)
{
    set("command", command);
    struct outcome o = ask_with(NULL, 1);
    tap_ok(o.rc != 0 && err_code() == ERR_REWARD && strstr(err_text(), said) != NULL,
           "cannot start: %s", err_text());
    err_clear();
}

static void good(void)
{
    set("batch", "3");
    all_are(ask("good"), REWARD_OK, "one worker");
    set("workers", "3");
    all_are(ask("good"), REWARD_OK, "three workers");
    all_are(ask("noisy"), REWARD_OK, "a megabyte on standard error per request");
    const uint8_t skip[N] = {1, 0, 0, 1, 1, 0, 1, 0, 0, 1};
    set("command", "perl tests/tools/exec_peer.pl good");
    struct outcome o = ask_with(skip, 3);
    int kept = 0, told = 0;
    for (int i = 0; i < N; i++) {
        kept += skip[i] && o.score[i] == -7 && o.scored[i] == 0;
        told += !skip[i] && o.scored[i] == 1 && o.status[i] == REWARD_OK;
    }
    tap_ok(o.rc == 0 && kept == 5 && told == 5, "what is to be skipped is left alone");
    set("workers", "1");
}

/* Once: another try answers. Always: the status says so. */
static void breaks(void)
{
    static const char *const ways[] = {"garbage", "half", "count", "other", "twice", "word",
                                       "close",   "exit", "die",   "kill",  "flood"};
    set("batch", "16");
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        char *once = text_new("%s 1 %s", ways[i], flag);
        unlink(flag);
        all_are(ask(once), REWARD_OK, once);
        mem_free(once);
        all_are(ask(ways[i]), REWARD_FAILED, ways[i]);
    }
    all_are(ask("nan"), REWARD_NON_FINITE, "NaN");
    all_are(ask("null"), REWARD_FAILED, "null");
    all_are(ask("status"), REWARD_INFEASIBLE, "a status of its own");
    all_are(ask("slow 0"), REWARD_OK, "a slow start");
    all_are(ask("slow 1"), REWARD_OK, "a slow answer");
    set("timeout", "0.15");
    all_are(ask("hang"), REWARD_TIMED_OUT, "hangs");
    all_are(ask("stubborn"), REWARD_TIMED_OUT, "hangs, with a child, and ignores signals");
    all_are(ask("slow 1"), REWARD_TIMED_OUT, "too slow");
    set("timeout", "20");
    set("restarts", "0");
    set("batch", "1");
    struct outcome o = ask("die 4");
    int ok = 0, failed = 0;
    for (int i = 0; i < N; i++) {
        ok += o.status[i] == REWARD_OK;
        failed += o.status[i] == REWARD_FAILED && isnan(o.score[i]);
    }
    tap_ok(o.rc == 0 && ok == 3 && failed == N - 3, "no restart is allowed: %d ok, %d failed",
           ok, failed);
    set("restarts", "10");
    set("batch", "4");
}

static void starts(void)
{
    refused("./no-such-program -x", "no-such-program");
    refused("perl tests/tools/exec_peer.pl die 0", "no licence left");
    refused("echo hello", "first line");
    refused("true", "ended with exit code 0");
    set("start_timeout", "0.2");
    refused("sleep 100", "exec.start_timeout");
    set("start_timeout", "20");
    set("command", "perl 'tests/tools");
    struct outcome o = ask_with(NULL, 1);
    tap_ok(o.rc != 0 && err_code() == ERR_USAGE, "a quote without an end: %s", err_text());
    err_clear();
}

/* A large request to a program that reads nothing, then a flood of replies to one that
 * reads late: nobody waits for the other for ever. */
static void pipes_full(void)
{
    enum { BIG = 400000 };
    float *x = mem_alloc(BIG, sizeof *x);
    double score;
    uint8_t status;
    struct outcome o = {0};
    void *ctx = NULL;
    const struct reward_scene scene = {.channels = 1,
                                       .height = 1,
                                       .width = BIG,
                                       .coding = &none,
                                       .config = config,
                                       .idle = on_idle,
                                       .idle_ctx = &o};
    const struct reward_batch b = {.n = 1, .channels = 1, .height = 1, .width = BIG,
                                   .sample = x, .score = &score, .status = &status};
    set("timeout", "0.5");
    set("attempts", "1");
    set("command", "sh -c 'echo sluice-exec 1 json deaf; exec sleep 100'");
    int rc = reward_exec.open(&scene, &ctx);
    rc = rc == 0 ? reward_exec.score(ctx, &b) : rc;
    tap_ok(rc == 0 && status == REWARD_TIMED_OUT && isnan(score) && o.idles > 5,
           "a program that does not read: %s, idle called %d times",
           reward_status_name(status), o.idles);
    reward_exec.close(ctx);
    set("timeout", "20");
    set("attempts", "2");
    mem_free(x);
}

/* One program of two hangs: when it is left the answers of the other one have been told, and
 * the scorer can be asked again. */
static void left(void)
{
    static struct outcome o;
    float x[N * D];
    void *ctx = NULL;
    int right = 0;
    samples(x);
    const struct reward_scene scene = {.channels = 3, .height = 2, .width = 2,
                                       .coding = &none, .config = config,
                                       .leave = on_leave, .idle_ctx = &o};
    const struct reward_batch b = {.n = N, .channels = 3, .height = 2, .width = 2,
                                   .sample = x, .scored = on_scored, .scored_ctx = &o,
                                   .score = o.score, .status = o.status};
    char *command = text_new("perl tests/tools/exec_peer.pl hang 1 %s", flag);
    unlink(flag);
    set("timeout", "1000");
    set("workers", "2");
    set("batch", "5");
    set("command", command);
    o.leave = -1;
    int rc = reward_exec.open(&scene, &ctx);
    rc = rc == 0 ? reward_exec.score(ctx, &b) : rc;
    for (int i = 0; i < N; i++)
        right += o.scored[i] == 1 && fabs(o.score[i] - mean_of(x + (ptrdiff_t)i * D)) < 1e-12;
    tap_ok(rc != 0 && err_code() == ERR_STOPPED && right == 5,
           "a program that hangs is left, %d samples are scored: %s", right, err_text());
    err_clear();
    memset(o.scored, 0, sizeof o.scored);
    o.leave = 0;
    o.rc = reward_exec.score(ctx, &b);
    all_are(o, REWARD_OK, "asked again");
    memset(o.scored, 0, sizeof o.scored);
    o.leave = clock_s();
    rc = reward_exec.score(ctx, &b);
    tap_ok(rc != 0 && err_code() == ERR_STOPPED && o.scored[0] == 0,
           "who is to leave asks nothing: %s", err_text());
    err_clear();
    reward_exec.close(ctx);
    set("timeout", "20");
    mem_free(command);
}

/* Is the process gone or a zombie? */
static bool over(pid_t pid)
{
    char path[64], state = 'X';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return true;
    if (fscanf(f, "%*d %*s %c", &state) != 1)
        state = 'X';
    fclose(f);
    return state == 'X';
}

/* The helper kills what it started, with its children, and leaves no zombie. */
static void left_behind(void)
{
    struct spawned p = {0};
    char *const argv[] = {"sh", "-c",
                          "setsid sleep 1000 & a=$!; sleep 1000 & echo $a $!; sleep 1000", NULL};
    char line[32] = "";
    int pid = 0, detached = 0;
    if (spawn_ask(&p, argv) != 0)
        ERR_BUG("%s", err_text());
    for (int i = 0; i < 5000 && pid == 0; i++) {
        spawn_hear();
        if (p.phase == SPAWN_RUNNING && read(p.out, line, sizeof line - 1) > 0)
            sscanf(line, "%d %d", &detached, &pid);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    pid_t leader = (pid_t)p.pid;
    tap_ok(pid > 0 && !over(pid) && !over(leader), "a program with a child");
    spawn_drop(&p);
    for (int i = 0; i < 5000 && !(over(pid) && over(leader)); i++)
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    tap_ok(over(pid) && over(leader), "dropped: both are gone, no zombie");
    spawn_end();
    tap_ok(!spawn_ready() && detached > 0 && over(detached),
           "the helper is gone, and what the program had detached");
    refused("true", "not prepared");
}

int main(void)
{
    config = config_create(schema);
    log_set_level(LOG_QUIET);
    snprintf(flag, sizeof flag, "%.40s/exec.%d",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    if (spawn_begin() != 0)
        ERR_BUG("%s", err_text());
    set("timeout", "20");
    good();
    breaks();
    starts();
    pipes_full();
    left();
    left_behind();
    unlink(flag);
    config_destroy(config);
    tap_ok(mem_live() == 0, "all memory is given back: %lld", (long long)mem_live());
    return tap_done();
}

/* Asks the reward `http` for the scores of N short series (mean of their values) and counts:
 *
 *   http_load N [stop|leave] [section.key=value ...]
 *
 * Prints "ok A failed B timed_out C other D wrong E told F longest_wait_ms G rate H". wrong:
 * scores that are not the mean, or numbers beside a status. told: samples that were reported
 * exactly once. One in a thousand is to be skipped, counts as other and is not told. Exit 1
 * when something is wrong. stop: who waits gives up after some calls; leave: it is told to
 * leave half a second after them; exit 75. */
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "pipeline/schema.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { WIDTH = 8, SKIP = 1000, CALLS = 20 };

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

struct clock {
    double last, longest;
    int64_t calls; /* left; < 0: any number */
    bool leaves;
    double until; /* 0: not yet */
};

static int idle(void *ctx)
{
    struct clock *c = ctx;
    double now = now_s();
    if (now - c->last > c->longest)
        c->longest = now - c->last;
    c->last = now;
    if (c->calls-- != 0)
        return 0;
    c->until = now + 0.5;
    return c->leaves ? 0 : err_set(ERR_STOPPED, "told to stop");
}

static double leave(void *ctx)
{
    const struct clock *c = ctx;
    return c->until > 0 && c->leaves ? c->until : (double)INFINITY;
}

static void scored(void *ctx, int64_t i)
{
    ((uint8_t *)ctx)[i]++;
}

static int64_t report(const struct reward_batch *b, const uint8_t *told, double longest,
                      double seconds)
{
    int64_t by[8] = {0}, wrong = 0, once = 0, want = b->n - b->n / SKIP;
    for (int64_t i = 0; i < b->n; i++) {
        double mean = 0;
        for (int64_t k = 0; k < WIDTH; k++)
            mean += (double)b->sample[i * WIDTH + k] / WIDTH;
        by[b->status[i] & 7]++;
        once += told[i] == 1;
        wrong += (told[i] != 0) == (b->skip[i] != 0);
        wrong += b->status[i] == REWARD_OK ? !(fabs(b->score[i] - mean) < 1e-6)
                                           : !isnan(b->score[i]);
    }
    printf("ok %lld failed %lld timed_out %lld other %lld wrong %lld told %lld "
           "longest_wait_ms %.1f rate %.0f\n",
           (long long)by[REWARD_OK], (long long)by[REWARD_FAILED],
           (long long)by[REWARD_TIMED_OUT],
           (long long)(b->n - by[0] - by[REWARD_FAILED] - by[REWARD_TIMED_OUT]),
           (long long)wrong, (long long)once, 1000 * longest, (double)b->n / seconds);
    return wrong + want - once;
}

static int ask(const struct config *c, int64_t n, const char *way, int64_t *wrong)
{
    const struct reward *r = reward_find("http");
    const struct coding coding = {.kind = CODING_SERIES, .std = 1};
    struct clock clock = {.last = now_s(),
                          .calls = way[0] != '\0' ? CALLS : -1,
                          .leaves = strcmp(way, "leave") == 0};
    const struct reward_scene scene = {.channels = 1, .height = 1, .width = WIDTH,
                                       .coding = &coding, .config = c, .idle = idle,
                                       .leave = leave, .idle_ctx = &clock};
    float *x = mem_alloc(n * WIDTH, sizeof *x);
    uint8_t *told = mem_alloc(n, 1), *skip = mem_alloc(n, 1);
    void *ctx;
    rng_normal(rng_key(1, RNG_TEST, 0, 0, 0, 0), x, n * WIDTH);
    const struct reward_batch b = {.n = n, .channels = 1, .height = 1, .width = WIDTH,
                                   .sample = x, .skip = skip, .scored = scored,
                                   .scored_ctx = told, .score = mem_alloc(n, sizeof(double)),
                                   .status = mem_alloc(n, 1)};
    for (int64_t i = SKIP - 1; i < n; i += SKIP) {
        skip[i] = 1;
        b.status[i] = REWARD_NOT_ASKED;
        b.score[i] = (double)NAN;
    }
    int rc = r->open(&scene, &ctx);
    if (rc == 0) {
        double start = now_s();
        clock.last = start;
        rc = r->score(ctx, &b);
        *wrong = rc == 0 ? report(&b, told, clock.longest, now_s() - start) : 1;
        r->close(ctx);
    }
    mem_free(x);
    mem_free(told);
    mem_free(skip);
    mem_free(b.score);
    mem_free(b.status);
    return rc;
}

int main(int argc, char **argv)
{
    struct config *c = config_create(schema);
    int64_t n = argc > 1 ? atoll(argv[1]) : 0, wrong = 0;
    const char *way = argc > 2 && strchr(argv[2], '=') == NULL ? argv[2] : "";
    int rc = n > 0 ? 0 : err_set(ERR_USAGE, "http_load N [section.key=value ...]");
    for (int i = 2 + (way[0] != '\0'); i < argc && rc == 0; i++)
        rc = config_override(c, argv[i]);
    if (rc == 0)
        rc = ask(c, n, way, &wrong);
    if (rc != 0)
        log_error("%s", err_text());
    config_destroy(c);
    if (mem_live() != 0)
        log_error("%lld blocks of memory are left", (long long)mem_live());
    return rc != 0 ? (int)err_code() : wrong != 0 || mem_live() != 0;
}

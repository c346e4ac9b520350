/* A batch is cut into requests, which idle workers take in order; each request ends with
 * an answer, or without one after exec.attempts. Every loop pass waits 10 ms at most. */
#include "stages/reward/exec.h"

#include "io/spawn.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/reward/exec_command.h"
#include "stages/reward/exec_worker.h"

#include <math.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

enum { WORKERS = 256 };

struct slot {
    struct exec_worker worker;
    char tag[80];
    bool used;       /* its first start costs no restart */
    int64_t request; /* that it works on */
};

struct request {
    int64_t first, n; /* of the indices of samples that are wanted */
    int64_t tries;
    enum { WAITING, ASKED, ENDED } state;
};

struct pool {
    struct exec_wire wire;
    char **words;
    const char *command; /* the same, in one */
    char name[40];
    struct slot *slot; /* [slots] */
    int64_t slots, batch, attempts, restarts, restarts_left;
    bool greeted, warned; /* a worker once said hello; of spent restarts */
    uint64_t last_id;
    int (*idle)(void *ctx);
    double (*leave)(void *ctx);
    void *idle_ctx; /* of both */
    double idled;
};

/* One call of score. */
struct round {
    const struct reward_batch *b;
    int64_t *index; /* samples that are wanted */
    struct request *request;
    int64_t requests, open; /* open: not ended */
    bool leaving;
};

static int open_exec(const struct reward_scene *scene, void **ctx)
{
    const struct config *c = scene->config;
    char **words = exec_command_words(config_text(c, "exec.command"));
    if (words == NULL)
        return -1;
    struct pool *p = mem_alloc(1, sizeof *p);
    *p = (struct pool){
        .wire = {.binary = config_is(c, "exec.protocol", "binary"),
                 .coding = scene->coding},
        .words = words,
        .command = config_text(c, "exec.command"),
        .slots = config_int(c, "exec.workers"),
        .batch = config_int(c, "exec.batch"),
        .attempts = config_int(c, "exec.attempts"),
        .restarts = config_int(c, "exec.restarts"),
        .idle = scene->idle,
        .leave = scene->leave,
        .idle_ctx = scene->idle_ctx,
    };
    p->restarts_left = p->restarts;
    snprintf(p->name, sizeof p->name, "%.39s",
             scene->name != NULL && scene->name[0] != '\0' ? scene->name : "exec");
    p->slot = mem_alloc(p->slots, sizeof *p->slot);
    for (int64_t i = 0; i < p->slots; i++) {
        struct slot *s = &p->slot[i];
        snprintf(s->tag, sizeof s->tag, "%s worker %lld", p->name, (long long)i);
        s->worker = (struct exec_worker){
            .argv = words,
            .wire = &p->wire,
            .tag = s->tag,
            .timeout = config_real(c, "exec.timeout"),
            .start_timeout = config_real(c, "exec.start_timeout"),
            .batch = p->batch,
        };
    }
    *ctx = p;
    return 0;
}

/* Sleeps until something happens, 10 ms at most. */
static void wait_for_any(struct pool *p)
{
    struct pollfd f[3 * WORKERS + 1];
    int n = 0;
    if (spawn_fd() >= 0)
        f[n++] = (struct pollfd){spawn_fd(), POLLIN, 0};
    for (int64_t i = 0; i < p->slots; i++)
        n += exec_worker_waits(&p->slot[i].worker, f + n);
    poll(f, (nfds_t)n, 10);
}

/* Half a second for those that end when their input does; then they are killed. */
static void close_exec(void *ctx)
{
    struct pool *p = ctx;
    if (p == NULL)
        return;
    for (int64_t i = 0; i < p->slots; i++) {
        struct exec_worker *w = &p->slot[i].worker;
        if (w->state != EXEC_IDLE || w->program.in < 0)
            exec_worker_drop(w);
        else
            spawn_close_input(&w->program);
    }
    bool all = false;
    for (const double end = clock_s() + 0.5; !all && clock_s() < end;) {
        all = true;
        spawn_hear();
        for (int64_t i = 0; i < p->slots; i++) {
            struct exec_worker *w = &p->slot[i].worker;
            exec_worker_step(w, clock_s());
            all &= w->state == EXEC_GONE;
        }
        if (!all)
            wait_for_any(p);
    }
    for (int64_t i = 0; i < p->slots; i++)
        exec_worker_free(&p->slot[i].worker);
    mem_free(p->slot);
    exec_command_free(p->words);
    mem_free(p);
}

/* Ends a request: with the worker's answers, or without (w NULL) and this status. */
static void end_request(struct round *r, struct request *q, const struct exec_worker *w,
                        enum reward_status status)
{
    const struct reward_batch *b = r->b;
    for (int64_t k = 0; k < q->n; k++) {
        const int64_t i = r->index[q->first + k];
        b->score[i] = w != NULL ? w->score[k] : (double)NAN;
        b->status[i] = w != NULL ? w->status[k] : (uint8_t)status;
    }
    q->state = ENDED;
    r->open--;
    for (int64_t k = 0; k < q->n && b->scored != NULL; k++)
        b->scored(b->scored_ctx, r->index[q->first + k]);
}

/* -1: ERR_REWARD, no worker ever started. */
static int on_broken(struct pool *p, struct round *r, struct slot *s, bool asked)
{
    struct exec_worker *w = &s->worker;
    if (!asked && !p->greeted)
        return err_set(ERR_REWARD, "exec.command: %.300s does not work: %s", p->command,
                       w->why);
    log_warn("%s (%.200s): %s", s->tag, p->command, w->why);
    if (!asked)
        return 0;
    if (r->b->trouble != NULL)
        snprintf(r->b->trouble, REWARD_TROUBLE, "%.40s (%.50s): %.220s", s->tag, p->command,
                 w->why);
    struct request *q = &r->request[s->request];
    q->state = WAITING;
    if (++q->tries >= p->attempts)
        end_request(r, q, NULL, w->timed_out ? REWARD_TIMED_OUT : REWARD_FAILED);
    return 0;
}

static int step_all(struct pool *p, struct round *r)
{
    spawn_hear();
    for (int64_t i = 0; i < p->slots; i++) {
        struct slot *s = &p->slot[i];
        const bool asked = s->worker.state == EXEC_BUSY;
        switch (exec_worker_step(&s->worker, clock_s())) {
        case EXEC_NOTHING:
            break;
        case EXEC_READY:
            p->greeted = true;
            break;
        case EXEC_REPLY:
            end_request(r, &r->request[s->request], &s->worker, REWARD_OK);
            break;
        case EXEC_BROKEN:
            if (on_broken(p, r, s, asked) != 0)
                return -1;
            break;
        }
    }
    return 0;
}

static struct slot *slot_in(struct pool *p, enum exec_state state)
{
    for (int64_t i = 0; i < p->slots; i++)
        if (p->slot[i].worker.state == state &&
            (state != EXEC_GONE || !p->slot[i].used || p->restarts_left > 0))
            return &p->slot[i];
    return NULL;
}

static int64_t count_in(const struct pool *p, enum exec_state state)
{
    int64_t n = 0;
    for (int64_t i = 0; i < p->slots; i++)
        n += p->slot[i].worker.state == state;
    return n;
}

/* Waiting requests go to idle workers; as many workers are started as requests wait. */
static int assign(struct pool *p, struct round *r)
{
    int64_t waiting = 0;
    for (int64_t k = 0; k < r->requests; k++) {
        struct request *q = &r->request[k];
        struct slot *s = NULL;
        if (q->state != WAITING)
            continue;
        if ((s = slot_in(p, EXEC_IDLE)) == NULL) {
            waiting++;
            continue;
        }
        q->state = ASKED;
        s->request = k;
        s->worker.request.len = 0;
        exec_wire_request(&p->wire, r->b, r->index + q->first, q->n, ++p->last_id,
                          &s->worker.request);
        exec_worker_ask(&s->worker, p->last_id, q->n, clock_s());
    }
    for (waiting -= count_in(p, EXEC_STARTING); waiting > 0; waiting--) {
        struct slot *s = slot_in(p, EXEC_GONE);
        if (s == NULL)
            break;
        p->restarts_left -= s->used;
        s->used = true;
        if (exec_worker_start(&s->worker, clock_s()) != 0)
            return -1;
    }
    return 0;
}

/* With no worker left and none to start, what waits has failed. */
static void give_up(struct pool *p, struct round *r)
{
    if (count_in(p, EXEC_GONE) < p->slots || slot_in(p, EXEC_GONE) != NULL)
        return;
    if (!p->warned)
        log_warn("%s (%.200s): exec.restarts=%lld are used up: its samples fail from here on",
                 p->name, p->command, (long long)p->restarts);
    p->warned = true;
    for (int64_t k = 0; k < r->requests; k++)
        if (r->request[k].state == WAITING)
            end_request(r, &r->request[k], NULL, REWARD_FAILED);
}

static int call_idle(struct pool *p, const struct round *r)
{
    const double now = clock_s();
    if (p->idle == NULL || r->b->aside || now - p->idled < 0.002)
        return 0;
    p->idled = now;
    return p->idle(p->idle_ctx);
}

/* Asked to leave: workers may still answer, and nothing new is asked. -1 with ERR_STOPPED
 * once there is nothing to wait for, or no time. */
static int leave(struct pool *p, struct round *r)
{
    const double until = p->leave == NULL ? (double)INFINITY : p->leave(p->idle_ctx);
    if (isinf(until))
        return 0;
    r->leaving = true;
    if (count_in(p, EXEC_BUSY) > 0 && clock_s() < until)
        return 0;
    return err_set(ERR_STOPPED, "left while %lld of %lld requests had no answer: the job is to "
                                "end; the next one asks for them",
                   (long long)r->open, (long long)r->requests);
}

static int work(struct pool *p, struct round *r)
{
    while (r->open > 0) {
        if (leave(p, r) != 0 || (!r->leaving && assign(p, r) != 0))
            return -1;
        if (!r->leaving)
            give_up(p, r);
        if (r->open > 0)
            wait_for_any(p);
        if (call_idle(p, r) != 0 || step_all(p, r) != 0)
            return -1;
    }
    return 0;
}

static int score(void *ctx, const struct reward_batch *b)
{
    struct pool *p = ctx;
    struct round r = {.b = b, .index = mem_alloc(b->n, sizeof *r.index)};
    int64_t n = 0;
    for (int64_t i = 0; i < b->n; i++)
        if (b->skip == NULL || !b->skip[i])
            r.index[n++] = i;
    r.requests = r.open = (n + p->batch - 1) / p->batch;
    r.request = mem_alloc(r.requests, sizeof *r.request);
    for (int64_t k = 0; k < r.requests; k++) {
        const int64_t first = k * p->batch;
        r.request[k] = (struct request){.first = first,
                                        .n = n - first < p->batch ? n - first : p->batch};
    }
    int rc = work(p, &r);
    for (int64_t i = 0; i < p->slots; i++) /* after trouble: what was asked is forgotten */
        if (p->slot[i].worker.state == EXEC_BUSY)
            exec_worker_drop(&p->slot[i].worker);
    mem_free(r.request);
    mem_free(r.index);
    return rc;
}

static void identify(void *ctx, struct digest *d)
{
    const struct pool *p = ctx;
    digest_add_text(d, p->wire.binary ? "binary" : "json");
    exec_command_identify(p->words, d);
}

const struct reward reward_exec = {
    .name = "exec",
    .help = "what a program of yours says (exec.command), asked over pipes",
    .units = "1",
    .remote = 1,
    .open = open_exec,
    .close = close_exec,
    .score = score,
    .identify = identify,
};

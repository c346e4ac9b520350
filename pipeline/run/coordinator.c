/* The coordinator: clocks, flags, failures, records, and what letters say. Who is given
 * what: leases.c. */
#include "pipeline/run/coordinator.h"

#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/run/leases.h"
#include "pipeline/run/retention.h"
#include "pipeline/settings.h"
#include "stages/policy.h"

#include <math.h>
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void forget_times(struct coordinator *c)
{
    for (int g = 0; g < GROUPS; g++)
        c->group_from[g] = c->group_to[g] = NAN;
}

/* Whoever waits for another program need not find out how long that takes. */
static void let_leave(struct coordinator *c)
{
    const struct letter l = {.kind = LETTER_LEAVE};
    if (c->left || c->quitting)
        return;
    c->left = true;
    for (int r = 0; r < c->o.layout->world; r++)
        mailbox_send(c->o.mailbox, r, &l);
}

/* The first reason to stop wins; failures beat wishes. */
static void stop(struct coordinator *c, int code, const char *text)
{
    if (c->code == 0 || (c->code == ERR_STOPPED && code != ERR_STOPPED)) {
        c->code = code;
        snprintf(c->text, sizeof c->text, "%s", text);
        if (code == ERR_STOPPED)
            log_warn("stopping: %s; leases in progress are finished first", text);
    }
    ledger_drain(c->o.ledger);
    let_leave(c);
}

/* A record that cannot be written ends the run like any other full disk. */
static void must_record(struct coordinator *c, int rc)
{
    if (rc != 0) {
        log_error("%s", err_text());
        stop(c, (int)err_code(), err_text());
        err_clear();
    }
}

/* The run ends after the policy of these metrics where a rule says so: no new leases. */
static void watch(struct coordinator *c, const double metric[METRICS])
{
    struct text why = {0};
    if (c->over || !watch_ends(&c->watch, metric, &why))
        return;
    c->over = true;
    snprintf(c->why, sizeof c->why, "%s", why.s);
    log_info("the run ends: %s", why.s);
    ledger_drain(c->o.ledger);
    text_free(&why);
}

/* A rule may have ended the run in an earlier job. */
static int watch_newest(struct coordinator *c)
{
    char rel[96], path[4096];
    double metric[METRICS];
    const struct config *k = c->o.config;
    int64_t version = ledger_version(c->o.ledger);
    c->watch = (struct watch){.kl_budget = config_real(k, "run.kl_budget"),
                              .guard_drop = config_real(k, "run.guard_drop"),
                              .guard_errors = config_real(k, "run.guard_errors")};
    if (version == 0 || (c->watch.kl_budget <= 0 && c->watch.guard_drop <= 0 &&
                         c->watch.guard_errors <= 0))
        return 0;
    struct policy *p = policy_open(task_path(c->o.task, rundir_policy(rel, version), path));
    int rc = p == NULL ? -1 : policy_metrics(p, metric);
    policy_close(p);
    if (rc == 0)
        watch(c, metric);
    return rc;
}

struct coordinator *coordinator_create(const struct coordinator_options *o)
{
    struct coordinator *c = mem_alloc(1, sizeof *c);
    const char *end = getenv("SLURM_JOB_END_TIME");
    double when;
    c->o = *o;
    c->rank = mem_alloc(o->layout->world, sizeof *c->rank);
    c->account = mem_alloc((int64_t)o->layout->world * GROUPS, sizeof *c->account);
    c->farewell = mem_alloc(o->layout->world, sizeof *c->farewell);
    c->window = o->task->max_staleness + 1;
    c->spent = mem_alloc(c->window * GROUPS, sizeof *c->spent);
    c->known = mem_alloc(c->window, sizeof *c->known);
    c->trouble = mem_alloc(c->window, sizeof *c->trouble);
    c->timeline = timeline_create(&(struct timeline_options){
        .dir = o->task->dir,
        .layout = o->layout,
        .shards = o->task->shards,
        .max_staleness = o->task->max_staleness,
    });
    c->started = c->iteration_began = c->checked = c->pinged = c->beaten = c->moved =
        clock_s();
    for (int r = 0; r < o->layout->world; r++)
        c->rank[r].heard = c->started;
    c->walltime = config_real(o->config, "run.max_walltime");
    c->stall = config_real(o->config, "run.stall_timeout");
    const struct task *t = o->task;
    if (t->reward->remote || (t->guard != NULL && t->guard->remote))
        c->grace = config_real(o->config, "reward.grace");
    if (end != NULL && text_to_f64(end, &when) && when > (double)time(NULL))
        c->end_of_job = c->started + when - (double)time(NULL);
    forget_times(c);
    must_record(c, watch_newest(c));
    return c;
}

void coordinator_begin(struct coordinator *c, double zero_s)
{
    c->zero = zero_s;
}

void coordinator_destroy(struct coordinator *c)
{
    if (c == NULL)
        return;
    ledger_destroy(c->o.ledger);
    record_close(c->o.record);
    mem_free(c->rank);
    mem_free(c->account);
    mem_free(c->farewell);
    mem_free(c->spent);
    mem_free(c->known);
    mem_free(c->trouble);
    timeline_destroy(c->timeline);
    mem_free(c);
}

bool coordinator_closed(const struct coordinator *c)
{
    return c->closed;
}

bool coordinator_asides(const struct task *t, const struct layout *l, int rank)
{
    return reward_aside(t) && layout_has(l, GROUP_REWARD, rank) &&
           layout_shares(l, GROUP_REWARD, rank);
}

/* An iteration is complete: records and retention. */
static void iteration_done(struct coordinator *c, int64_t iteration)
{
    double now = clock_s();
    struct record_times t = {.iteration_s = now - c->iteration_began,
                             .at_once = c->o.on.at_once,
                             .rss_bytes = (int64_t)c->rss_max};
    struct record_account *spent = &c->spent[iteration % c->window * GROUPS];
    for (int g = 0; g < GROUPS; g++)
        t.group_s[g] = c->group_to[g] - c->group_from[g];
    memcpy(t.account, spent, sizeof t.account);
    memset(spent, 0, sizeof t.account);
    timeline_iteration(c->timeline, iteration, now - c->zero, t.waited);
    must_record(c, record_iteration(c->o.record, iteration, c->metric, &c->steps, &t));
    must_record(c, retention_apply(c->o.task, c->o.config, iteration + 1));
    watch(c, c->metric);
    c->iteration_began = now;
    forget_times(c);
}

/* "rank 3 (reward/0 on host), PHASE: what it says". */
static void name_rank(const struct coordinator *c, int from, const char *phase,
                      const struct letter *l, char text[640])
{
    struct text tag = {0};
    layout_tag(c->o.layout, from, &tag);
    snprintf(text, 640, "rank %d (%.60s on %.60s), %.90s: %.380s", from, tag.s,
             c->o.hosts + (size_t)from * 64, phase, l->text);
    text_free(&tag);
}

/* An advantage fails for what reward ranks had said before: they are named. */
static void note_failure(struct coordinator *c, int from, const char *phase,
                         const struct letter *l)
{
    char text[640];
    const struct trouble *t = &c->trouble[l->lease.iteration % c->window];
    name_rank(c, from, phase, l, text);
    if (l->code == ERR_REWARD && l->lease.group == GROUP_ADVANTAGE && t->text[0] != '\0' &&
        t->iteration == l->lease.iteration)
        snprintf(text, sizeof text, "%.420s; %.200s", t->text, l->text);
    log_error("%s", text);
    stop(c, l->code, text);
}

static void note_left(struct coordinator *c, int from, const char *phase,
                      const struct letter *l)
{
    char text[640];
    name_rank(c, from, phase, l, text);
    log_info("%s", text);
    stop(c, ERR_STOPPED, l->text);
}

/* A sealed reward shard with samples that failed: so far no trouble of the run. */
static void note_trouble(struct coordinator *c, int from, const char *phase,
                         const struct letter *l)
{
    if (l->lease.group != GROUP_REWARD || l->code != 0 || l->text[0] == '\0')
        return;
    struct trouble *t = &c->trouble[l->lease.iteration % c->window];
    t->iteration = l->lease.iteration;
    name_rank(c, from, phase, l, t->text);
}

/* What waits for other programs alone is left, so its length does not matter. */
static void note_length(struct coordinator *c, const struct lease *l, double seconds)
{
    c->worked = true;
    if (l->group != GROUP_REWARD || !reward_aside(c->o.task))
        c->longest = fmax(c->longest, seconds);
}

static void lease_done(struct coordinator *c, int from, const struct letter *l)
{
    struct rank *k = &c->rank[from];
    const struct lease *lease = &l->lease;
    double now = clock_s();
    char phase[sizeof k->phase];
    snprintf(phase, sizeof phase, "%s", k->phase);
    if (k->scores && lease->group == GROUP_REWARD) {
        snprintf(phase, sizeof phase, "reward iteration %lld shard %lld",
                 (long long)lease->iteration, (long long)lease->shard);
        note_length(c, lease, now - k->aside_leased);
        k->scores = false;
    } else {
        note_length(c, lease, now - k->leased);
        k->busy = false;
        if (k->ahead) /* begun by now: what is given back comes before this letter */
            leases_begin(c, k, &k->next);
        k->ahead = k->recalled = false;
    }
    c->rss_max = fmax(c->rss_max, l->value[METRICS]);
    if (l->code == ERR_STOPPED)
        note_left(c, from, phase, l);
    else if (l->code != 0 && c->code != l->code)
        note_failure(c, from, phase, l);
    note_trouble(c, from, phase, l);
    struct record_account a;
    struct timeline_lease times;
    memcpy(&a, &l->value[METRICS + 1], sizeof a);
    memcpy(&times, &l->value[TIMELINE_VALUE], sizeof times);
    record_add(&c->spent[lease->iteration % c->window * GROUPS + lease->group], &a);
    timeline_lease(c->timeline, from, lease, &a, &times);
    if (leases_gang(lease->group)) {
        if (lease->group == GROUP_UPDATE && from == c->o.layout->start[GROUP_UPDATE]) {
            struct known *policy = &c->known[(lease->iteration + 1) % c->window];
            memcpy(c->metric, l->value, sizeof c->metric);
            memcpy(&c->steps, &l->value[LETTER_STEPS], sizeof c->steps);
            policy->version = lease->iteration + 1;
            snprintf(policy->content, DIGEST_HEX, "%.64s", l->code == 0 ? l->text : "");
        }
        if (--c->gang_left[lease->group] > 0)
            return;
    }
    c->group_to[lease->group] = now;
    if (l->code != 0) {
        ledger_return(c->o.ledger, lease);
        return;
    }
    ledger_done(c->o.ledger, lease);
    timeline_sealed(c->timeline, lease, now - c->zero);
    c->done++;
    if (lease->group == GROUP_UPDATE)
        iteration_done(c, lease->iteration);
}

static void take_letters(struct coordinator *c)
{
    struct letter l;
    int from;
    while (mailbox_take(c->o.mailbox, true, &l, &from)) {
        struct rank *k = &c->rank[from];
        k->heard = clock_s();
        if (l.kind == LETTER_DONE) {
            c->moved = k->heard;
            lease_done(c, from, &l);
        } else if (l.kind == LETTER_BEAT) {
            if (strncmp(k->phase, l.text, 90) != 0)
                c->moved = k->heard;
            snprintf(k->phase, sizeof k->phase, "%.90s", l.text);
        } else if (l.kind == LETTER_BACK) {
            k->ahead = k->recalled = false;
            ledger_return(c->o.ledger, &l.lease);
        } else if (l.kind == LETTER_STOP) {
            stop(c, ERR_STOPPED, l.text);
        } else if (l.kind == LETTER_BYE) {
            enum { SIZE = sizeof *c->account * GROUPS };
            memcpy(&c->account[from * GROUPS], l.value, SIZE);
            memcpy(&c->farewell[from], &l.value[SIZE / sizeof(double)],
                   sizeof *c->farewell);
            c->gone += !k->gone;
            k->gone = true;
        }
    }
}

/* A hang that nobody can name is worse than a stop: no rank can be replaced. */
_Noreturn static void end_stalled(struct coordinator *c, int r, double seconds,
                                  const char *how)
{
    struct text tag = {0};
    char text[640];
    layout_tag(c->o.layout, r, &tag);
    snprintf(text, sizeof text,
             "stall: rank %d (group %.60s, host %.60s) %s for %.0f s in phase \"%s\"; look "
             "at that host, then run the same command again",
             r, tag.s, c->o.hosts + (size_t)r * 64, how, seconds, c->rank[r].phase);
    log_error("%s", text);
    record_status(c->o.record, "failed", ERR_STALL, text, ledger_version(c->o.ledger));
    struct record_waits waited[GROUPS];
    timeline_finish(c->timeline, clock_s() - c->zero, waited); /* its lines so far */
    MPI_Abort(MPI_COMM_WORLD, ERR_STALL);
    _Exit(ERR_STALL);
}

static bool holds(const struct rank *k)
{
    return k->busy || k->scores;
}

/* Stalled: a rank with a lease that is silent, or leases out and nobody getting anywhere.
 * since: when this was last checked. */
static void check_stall(struct coordinator *c, double now, double since)
{
    if (c->stall <= 0)
        return;
    if (now - since > c->stall / 2) { /* this rank itself was away (suspended?) */
        c->moved = now;
        for (int r = 0; r < c->o.layout->world; r++)
            c->rank[r].heard = now;
        return;
    }
    for (int r = 0; r < c->o.layout->world; r++)
        if (holds(&c->rank[r]) && now - c->rank[r].heard > c->stall)
            end_stalled(c, r, now - c->rank[r].heard, "was silent");
    if (now - c->moved <= 2 * c->stall)
        return;
    for (int r = 0; r < c->o.layout->world; r++)
        if (holds(&c->rank[r]))
            end_stalled(c, r, now - c->moved, "made no progress");
}

static void check_flags(struct coordinator *c)
{
    const char *dir = c->o.task->dir;
    if (rundir_flag(dir, "STOP")) {
        rundir_clear_flag(dir, "STOP");
        stop(c, ERR_STOPPED, "STOP file");
    }
    if (rundir_flag(dir, "CHECKPOINT")) {
        rundir_clear_flag(dir, "CHECKPOINT");
        must_record(c, retention_pin(c->o.task, ledger_version(c->o.ledger)));
    }
}

/* Between iterations, which may be hours apart, status.json says that the job lives. Jobs of
 * other stages share that file; the one that makes the policies writes it. */
static void beat(struct coordinator *c, double now)
{
    enum { EVERY_S = 10 };
    const struct layout *l = c->o.layout;
    const char *phase = ""; /* of a rank at work, of update's first one if it is */
    if (now - c->beaten < EVERY_S || l->size[GROUP_UPDATE] == 0)
        return;
    c->beaten = now;
    for (int i = 0; i < l->world && phase[0] == '\0'; i++) {
        const int r = (l->start[GROUP_UPDATE] + i) % l->world;
        if (holds(&c->rank[r])) /* our own is known without letters */
            phase = r == layout_coordinator(l) ? c->o.task->phase : c->rank[r].phase;
    }
    record_beat(c->o.record, ledger_version(c->o.ledger), phase);
}

static void check_clocks(struct coordinator *c)
{
    double now = clock_s(), left = INFINITY;
    double margin = 2 * c->longest + 2 + c->grace; /* a gang may be queued behind a lease */
    if (c->stall > 0 && now - c->pinged > fmax(c->stall / 4, 0.2)) {
        struct letter ping = {.kind = LETTER_PING};
        snprintf(ping.text, sizeof ping.text, "%s", c->o.task->phase);
        c->pinged = now;
        for (int r = 0; r < c->o.layout->world; r++)
            if (!c->rank[r].gone)
                mailbox_send(c->o.mailbox, r, &ping);
    }
    if (now - c->checked < 0.25)
        return;
    double since = c->checked;
    c->checked = now;
    check_stall(c, now, since);
    check_flags(c);
    beat(c, now);
    if (c->walltime > 0)
        left = c->walltime - (now - c->started);
    if (c->end_of_job > 0)
        left = fmin(left, c->end_of_job - now - 30);
    if (left < fmin(margin, c->walltime > 0 ? c->walltime / 2 : INFINITY) &&
        !ledger_draining(c->o.ledger))
        stop(c, ERR_STOPPED, "the time limit is near");
}

/* What cannot be written at the end is told, and the rest is written all the same. */
static void told(int rc)
{
    if (rc == 0)
        return;
    log_error("%s", err_text());
    err_clear();
}

static void close_books(struct coordinator *c)
{
    int64_t version = ledger_version(c->o.ledger);
    int64_t wanted = settings_iterations(c->o.config);
    const char *state = c->code == ERR_STOPPED ? "stopped"
                        : c->code != 0         ? "failed"
                        : version >= wanted || c->over ? "finished"
                                               : "waiting"; /* for other stages' jobs */
    const char *text = c->over && c->code == 0 ? c->why : c->text;
    double now = clock_s(), wall = now - c->started;
    struct record_waits waited[GROUPS];
    timeline_finish(c->timeline, now - c->zero, waited);
    const struct record_session session = {.account = c->account,
                                           .rank = c->farewell,
                                           .waited = waited,
                                           .on = c->o.on,
                                           .wall_s = wall};
    if (c->worked) /* else (of a finished run) the books of those who worked stay */
        told(record_accounting(c->o.record, c->o.layout, &session));
    told(record_event(c->o.record, state, text));
    told(record_status(c->o.record, state, c->code, text, version)); /* all else is there */
    printf("%s: policy %lld of %lld, %lld pieces of work done in this session, %s\n",
           strcmp(state, "waiting") == 0 ? "waiting for other stages" : state,
           (long long)version, (long long)wanted, (long long)c->done, c->o.task->dir);
    if (c->over)
        printf("ended early: %s\n", c->why);
    fflush(stdout);
    c->closed = true;
}

void coordinator_step(struct coordinator *c)
{
    if (c->closed)
        return;
    take_letters(c);
    if (c->quitting) {
        if (c->gone == c->o.layout->world)
            close_books(c);
        return;
    }
    check_clocks(c);
    leases_hand_out(c);
    if (!ledger_finished(c->o.ledger))
        return;
    if (c->code == ERR_STOPPED &&
        (c->over || ledger_version(c->o.ledger) >= settings_iterations(c->o.config)))
        c->code = 0; /* it was done anyway */
    c->quitting = true;
    struct letter l = {.kind = LETTER_QUIT, .code = c->code};
    snprintf(l.text, sizeof l.text, "%s", c->text);
    for (int r = 0; r < c->o.layout->world; r++)
        mailbox_send(c->o.mailbox, r, &l);
}

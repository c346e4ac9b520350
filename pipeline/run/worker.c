/* The worker. Its tick runs between micro-batches and in every polled wait: it forwards
 * signals, sends heartbeats, begins and ends what another program scores meanwhile, and
 * drives the coordinator where that lives on this rank. */
#include "pipeline/run/worker.h"

#include "io/finish.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static volatile sig_atomic_t caught; /* set by the handler, read by the tick */

/* A reward lease whose scores another program makes, beside the rank's other leases. */
struct aside {
    enum { NONE, RECEIVED, SCORING, SEALING } state;
    struct lease lease;
    struct scoring *scoring;
    struct finish *sealing;
    struct letter done;
    double received, working_s; /* working_s: at other leases, when it was received */
    double inside_s;            /* of its own work, what was within other leases */
    double asked;               /* when the other program was */
    struct record_account account;
};

struct worker {
    const struct worker_options *o;
    double beat, pinged; /* last heartbeat sent; last word from the coordinator */
    double checked;      /* when the coordinator's silence was last looked at */
    bool stop_sent, working;
    bool ahead; /* a second lease is here: */
    struct letter next;
    struct finish *sealing; /* the end of the last lease's file; then `done` is sent */
    struct letter done;
    struct aside aside;
    double working_from, working_s; /* the lease at hand; those before */
    struct record_account account[GROUPS];
    char heard[96]; /* the coordinator's phase, as it last said */
    _Atomic double leave; /* task.leave; read by the thread that scores aside */
};

static void on_signal(int sig)
{
    caught = sig;
}

static void set_handlers(void (*handler)(int))
{
    static const int sigs[] = {SIGTERM, SIGINT, SIGUSR1};
    struct sigaction sa = {.sa_handler = handler, .sa_flags = SA_RESTART};
    sigemptyset(&sa.sa_mask);
    for (int i = 0; i < 3; i++)
        sigaction(sigs[i], &sa, NULL);
}

/* A file beyond the limit of its size is an error of the write, which names the file. Programs
 * that are started do not inherit a handler. */
static void on_limit(int sig)
{
    (void)sig;
}

void worker_catch_signals(void)
{
    set_handlers(on_signal);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, on_limit);
}

void worker_free_signals(void)
{
    set_handlers(SIG_DFL);
}

bool worker_signal_caught(void)
{
    return caught != 0;
}

double worker_leave(double *at, double grace)
{
    if (*at == 0)
        *at = caught != 0 ? clock_s() + grace : 0;
    return *at == 0 ? (double)INFINITY : *at;
}

static void tell(struct worker *w, const struct letter *l)
{
    mailbox_send(w->o->mailbox, w->o->coordinator_rank, l);
}

/* The coordinator's rank is silent: nobody else can tell, so this rank does. */
static void check_coordinator(struct worker *w)
{
    double now = clock_s(), silent;
    if (w->o->stall_s <= 0 || w->o->coordinator != NULL)
        return;
    if (now - w->checked > w->o->stall_s / 2) /* this rank itself was away (suspended?) */
        w->pinged = now;
    w->checked = now;
    silent = now - w->pinged;
    if (silent < 1.5 * w->o->stall_s)
        return;
    struct text tag = {0};
    layout_tag(w->o->layout, w->o->coordinator_rank, &tag);
    log_error("stall: rank %d (group %.60s, host %.60s), which coordinates, was silent for "
              "%.0f s in phase \"%.90s\"; look at that host, then run the same command "
              "again",
              w->o->coordinator_rank, tag.s,
              w->o->hosts + (size_t)w->o->coordinator_rank * 64, silent, w->heard);
    MPI_Abort(MPI_COMM_WORLD, ERR_STALL);
}

/* The job is to end: what waits for another program has the grace left. */
static void leave_soon(struct worker *w)
{
    if (isinf(atomic_load(&w->leave)))
        atomic_store(&w->leave, clock_s() + w->o->grace_s);
}

static double leave(void *ctx)
{
    struct worker *w = ctx;
    return atomic_load(&w->leave);
}

/* A letter from the coordinator says that it is alive; weights come from other ranks. */
static void take(struct worker *w, const struct letter *l, int from)
{
    if (l->kind == LETTER_WEIGHTS) {
        handover_hear(w->o->handover, l, from);
        return;
    }
    w->pinged = clock_s();
    if (l->kind == LETTER_LEAVE)
        leave_soon(w);
    if (l->kind == LETTER_PING)
        snprintf(w->heard, sizeof w->heard, "%.90s", l->text);
}

/* The second lease goes back: it has not begun. */
static void give_back(struct worker *w)
{
    struct letter l = {.kind = LETTER_BACK, .lease = w->next.lease};
    w->ahead = false;
    tell(w, &l);
}

static bool same_lease(const struct lease *a, const struct lease *b)
{
    return a->group == b->group && a->iteration == b->iteration && a->shard == b->shard;
}

/* Seconds that the rank has worked on leases, those aside not counted. */
static double worked(const struct worker *w)
{
    return w->working_s + (w->working ? clock_s() - w->working_from : 0);
}

static bool goes_aside(const struct worker *w, const struct lease *l)
{
    return l->group == GROUP_REWARD && coordinator_asides(w->o->task, w->o->layout, w->o->rank);
}

static void put_aside(struct worker *w, const struct lease *l)
{
    ERR_BUG_IF(w->aside.state != NONE);
    w->aside = (struct aside){.state = RECEIVED,
                              .lease = *l,
                              .done = {.kind = LETTER_DONE, .lease = *l},
                              .received = clock_s(),
                              .working_s = worked(w)};
}

/* While a lease is held nothing but pings, weights, a second lease, its recall, a lease to
 * be put aside and the wish to leave can arrive. */
static void hear(struct worker *w)
{
    struct letter l;
    int from;
    while (mailbox_take(w->o->mailbox, false, &l, &from)) {
        take(w, &l, from);
        if (l.kind == LETTER_LEASE && goes_aside(w, &l.lease)) {
            put_aside(w, &l.lease);
        } else if (l.kind == LETTER_LEASE) {
            ERR_BUG_IF(w->ahead);
            w->ahead = true;
            w->next = l;
        } else if (l.kind == LETTER_RECALL) {
            if (w->ahead && same_lease(&w->next.lease, &l.lease))
                give_back(w);
        } else {
            ERR_BUG_IF(l.kind != LETTER_PING && l.kind != LETTER_WEIGHTS &&
                       l.kind != LETTER_LEAVE);
        }
    }
    check_coordinator(w);
}

static void put_error(struct letter *l)
{
    l->code = err_code() != ERR_NONE ? (int)err_code() : ERR_ENV;
    snprintf(l->text, sizeof l->text, "%s", err_text());
    err_clear();
}

/* Puts the lease's account into its letter, and with those of its group. */
static void add_account(struct worker *w, struct letter *l, const struct record_account *a)
{
    record_add(&w->account[l->lease.group], a);
    l->value[METRICS] = (double)mem_peak_rss();
    memcpy(&l->value[METRICS + 1], a, sizeof *a);
    if (l->lease.group == GROUP_UPDATE)
        memcpy(&l->value[LETTER_STEPS], &w->o->task->update_steps,
               sizeof w->o->task->update_steps);
}

/* And when that was; without spans: aside. */
static void add_times(const struct worker *w, struct letter *l, double from, double to,
                      const struct task_spans *spans)
{
    struct timeline_lease t = {.from_s = from - w->o->zero_s,
                               .to_s = to - w->o->zero_s,
                               .aside = spans == NULL};
    if (spans != NULL)
        t.spans = *spans;
    for (int i = 0; i < (int)t.spans.n; i++) {
        t.spans.span[i].from -= w->o->zero_s;
        t.spans.span[i].to -= w->o->zero_s;
    }
    memcpy(&l->value[TIMELINE_VALUE], &t, sizeof t);
}

/* Says that a lease is done. A failure ends the job: no other is begun. */
static void say_done(struct worker *w, const struct letter *l)
{
    if (l->code != 0 && w->ahead)
        give_back(w);
    tell(w, l);
    w->pinged = clock_s();
}

/* A lease is done when its file is durable, which may be while the next one is worked on. */
static void look_at_seal(struct worker *w)
{
    if (w->sealing == NULL || !finish_over(w->sealing))
        return;
    if (finish_end(w->sealing) != 0)
        put_error(&w->done);
    w->sealing = NULL;
    say_done(w, &w->done);
}

/* The phase of a rank that works on nothing. */
static void be_idle(struct worker *w)
{
    struct task *t = w->o->task;
    if (w->aside.state != NONE)
        snprintf(t->phase, sizeof t->phase, "reward iteration %lld shard %lld",
                 (long long)w->aside.lease.iteration, (long long)w->aside.lease.shard);
    else
        snprintf(t->phase, sizeof t->phase, "waits for a lease");
}

/* Begins or ends what is aside. The stage that the rank is in keeps its accounts and its
 * file. */
static void step_aside(struct worker *w, bool end)
{
    struct task *t = w->o->task;
    struct aside *a = &w->aside;
    struct finish *others = t->sealing;
    double spent[TASK_TIMES], start = clock_s();
    struct task_spans spans = t->spans;
    memcpy(spent, t->spent, sizeof spent);
    memset(t->spent, 0, sizeof t->spent);
    t->spans.n = 0;
    t->sealing = NULL;
    a->state = end ? SEALING : SCORING; /* before the hook can be called again */
    if (!end) {
        a->asked = clock_s();
        a->scoring = reward_begin(t, a->lease.iteration, a->lease.shard);
    } else {
        struct scoring *s = a->scoring;
        a->scoring = NULL;
        a->account.asked_s = clock_s() - a->asked;
        if (reward_end(s) != 0)
            put_error(&a->done);
        else
            snprintf(a->done.text, sizeof a->done.text, "%s", t->trouble);
        a->sealing = t->sealing;
    }
    if (!end && a->scoring == NULL) {
        put_error(&a->done);
        a->state = SEALING; /* nothing */
    }
    for (int k = 0; k < TASK_TIMES; k++)
        a->account.spent_s[k] += t->spent[k];
    memcpy(t->spent, spent, sizeof spent);
    t->spans = spans;
    t->sealing = others;
    a->inside_s += w->working ? clock_s() - start : 0;
}

static void finish_aside(struct worker *w)
{
    struct aside *a = &w->aside;
    if (finish_end(a->sealing) != 0)
        put_error(&a->done);
    double now = clock_s();
    a->account.working_s =
        now - a->received - (worked(w) - a->working_s) + a->inside_s;
    add_account(w, &a->done, &a->account);
    add_times(w, &a->done, a->received, now, NULL);
    a->state = NONE;
    if (!w->working)
        be_idle(w);
    say_done(w, &a->done);
}

static void look_aside(struct worker *w)
{
    struct aside *a = &w->aside;
    const struct task *t = w->o->task;
    if (a->state == RECEIVED && isfinite(leave(w)) &&
        !reward_visible(t, a->lease.iteration, a->lease.shard)) {
        err_set(ERR_STOPPED, "left before its samples could be seen");
        put_error(&a->done);
        a->state = SEALING; /* nothing */
    }
    if (a->state == RECEIVED &&
        (reward_visible(t, a->lease.iteration, a->lease.shard) ||
         clock_s() - a->received > t->appear_s))
        step_aside(w, false);
    else if (a->state == SCORING && a->scoring != NULL && reward_over(a->scoring))
        step_aside(w, true);
    if (a->state == SEALING && (a->sealing == NULL || finish_over(a->sealing)))
        finish_aside(w);
}

static int tick(void *ctx)
{
    struct worker *w = ctx;
    double now = clock_s();
    if (caught != 0 && !w->stop_sent) {
        struct letter l = {.kind = LETTER_STOP};
        snprintf(l.text, sizeof l.text, "signal %s",
                 caught == SIGUSR1 ? "USR1" : caught == SIGINT ? "INT" : "TERM");
        tell(w, &l);
        w->stop_sent = true;
        leave_soon(w);
    }
    if (now - w->beat > fmin(fmax(w->o->stall_s / 5, 0.1), 5)) {
        struct letter l = {.kind = LETTER_BEAT};
        snprintf(l.text, sizeof l.text, "%s", w->o->task->phase);
        tell(w, &l);
        w->beat = now;
    }
    look_at_seal(w);
    look_aside(w);
    if (w->o->coordinator != NULL)
        coordinator_step(w->o->coordinator);
    if (w->working)
        hear(w);
    return 0;
}

static int run_lease(struct worker *w, const struct lease *l, double *metric)
{
    struct task *t = w->o->task;
    switch (l->group) {
    case GROUP_ROLLOUT:
        return rollout_shard(t, l->iteration, l->shard);
    case GROUP_REWARD:
        return reward_shard(t, l->iteration, l->shard);
    case GROUP_ADVANTAGE:
        return advantage_iteration(t, &w->o->group[GROUP_ADVANTAGE], l->iteration);
    case GROUP_UPDATE:
        return update_iteration(t, &w->o->group[GROUP_UPDATE], l->iteration, metric);
    default:
        ERR_BUG("lease for group %d", (int)l->group);
    }
}

static void tick_and_pause(struct worker *w)
{
    tick(w);
    nanosleep(&(struct timespec){0, 100000}, NULL);
}

/* The file's end may take its time as long as there is other work. */
static void wait_for_work(struct worker *w, const struct finish *sealing)
{
    double start = task_now(w->o->task);
    while (w->sealing != NULL) /* letters stay in order */
        tick_and_pause(w);
    while (sealing != NULL && !finish_over(sealing) && !w->ahead)
        tick_and_pause(w);
    task_spend(w->o->task, TIME_IO, start);
}

/* order: the letter with the lease and, where known, its policy's digest. */
static void work(struct worker *w, const struct letter *order)
{
    struct task *t = w->o->task;
    const struct lease *lease = &order->lease;
    struct letter l = {.kind = LETTER_DONE, .lease = *lease};
    struct record_account a = {0};
    w->working_from = clock_s();
    memset(t->spent, 0, sizeof t->spent);
    t->spans.n = 0;
    if (order->text[0] != '\0') {
        t->policy.version = lease->version;
        snprintf(t->policy.content, DIGEST_HEX, "%.64s", order->text);
    }
    w->working = true;
    if (run_lease(w, lease, l.value) != 0)
        put_error(&l);
    else if (lease->group == GROUP_REWARD)
        snprintf(l.text, sizeof l.text, "%s", t->trouble);
    struct finish *sealing = t->sealing;
    t->sealing = NULL;
    wait_for_work(w, sealing);
    w->working = false;
    a.working_s = clock_s() - w->working_from;
    w->working_s += a.working_s;
    if (l.code == 0 && lease->group == GROUP_UPDATE &&
        t->policy.version == lease->version + 1) /* on the rank that sealed it */
        snprintf(l.text, sizeof l.text, "%s", t->policy.content);
    memcpy(a.spent_s, t->spent, sizeof a.spent_s);
    if (lease->group == GROUP_REWARD && t->reward->remote)
        a.asked_s = a.working_s;
    for (int k = 0; k < TASK_TIMES && a.asked_s > 0; k++)
        a.asked_s -= a.spent_s[k];
    add_account(w, &l, &a);
    add_times(w, &l, w->working_from, w->working_from + a.working_s, &t->spans);
    be_idle(w);
    w->done = l;
    w->sealing = sealing;
    if (sealing == NULL)
        say_done(w, &w->done);
    look_at_seal(w);
}

static void farewell(struct worker *w)
{
    struct letter l = {.kind = LETTER_BYE};
    enum { EACH = sizeof(struct record_account) / sizeof(double) };
    const size_t accounts = GROUPS * EACH;
    _Static_assert(METRICS + 1 + EACH <= LETTER_VALUES, "an account fits a letter");
    _Static_assert(GROUPS * EACH + 1 + WEIGHTS_FROM <= LETTER_VALUES, "so do all");
    memcpy(l.value, w->account, sizeof w->account);
    l.value[accounts] = (double)mem_peak_rss();
    for (int k = 0; k < WEIGHTS_FROM; k++)
        l.value[accounts + 1 + (size_t)k] = (double)w->o->task->weights_from[k];
    tell(w, &l);
    while (w->o->coordinator != NULL && !coordinator_closed(w->o->coordinator)) {
        coordinator_step(w->o->coordinator);
        nanosleep(&(struct timespec){0, 200000}, NULL);
    }
}

int worker_run(const struct worker_options *o, char text[640])
{
    struct worker w = {.o = o, .pinged = clock_s(), .heard = "start", .leave = INFINITY};
    struct letter l;
    int from;
    long pause_ns = 20000;
    o->task->seal_later = true;
    o->task->idle = tick;
    o->task->idle_ctx = &w;
    o->task->leave = leave;
    o->task->stopping = worker_signal_caught;
    snprintf(o->task->phase, sizeof o->task->phase, "waits for a lease");
    for (;;) {
        tick(&w);
        if (!mailbox_take(o->mailbox, false, &l, &from)) {
            check_coordinator(&w);
            nanosleep(&(struct timespec){0, pause_ns}, NULL);
            if (pause_ns < 3000000)
                pause_ns += pause_ns / 4;
            continue;
        }
        take(&w, &l, from);
        if (l.kind == LETTER_LEASE && goes_aside(&w, &l.lease)) {
            put_aside(&w, &l.lease);
            be_idle(&w);
            pause_ns = 20000;
        } else if (l.kind == LETTER_LEASE) {
            work(&w, &l);
            while (w.ahead) {
                l = w.next;
                w.ahead = false;
                work(&w, &l);
            }
            pause_ns = 20000;
        } else if (l.kind == LETTER_QUIT) {
            break;
        }
    }
    farewell(&w);
    o->task->idle = NULL;
    o->task->leave = NULL;
    memcpy(text, l.text, sizeof l.text);
    return l.code;
}

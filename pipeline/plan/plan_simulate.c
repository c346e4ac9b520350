/* Three heaps of events: leases begin at a time of the clock, and so end those of other
 * programs; the others end at a count of work done, which advances as fast as the clock while
 * there is a core for every busy rank, and at cores / busy of that where ranks take turns.
 * Rewards put aside are done by shadow ranks behind the world's. */
#include "pipeline/plan/plan_simulate.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "scheduler/ledger.h"

#include <math.h>
#include <string.h>

enum { QUEUE = 4 };

struct event {
    double at;
    int64_t rank;
};

struct heap {
    struct event *e;
    int64_t n;
};

struct member {
    bool busy;
    struct lease work, queue[QUEUE];
    int queued;
    int64_t version; /* of the weights that it has */
    double since;    /* when it began to wait, or its work */
};

/* Advantage or update at hand: its members begin together, when the last has arrived; at
 * the end the first one seals the file, which the others wait for. */
struct gang {
    bool leased, seals;
    int arrived, inside; /* members with the lease; that work */
};

struct simulation {
    struct simulate_options o;
    struct ledger *ledger;
    struct member *rank; /* [ranks] */
    int64_t ranks, world, idle;
    int64_t ready[2]; /* rollouts and rewards that could be leased */
    struct gang gang[GROUPS];
    struct heap begins, ends, answers;
    double now, done, coordinator; /* clock, work done, when the coordinator is free */
    int64_t busy;                  /* ranks that want a core */
    double *finished;              /* [iterations] */
    struct simulate_result r;
};

static void push(struct heap *h, double at, int64_t rank)
{
    int64_t i = h->n++;
    for (int64_t up; i > 0 && h->e[up = (i - 1) / 2].at > at; i = up)
        h->e[i] = h->e[up];
    h->e[i] = (struct event){at, rank};
}

static int64_t pop(struct heap *h)
{
    int64_t rank = h->e[0].rank, i = 0;
    struct event last = h->e[--h->n];
    for (int64_t k; (k = 2 * i + 1) < h->n; i = k) {
        k += k + 1 < h->n && h->e[k + 1].at < h->e[k].at;
        if (h->e[k].at >= last.at)
            break;
        h->e[i] = h->e[k];
    }
    h->e[i] = last;
    return rank;
}

static bool is_gang(enum group g)
{
    return g == GROUP_ADVANTAGE || g == GROUP_UPDATE;
}

static bool has(const struct simulation *s, enum group g, int64_t r)
{
    if (r >= s->world)
        return g == GROUP_REWARD;
    return layout_has(s->o.layout, g, (int)r) && !(g == GROUP_REWARD && s->o.aside);
}

static double speed(const struct simulation *s)
{
    return s->o.cores > 0 && s->busy > s->o.cores
               ? (double)s->o.cores / (double)s->busy
               : 1;
}

/* The clock at the end of the next lease that needs a core; INFINITY: none is under way. */
static double next_end(const struct simulation *s)
{
    if (s->ends.n == 0)
        return INFINITY;
    return s->now + fmax(s->ends.e[0].at - s->done, 0) / speed(s);
}

static double first_of(const struct heap *h)
{
    return h->n > 0 ? h->e[0].at : INFINITY;
}

static double next_event(const struct simulation *s)
{
    return fmin(first_of(&s->begins), fmin(first_of(&s->answers), next_end(s)));
}

static void advance(struct simulation *s, double to)
{
    s->done += (to - s->now) * speed(s);
    s->now = to;
}

static double part(int64_t leaves, int64_t rank, int64_t size)
{
    return (double)(leaves * (rank + 1) / size - leaves * rank / size);
}

/* Work of a gang's member `rank` of `size`; rank -1: of the slowest at each vote. */
static double gang_work(const struct simulate_options *o, enum group g, int64_t rank,
                        int64_t size)
{
    if (g == GROUP_ADVANTAGE)
        return o->advantage_s +
               o->advantage_shard_s * (rank < 0 ? ceil((double)o->shards / (double)size)
                                                : part(o->shards, rank, size));
    double leaves =
        rank < 0 ? (double)o->steps * ceil((double)o->leaves / (double)size) +
                       (double)o->last_steps * ceil((double)o->last_leaves / (double)size)
                 : (double)o->steps * part(o->leaves, rank, size) +
                       (double)o->last_steps * part(o->last_leaves, rank, size);
    return o->update_s + (double)(o->steps + o->last_steps) * o->step_s + o->leaf_s * leaves;
}

static double shard_work(struct simulation *s, struct member *k, const struct lease *l)
{
    const struct simulate_options *o = &s->o;
    bool last = l->shard == o->shards - 1;
    if (l->group == GROUP_REWARD)
        return last ? o->reward_last_s : o->reward_s;
    double work = last ? o->rollout_last_s : o->rollout_s;
    if (l->version != k->version && l->version > 0)
        work += o->weights_s;
    k->version = l->version;
    return work;
}

static void credit_waiting(struct simulation *s, int64_t r, double seconds)
{
    if (r >= s->world)
        return;
    s->r.waiting_all_s += seconds;
    for (int g = 0; g < GROUPS; g++)
        if (layout_has(s->o.layout, (enum group)g, (int)r))
            s->r.waiting_s[g] += seconds;
}

/* How late a rank is that looks for letters since it has nothing to do. */
static double late(const struct simulation *s, int64_t r)
{
    const struct member *k = &s->rank[r];
    return k->busy || r >= s->world ? 0 : fmin(s->o.poll_s, (s->now - k->since) / 5) / 2;
}

static void lease(struct simulation *s, int64_t r, const struct lease *l)
{
    struct member *k = &s->rank[r];
    int64_t coordinator = layout_coordinator(s->o.layout);
    bool goes_on = k->since >= s->now && k->work.group == l->group && !is_gang(l->group);
    double delay = goes_on ? 0 : late(s, coordinator);
    if (r != coordinator)
        delay += late(s, r);
    k->busy = true;
    k->work = *l;
    s->idle--;
    s->coordinator += s->o.letter_s;
    push(&s->begins, fmax(s->coordinator, s->now + delay), r);
}

/* Does the lease at hand keep a core busy? */
static bool computes(const struct simulation *s, int64_t r)
{
    return r < s->world && !(s->o.asked && s->rank[r].work.group == GROUP_REWARD);
}

/* The lease has reached its rank. */
static void begin(struct simulation *s, int64_t r)
{
    struct member *k = &s->rank[r];
    const struct layout *l = s->o.layout;
    enum group g = k->work.group;
    credit_waiting(s, r, s->now - k->since);
    k->since = s->now;
    if (!is_gang(g)) {
        double work = shard_work(s, k, &k->work);
        s->busy += computes(s, r);
        if (computes(s, r))
            push(&s->ends, s->done + work, r);
        else
            push(&s->answers, s->now + work, r);
        return;
    }
    if (++s->gang[g].arrived < l->size[g])
        return;
    double work = gang_work(&s->o, g, -1, l->size[g]);
    s->busy += l->size[g];
    for (int i = l->start[g]; i < l->start[g] + l->size[g]; i++) {
        credit_waiting(s, i, s->now - s->rank[i].since);
        s->rank[i].since = s->now;
        push(&s->ends, s->done + work, i);
    }
}

static void sealed(struct simulation *s, const struct lease *l)
{
    ledger_done(s->ledger, l);
    if (l->group == GROUP_ROLLOUT)
        s->ready[GROUP_REWARD]++;
    if (l->group != GROUP_UPDATE)
        return;
    s->finished[l->iteration] = s->now;
    if (ledger_version(s->ledger) + s->o.max_staleness < s->o.iterations)
        s->ready[GROUP_ROLLOUT] += s->o.shards;
}

/* The lease is done with: its rank is free. */
static void leave(struct simulation *s, int64_t r)
{
    struct member *k = &s->rank[r];
    k->since = s->now;
    k->busy = false;
    s->idle++;
    s->coordinator = fmax(s->coordinator, s->now) + s->o.letter_s;
    if (k->work.group == GROUP_UPDATE)
        k->version = k->work.iteration + 1;
}

static void credit_work(struct simulation *s, enum group g, int64_t r, double seconds)
{
    s->r.working_s[g] += seconds;
    if (r < s->world)
        s->r.working_all_s += seconds;
}

/* Who has fewer micro-batches has waited at votes. */
static void end_member(struct simulation *s, enum group g, int64_t r)
{
    struct member *k = &s->rank[r];
    struct gang *gang = &s->gang[g];
    const struct layout *l = s->o.layout;
    double wall = s->now - k->since, part = 1, all = gang_work(&s->o, g, -1, l->size[g]);
    if (!gang->seals && all > 0)
        part = gang_work(&s->o, g, r - l->start[g], l->size[g]) / all;
    credit_work(s, g, r, wall * part);
    credit_waiting(s, r, wall * (1 - part));
    k->since = s->now;
    s->busy--;
    if (--gang->inside > 0)
        return;
    double seal = g == GROUP_UPDATE ? s->o.update_seal_s : s->o.advantage_seal_s;
    if (!gang->seals && seal > 0) {
        gang->seals = true;
        gang->inside = 1;
        s->busy++;
        push(&s->ends, s->done + seal, l->start[g]);
        return;
    }
    for (int i = l->start[g]; i < l->start[g] + l->size[g]; i++) {
        credit_waiting(s, i, s->now - s->rank[i].since);
        leave(s, i);
    }
    gang->leased = false;
    sealed(s, &k->work);
}

static void end(struct simulation *s, int64_t r)
{
    struct member *k = &s->rank[r];
    if (is_gang(k->work.group)) {
        end_member(s, k->work.group, r);
        return;
    }
    s->busy -= computes(s, r);
    credit_work(s, k->work.group, r, s->now - k->since);
    leave(s, r);
    sealed(s, &k->work);
}

static void queue_gangs(struct simulation *s)
{
    static const enum group gangs[] = {GROUP_UPDATE, GROUP_ADVANTAGE};
    const struct layout *l = s->o.layout;
    struct lease work;
    for (int i = 0; i < 2; i++) {
        enum group g = gangs[i];
        if (s->gang[g].leased || !ledger_next(s->ledger, g, &work))
            continue;
        s->gang[g] = (struct gang){.leased = true, .inside = l->size[g]};
        for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++) {
            ERR_BUG_IF(s->rank[r].queued == QUEUE);
            s->rank[r].queue[s->rank[r].queued++] = work;
        }
    }
}

static bool next_shard(struct simulation *s, enum group g, int64_t r, struct lease *out)
{
    if (s->ready[g] == 0 || !has(s, g, r) || !ledger_next(s->ledger, g, out))
        return false;
    s->ready[g]--;
    return true;
}

static void hand_out(struct simulation *s)
{
    struct lease work;
    queue_gangs(s);
    int64_t left = s->idle;
    for (int64_t r = 0; left > 0; r++) {
        struct member *k = &s->rank[r];
        if (k->busy)
            continue;
        left--;
        if (k->queued > 0) {
            work = k->queue[0];
            k->queued--;
            memmove(k->queue, k->queue + 1, (size_t)k->queued * sizeof *k->queue);
            lease(s, r, &work);
        } else if (next_shard(s, GROUP_REWARD, r, &work) ||
                   next_shard(s, GROUP_ROLLOUT, r, &work)) {
            lease(s, r, &work);
        }
    }
}

static void open_simulation(struct simulation *s, const struct simulate_options *o)
{
    const struct ledger_options l = {.iterations = o->iterations,
                                     .shards = o->shards,
                                     .max_staleness = o->max_staleness,
                                     .only = {true, true, true, true}};
    int64_t window = o->max_staleness + 1;
    s->o = *o;
    s->ledger = ledger_create(&l);
    s->world = o->layout->world;
    s->ranks = s->world + (o->aside ? o->layout->size[GROUP_REWARD] : 0);
    s->idle = s->ranks;
    s->rank = mem_alloc(s->ranks, sizeof *s->rank);
    s->begins.e = mem_alloc(s->ranks, sizeof *s->begins.e);
    s->ends.e = mem_alloc(s->ranks, sizeof *s->ends.e);
    s->answers.e = mem_alloc(s->ranks, sizeof *s->answers.e);
    s->finished = mem_alloc(o->iterations, sizeof *s->finished);
    s->ready[GROUP_ROLLOUT] =
        o->shards * (window < o->iterations ? window : o->iterations);
}

void simulate_run(const struct simulate_options *o, struct simulate_result *out)
{
    struct simulation s = {.idle = 0};
    open_simulation(&s, o);
    hand_out(&s);
    for (double at; isfinite(at = next_event(&s));) {
        advance(&s, at);
        if (first_of(&s.begins) <= at)
            begin(&s, pop(&s.begins));
        else if (first_of(&s.answers) <= at)
            end(&s, pop(&s.answers));
        else
            end(&s, pop(&s.ends));
        /* what ends at the same moment is known before anything is handed out */
        if (next_event(&s) > s.now)
            hand_out(&s);
    }
    ERR_BUG_IF(!ledger_finished(s.ledger));
    s.r.total_s = s.now;
    for (int64_t r = 0; r < s.world; r++)
        credit_waiting(&s, r, s.now - s.rank[r].since);
    int64_t first = o->max_staleness, last = o->iterations - 1;
    s.r.iteration_s = last > first
                          ? (s.finished[last] - s.finished[first]) / (double)(last - first)
                          : s.now / (double)o->iterations;
    *out = s.r;
    ledger_destroy(s.ledger);
    mem_free(s.rank);
    mem_free(s.begins.e);
    mem_free(s.ends.e);
    mem_free(s.answers.e);
    mem_free(s.finished);
}

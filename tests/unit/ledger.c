/* The ledger against a second bookkeeper that only knows what was sealed. Work is
 * leased, finished and given back in random order; jobs drain or die and others go on.
 */
#include "scheduler/ledger.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/tap.h"

enum { MAX_ITERATIONS = 12, MAX_SHARDS = 8, MAX_ACTIVE = 128 };
enum { FREE, OUT, SEALED };

/* What the disk holds, and what the present job has leased. */
struct world {
    int64_t iterations, shards, staleness, version;
    uint8_t state[GROUPS][MAX_ITERATIONS]
                 [MAX_SHARDS];                     /* shard 0 for advantage, update */
    int times[GROUPS][MAX_ITERATIONS][MAX_SHARDS]; /* how often it was sealed */
    struct lease active[MAX_ACTIVE];
    int actives, ahead; /* ahead: rollouts beyond the newest policy's iteration */
    uint64_t random;
    const char *wrong; /* the first broken rule */
};

static uint64_t roll(struct world *w, uint64_t n)
{
    w->random = rng_mix64(w->random + 1);
    return w->random % n;
}

static void rule(struct world *w, bool kept, const char *what)
{
    if (!kept && w->wrong == NULL)
        w->wrong = what;
}

static uint8_t *state_of(struct world *w, const struct lease *l)
{
    return &w->state[l->group][l->iteration][l->shard < 0 ? 0 : l->shard];
}

static bool all_sealed(const struct world *w, enum group g, int64_t iteration)
{
    for (int64_t s = 0; s < w->shards; s++)
        if (w->state[g][iteration][s] != SEALED)
            return false;
    return true;
}

static void check_lease(struct world *w, const struct lease *l, enum group asked)
{
    int64_t i = l->iteration, behind = i - w->staleness;
    rule(w, l->group == asked, "a lease for another group");
    rule(w, i >= 0 && i < w->iterations, "an iteration that is not wanted");
    if (w->wrong != NULL)
        return;
    rule(w, *state_of(w, l) == FREE, "work leased twice or done already");
    if (l->group == GROUP_ROLLOUT || l->group == GROUP_REWARD) {
        rule(w, l->shard >= 0 && l->shard < w->shards, "no such shard");
        rule(w, l->version == (behind > 0 ? behind : 0),
             "another version than iteration - k");
        rule(w, l->version <= w->version, "a policy that does not exist yet");
    } else {
        rule(w, l->shard == -1, "a shard number where there is none");
    }
    if (l->group == GROUP_ROLLOUT)
        w->ahead += i > w->version;
    if (l->group == GROUP_REWARD)
        rule(w, w->state[GROUP_ROLLOUT][i][l->shard] == SEALED,
             "a reward before its rollout");
    if (l->group == GROUP_ADVANTAGE) {
        rule(w, all_sealed(w, GROUP_REWARD, i), "an advantage before its rewards");
        rule(w, i == 0 || w->state[GROUP_ADVANTAGE][i - 1][0] == SEALED,
             "advantages out of order");
    }
    if (l->group == GROUP_UPDATE) {
        rule(w, w->state[GROUP_ADVANTAGE][i][0] == SEALED,
             "an update before its advantage");
        rule(w, all_sealed(w, GROUP_ROLLOUT, i), "an update before its rollouts");
        rule(w, i == w->version && l->version == i, "an update of another version");
    }
}

static bool lease_one(struct world *w, struct ledger *l, enum group g)
{
    struct lease lease;
    if (w->actives == MAX_ACTIVE || !ledger_next(l, g, &lease))
        return false;
    check_lease(w, &lease, g);
    if (w->wrong != NULL)
        return false;
    *state_of(w, &lease) = OUT;
    w->active[w->actives++] = lease;
    return true;
}

/* A random lease comes back: sealed, or now and then undone. */
static void settle_one(struct world *w, struct ledger *l)
{
    int k = (int)roll(w, (uint64_t)w->actives);
    struct lease lease = w->active[k];
    w->active[k] = w->active[--w->actives];
    if (roll(w, 5) == 0) {
        *state_of(w, &lease) = FREE;
        ledger_return(l, &lease);
        return;
    }
    *state_of(w, &lease) = SEALED;
    w->times[lease.group][lease.iteration][lease.shard < 0 ? 0 : lease.shard]++;
    w->version += lease.group == GROUP_UPDATE;
    ledger_done(l, &lease);
}

/* A ledger of a job that starts on what is sealed; it hears of everything on disk. */
static struct ledger *start(struct world *w, const bool only[GROUPS])
{
    struct ledger_options o = {.iterations = w->iterations,
                               .shards = w->shards,
                               .max_staleness = w->staleness,
                               .version = w->version};
    memcpy(o.only, only, sizeof o.only);
    struct ledger *l = ledger_create(&o);
    for (int g = 0; g < GROUPS; g++)
        for (int64_t i = 0; i < w->iterations; i++)
            for (int64_t s = 0; s < w->shards; s++) {
                bool single = g == GROUP_ADVANTAGE || g == GROUP_UPDATE;
                if (w->state[g][i][s] == SEALED)
                    ledger_found(l, (enum group)g, i, single ? -1 : s);
            }
    return l;
}

static void check_counts(struct world *w, const struct ledger *l)
{
    rule(w, ledger_outstanding(l) == w->actives, "the count of leases is wrong");
    rule(w, ledger_version(l) == w->version, "the version is wrong");
    for (int64_t i = w->version; i <= w->version + w->staleness && i < w->iterations;
         i++)
        for (int g = 0; g < GROUP_ADVANTAGE; g++) {
            int64_t n = 0;
            for (int64_t s = 0; s < w->shards; s++)
                n += w->state[g][i][s] == SEALED;
            rule(w, ledger_sealed(l, (enum group)g, i) == n,
                 "the count of shards is wrong");
        }
}

/* One job, until it is finished, or drained or killed at a random moment. Returns steps
 * taken. */
static int one_job(struct world *w, const bool only[GROUPS], int drain_at, int kill_at)
{
    struct ledger *l = start(w, only);
    int step = 0;
    for (; !ledger_finished(l) && w->wrong == NULL && step < 100000; step++) {
        if (step == kill_at)
            break;
        if (step == drain_at) {
            ledger_drain(l);
            rule(w, ledger_draining(l), "a drained ledger does not say so");
        }
        bool leased = false;
        if (w->actives == 0 || roll(w, 2) == 0) {
            int first = (int)roll(w, GROUPS);
            for (int k = 0; k < GROUPS && !leased; k++)
                leased = lease_one(w, l, (enum group)((first + k) % GROUPS));
            rule(w, !(leased && ledger_draining(l)), "a lease while draining");
            rule(w, leased || w->actives > 0 || ledger_finished(l),
                 "a dead end: nothing out, nothing to lease");
        }
        if (!leased && w->actives > 0)
            settle_one(w, l);
        check_counts(w, l);
    }
    rule(w, step < 100000, "no end");
    for (int k = 0; k < w->actives; k++) /* killed: what was leased does not exist */
        *state_of(w, &w->active[k]) = FREE;
    w->actives = 0;
    ledger_destroy(l);
    return step;
}

static void check_complete(struct world *w)
{
    rule(w, w->version == w->iterations, "the last version is missing");
    for (int g = 0; g < GROUPS; g++)
        for (int64_t i = 0; i < w->iterations; i++)
            for (int64_t s = 0; s < (g < GROUP_ADVANTAGE ? w->shards : 1); s++)
                rule(w, w->times[g][i][s] == 1, "work done not exactly once");
}

static const bool all_groups[GROUPS] = {true, true, true, true};

static struct world new_world(int64_t staleness, int64_t shards, uint64_t seed)
{
    return (struct world){.iterations = 9,
                          .shards = shards,
                          .staleness = staleness,
                          .random = seed + 1000 * (uint64_t)(staleness * 10 + shards)};
}

static void test_whole(int64_t staleness)
{
    static const int64_t shards[] = {1, 2, 5, 8};
    const char *wrong = NULL;
    int runs = 0, ahead = 0;
    for (int k = 0; k < 4; k++)
        for (uint64_t seed = 0; seed < 25; seed++, runs++) {
            struct world w = new_world(staleness, shards[k], seed);
            one_job(&w, all_groups, -1, -1);
            check_complete(&w);
            ahead += w.ahead;
            wrong = wrong != NULL ? wrong : w.wrong;
        }
    tap_ok(wrong == NULL && (staleness == 0) == (ahead == 0),
           "staleness %d: %d jobs in random order; %d rollouts ran ahead%s%s",
           (int)staleness, runs, ahead, wrong != NULL ? ": " : "",
           wrong != NULL ? wrong : "");
}

static void test_restarts(int64_t staleness)
{
    const char *wrong = NULL;
    int runs = 0, jobs = 0;
    for (uint64_t seed = 0; seed < 40; seed++, runs++) {
        struct world w = new_world(staleness, 1 + (int64_t)(seed % 8), 7777 + seed);
        while (w.version < w.iterations && w.wrong == NULL && jobs < 100000) {
            bool drain = roll(&w, 2) == 0;
            int when = (int)roll(&w, 60);
            one_job(&w, all_groups, drain ? when : -1, drain ? -1 : when);
            jobs++;
        }
        check_complete(&w);
        wrong = wrong != NULL ? wrong : w.wrong;
    }
    tap_ok(wrong == NULL && jobs > 3 * runs,
           "staleness %d: %d runs in %d drained or killed jobs%s%s", (int)staleness,
           runs, jobs, wrong != NULL ? ": " : "", wrong != NULL ? wrong : "");
}

/* Between jobs somebody removes files that no update has read yet: trajectories,
 * advantages, and scores of which there is no advantage. */
static void remove_some(struct world *w)
{
    for (int g = 0; g < GROUP_UPDATE; g++)
        for (int64_t i = w->version; i < w->iterations; i++)
            for (int64_t s = 0; s < w->shards; s++)
                if (w->state[g][i][s] == SEALED && roll(w, 4) == 0 &&
                    !(g == GROUP_REWARD && w->state[GROUP_ADVANTAGE][i][0] == SEALED)) {
                    w->state[g][i][s] = FREE;
                    w->times[g][i][s]--;
                }
}

static void test_removals(int64_t staleness)
{
    const char *wrong = NULL;
    int jobs = 0;
    for (uint64_t seed = 0; seed < 40; seed++) {
        struct world w = new_world(staleness, 1 + (int64_t)(seed % 4), 99 + seed);
        while (w.version < w.iterations && w.wrong == NULL && jobs < 100000) {
            one_job(&w, all_groups, -1, 5 + (int)roll(&w, 60));
            remove_some(&w);
            jobs++;
        }
        check_complete(&w);
        wrong = wrong != NULL ? wrong : w.wrong;
    }
    tap_ok(wrong == NULL,
           "staleness %d: files removed between %d jobs are made again%s%s",
           (int)staleness, jobs, wrong != NULL ? ": " : "", wrong != NULL ? wrong : "");
}

/* Every stage as a job of its own, in turn. */
static void test_stages(int64_t staleness)
{
    struct world w = new_world(staleness, 3, 42);
    int rounds = 0;
    for (; w.version < w.iterations && rounds < 50; rounds++)
        for (int g = 0; g < GROUPS; g++) {
            bool only[GROUPS] = {false};
            only[g] = true;
            one_job(&w, only, -1, -1);
        }
    check_complete(&w);
    tap_ok(w.wrong == NULL, "staleness %d: stages as jobs of their own, %d rounds%s%s",
           (int)staleness, rounds, w.wrong != NULL ? ": " : "",
           w.wrong != NULL ? w.wrong : "");
}

static void test_order(void)
{
    struct world w = new_world(1, 3, 0);
    struct ledger *l = start(&w, all_groups);
    struct lease a, b, c;
    tap_ok(ledger_ready(l, GROUP_ROLLOUT) == 6 && ledger_ready(l, GROUP_REWARD) == 0,
           "ready: the rollouts of both iterations of the window, and no reward");
    tap_ok(ledger_next(l, GROUP_ROLLOUT, &a) && a.iteration == 0 && a.shard == 0 &&
               ledger_next(l, GROUP_ROLLOUT, &b) && b.shard == 1 &&
               ledger_next(l, GROUP_ROLLOUT, &c) && c.shard == 2,
           "lower shards first");
    tap_ok(!ledger_next(l, GROUP_REWARD, &c) && !ledger_next(l, GROUP_ADVANTAGE, &c) &&
               !ledger_next(l, GROUP_UPDATE, &c),
           "nothing else can start");
    tap_ok(ledger_ready(l, GROUP_ROLLOUT) == 3, "what is leased is not ready");
    ledger_done(l, &a);
    tap_ok(ledger_ready(l, GROUP_REWARD) == 1, "a sealed rollout makes a reward ready");
    ledger_return(l, &b);
    tap_ok(ledger_ready(l, GROUP_ROLLOUT) == 4, "what was given back is ready");
    tap_ok(ledger_next(l, GROUP_ROLLOUT, &b) && b.iteration == 0 && b.shard == 1,
           "what was given back comes first");
    tap_ok(ledger_next(l, GROUP_ROLLOUT, &c) && c.iteration == 1 && c.version == 0,
           "staleness 1: the next iteration starts with the old policy");
    ledger_drain(l);
    tap_ok(ledger_ready(l, GROUP_ROLLOUT) == 0, "draining: nothing is ready");
    tap_ok(!ledger_next(l, GROUP_ROLLOUT, &c) && !ledger_finished(l),
           "draining: no lease, and not finished while leases are out");
    ledger_destroy(l);
}

static void test_ends(void)
{
    struct world w = new_world(0, 2, 0);
    struct lease lease;
    w.version = w.iterations;
    struct ledger *l = start(&w, all_groups);
    tap_ok(ledger_finished(l) && !ledger_next(l, GROUP_ROLLOUT, &lease),
           "a finished run has nothing to do");
    ledger_destroy(l);
    w.iterations = 0;
    w.version = 0;
    l = start(&w, all_groups);
    tap_ok(ledger_finished(l), "neither has one of no iterations");
    ledger_destroy(l);
    ledger_destroy(NULL);
    w = new_world(0, 2, 0);
    l = start(&w, all_groups);
    ledger_found(l, GROUP_ROLLOUT, 5, 0);
    ledger_found(l, GROUP_ROLLOUT, 0, 7);
    ledger_found(l, GROUP_ROLLOUT, 0, 1);
    ledger_found(l, GROUP_ROLLOUT, 0, 1);
    tap_ok(ledger_sealed(l, GROUP_ROLLOUT, 0) == 1 &&
               ledger_sealed(l, GROUP_ROLLOUT, 5) == 0,
           "files outside of the window are ignored, a repeated one counts once");
    ledger_destroy(l);
}

int main(void)
{
    for (int64_t k = 0; k <= 3; k++) {
        test_whole(k);
        test_restarts(k);
        test_removals(k);
        test_stages(k);
    }
    test_order();
    test_ends();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

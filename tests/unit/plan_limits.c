/* The simulated run in its limits: Amdahl's law, a single server, programs that need no core,
 * late ranks, the exchange's tree, ten thousand ranks; rates without the turns of others; and
 * memory of ranks and nodes. */
#include "pipeline/plan/plan_crowd.h"
#include "pipeline/plan/plan_memory.h"
#include "pipeline/plan/plan_model.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/schema.h"
#include "stages/nn/reduce.h"
#include "tests/group_sizes.h"
#include "tests/tap.h"

static const double tol = 1e-9;

/* G. M. Amdahl, AFIPS 1967: with a part that one rank does alone, N ranks take
 * serial + parallel / N. */
static void test_amdahl(void)
{
    const int ranks[] = {1, 2, 8, 64, 1024};
    int wrong = 0, waits = 0;
    for (size_t k = 0; k < sizeof ranks / sizeof *ranks; k++) {
        int n = ranks[k];
        struct layout l = layout_of(n, n, n, n, n);
        struct simulate_options o = {.layout = &l,
                                     .iterations = 3,
                                     .shards = 1024,
                                     .rollout_s = 0.5,
                                     .rollout_last_s = 0.5,
                                     .reward_s = 0.25,
                                     .reward_last_s = 0.25,
                                     .advantage_shard_s = 0.125,
                                     .leaf_s = 2,
                                     .steps = 1,
                                     .leaves = 2048,
                                     .advantage_seal_s = 3,
                                     .update_seal_s = 4};
        struct simulate_result r;
        simulate_run(&o, &r);
        double parallel = 1024 * (0.5 + 0.25 + 0.125) + 2048 * 2;
        wrong += !(fabs(r.iteration_s - (3 + 4 + parallel / n)) < tol * parallel);
        waits += !(fabs(r.waiting_all_s - 3.0 * 7 * (n - 1)) < 1e-6);
    }
    tap_ok(wrong == 0, "Amdahl's law, 1 to 1024 ranks (%d differ)", wrong);
    tap_ok(waits == 0, "all but one wait for its part (%d differ)", waits);
}

/* M rollout ranks that take a per shard before one reward rank that takes b: a queue with
 * regular arrivals. */
static struct simulate_result served(int m, double a, double b, int64_t staleness)
{
    struct layout l = layout_of(m, 1, 1, 1, m + 3);
    struct simulate_options o = {.layout = &l,
                                 .iterations = 24,
                                 .shards = 12 * m,
                                 .max_staleness = staleness,
                                 .rollout_s = a,
                                 .rollout_last_s = a,
                                 .reward_s = b,
                                 .reward_last_s = b};
    struct simulate_result r;
    simulate_run(&o, &r);
    return r;
}

static void test_server(void)
{
    const int m = 5;
    double s = 12 * m;
    tap_near(served(m, 2, 0.5, 0).iteration_s, 2 + s * 0.5, tol,
             "a server that is too slow: it waits for the first arrival alone");
    tap_near(served(m, 2, 0.25, 0).iteration_s, 12 * 2 + m * 0.25, tol,
             "one that is fast enough: the last wave's queue comes on top");
    struct simulate_result r = served(m, 2, 0.5, 2);
    tap_near(r.iteration_s, s * 0.5, tol, "with a staleness the slow one never waits");
    tap_near(r.working_s[GROUP_REWARD] / 24, s * 0.5, tol, "as much work as before");
    tap_near(served(m, 2, 0.25, 2).iteration_s, 12 * 2, tol, "and the fast one is not felt");
}

/* Six ranks on one core; a reward that sleeps. */
static void test_cores(void)
{
    struct layout split = layout_of(1, 3, 1, 1, 6), one = layout_of(1, 1, 1, 1, 1);
    struct simulate_options o = {.layout = &split,
                                 .cores = 1,
                                 .asked = true,
                                 .iterations = 4,
                                 .shards = 3,
                                 .rollout_s = 0.25,
                                 .rollout_last_s = 0.25,
                                 .reward_s = 8,
                                 .reward_last_s = 8,
                                 .update_s = 1};
    struct simulate_result r;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, 3 * 0.25 + 8 + 1, tol, "who is asked needs no core");
    o.asked = false;
    simulate_run(&o, &r);
    /* the first score shares the core with rollouts, then three take turns */
    tap_near(r.iteration_s, 3 * 0.25 + 3 * 8 + 1, tol, "else all of it is done by the one");
    o.layout = &one;
    o.asked = o.aside = true;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, 0.25 + 3 * 8 + 1, tol, "one at a time beside the other work");
    o.aside = o.asked = false;
    o.poll_s = 1e-3;
    simulate_run(&o, &r);
    tap_near(r.waiting_all_s, 0, tol, "a rank that always works is never late");
    o.layout = &split;
    o.cores = 0;
    simulate_run(&o, &r);
    /* half of it each: the coordinator after update and rollout, rollout, reward, its own
     * advantage, update */
    tap_near(r.iteration_s, 3 * 0.25 + 8 + 1 + 6 * 0.5e-3, tol, "others are late six times");
}

static void test_exchange(void)
{
    const struct plan_rates r = {.latency_s = 5e-6, .bandwidth = 1e9};
    tap_near(plan_exchange_s(&r, 4e6, 1), 0, 0, "one rank exchanges nothing");
    double before = plan_exchange_s(&r, 4e6, 2);
    tap_near(before, 2 * 4e6 / 1e9 + 2 * 5e-6, 1e-12, "two: the vector twice, two latencies");
    int wrong = 0;
    for (int64_t n = 4; n <= 8192; n *= 2) {
        double now = plan_exchange_s(&r, 4e6, n);
        wrong += !(fabs(now - before - 2 * r.latency_s) < 1e-12);
        before = now;
    }
    tap_ok(wrong == 0, "each doubling adds two latencies: log2");
}

/* Ten thousand ranks: the closed form, in little memory. */
static void test_ten_thousand(void)
{
    enum { N = 10000 };
    struct layout l = layout_of(N / 2, N / 4, N / 8, N / 8, N);
    struct simulate_options o = {.layout = &l,
                                 .iterations = 2,
                                 .shards = N / 2,
                                 .rollout_s = 2,
                                 .rollout_last_s = 2,
                                 .reward_s = 1,
                                 .reward_last_s = 1,
                                 .advantage_shard_s = 0.5,
                                 .update_s = 3,
                                 .step_s = 0.25,
                                 .steps = 2,
                                 .leaves = N / 8,
                                 .leaf_s = 1};
    struct simulate_result r;
    int64_t before = mem_peak_rss();
    simulate_run(&o, &r);
    tap_near(r.iteration_s, 2 + 2 * 1 + 4 * 0.5 + 3 + 2 * 0.25 + 2, tol, "10000 ranks");
    tap_near(r.working_all_s + r.waiting_all_s, r.total_s * N, 1e-6 * r.total_s * N,
             "no rank's second is lost");
    tap_ok(mem_peak_rss() - before < (int64_t)64 << 20, "in less than 64 MiB (%lld)",
           (long long)(mem_peak_rss() - before));
}

static struct plan plan_of(const struct config *c)
{
    return (struct plan){.c = c,
                         .algo = algo_find("ddpo_is"),
                         .ranks = 4,
                         .threads = 1,
                         .samples = 32,
                         .copies = 1,
                         .shard = 1,
                         .shards = 32,
                         .micro = 1,
                         .batch = 32,
                         .epochs = 1,
                         .steps = 4,
                         .trained = 4,
                         .pairs = 128,
                         .optimizer_steps = 1};
}

static struct plan_rates rates_of(void)
{
    return (struct plan_rates){.evaluation_s = 0.125,
                               .pair_s = 0.25,
                               .reward_sample_s = 0.5,
                               .advantage_shard_s = 0.0625,
                               .latency_s = 1e-9,
                               .bandwidth = 1e18,
                               .ranks = 4};
}

/* What ranks on fewer cores measure: the same rates, as long as they took. */
static void crowd(struct plan_rates *r, const struct plan *p, const struct layout *l)
{
    struct simulate_options o;
    struct simulate_result apart, turns;
    plan_costs(&o, p, r, l, 1);
    simulate_run(&o, &apart);
    o.cores = r->cores;
    simulate_run(&o, &turns);
    double f[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        f[g] = turns.working_s[g] / apart.working_s[g];
    r->evaluation_s *= f[GROUP_ROLLOUT];
    r->reward_sample_s *= f[GROUP_REWARD];
    r->advantage_shard_s *= f[GROUP_ADVANTAGE];
    r->pair_s *= f[GROUP_UPDATE];
}

static void test_crowd(const char *placement, int64_t cores, double rollout, double update)
{
    char text[64];
    snprintf(text, sizeof text, "groups.placement=%s", placement);
    char *set[] = {text, "run.iterations=6"};
    struct config *c = schema_load(2, set);
    struct plan p = plan_of(c);
    struct plan_rates r = rates_of();
    r.cores = cores;
    const struct plan_rates is = r;
    const int all[GROUPS] = {LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO};
    struct layout l;
    tap_ok(layout_make(&l, all, strcmp(placement, "split") == 0, 4) == 0, "four ranks, %s",
           placement);
    crowd(&r, &p, &l);
    tap_near(r.evaluation_s, rollout * is.evaluation_s, 1e-2, "on few cores they seem slower");
    tap_near(r.pair_s, update * is.pair_s, 1e-2, "in the update too, where they share them");
    tap_ok(plan_crowd_remove(&r, &p) == 0, "their turns are taken out");
    tap_near(r.evaluation_s, is.evaluation_s, 1e-3, "rollout as alone");
    tap_near(r.reward_sample_s, is.reward_sample_s, 2e-3, "reward");
    tap_near(r.advantage_shard_s, is.advantage_shard_s, 1e-3, "advantage");
    tap_near(r.pair_s, is.pair_s, 1e-3, "update");
    r.cores = 4;
    const struct plan_rates before = r;
    tap_ok(plan_crowd_remove(&r, &p) == 0 && r.pair_s == before.pair_s,
           "with a core each nothing is changed");
    config_destroy(c);
}

/* The example network on six ranks of three nodes: reward and advantage share the second. */
static void test_memory(void)
{
    char *set[] = {"model.path=examples/jpeg/model", "groups.placement=split", "groups.rollout=2",
                   "groups.reward=1", "groups.advantage=1", "groups.update=2"};
    struct config *c = schema_load(6, set);
    struct plan_memory m, one;
    const double vector = 4 * 1475203.0;
    tap_ok(plan_memory_of(c, 6, 3, &m) == 0, "memory from a configuration alone");
    tap_near(m.rank, m.group[GROUP_UPDATE], 1, "the largest rank updates");
    tap_near(m.node, 2 * m.group[GROUP_UPDATE], 1, "the largest node has both");
    tap_ok(m.group[GROUP_REWARD] > m.program + vector &&
               m.group[GROUP_ROLLOUT] > m.group[GROUP_REWARD] + 2 * vector,
           "all have the weights, rollout the next ones and packed ones");
    tap_ok(plan_memory_of(c, 6, 1, &one) == 0, "on one node");
    tap_near(one.node,
             2 * one.group[GROUP_ROLLOUT] + one.group[GROUP_REWARD] +
                 one.group[GROUP_ADVANTAGE] + 2 * one.group[GROUP_UPDATE],
             1, "all ranks together");
    tap_ok(plan_memory_of(c, 2, 1, &one) == -1 && err_code() == ERR_ENV,
           "two ranks are too few: %s", err_text());
    err_clear();
    config_destroy(c);
    tap_ok(reduce_bytes(100, 1, 1) == 400 && reduce_bytes(100, 2, 1) == 400 &&
               reduce_bytes(100, 4, 1) == 800 && reduce_bytes(100, 8, 1) == 1200 &&
               reduce_bytes(100, 16, 1) == 1600,
           "the sums of 2, 4, 8, 16 micro-batches take log2 vectors");
}

int main(void)
{
    test_memory();
    int64_t kept = mem_live(); /* by the kernels, for all evaluations of the process */
    test_memory();
    test_amdahl();
    test_server();
    test_cores();
    test_exchange();
    test_ten_thousand();
    test_crowd("shared", 2, 2, 2);   /* all four at the same work */
    test_crowd("split", 1, 2, 1); /* only rollout and reward at the same time */
    tap_ok(mem_live() == kept, "nothing is left allocated");
    return tap_done();
}

/* The simulated run against closed forms: one rank, ranks without end, groups apart,
 * staleness, turns on few cores; and that work and waiting add up. */
#include "pipeline/plan/plan_simulate.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "tests/group_sizes.h"
#include "tests/tap.h"

static const double tol = 1e-9;

/* 8 shards, one of them shorter; two optimizer steps of 12 micro-batches and one of 3. */
static struct simulate_options example(const struct layout *l)
{
    return (struct simulate_options){.layout = l,
                                     .iterations = 5,
                                     .shards = 8,
                                     .rollout_s = 2,
                                     .rollout_last_s = 1,
                                     .reward_s = 0.5,
                                     .reward_last_s = 0.25,
                                     .advantage_s = 0.125,
                                     .advantage_shard_s = 0.0625,
                                     .update_s = 1.5,
                                     .step_s = 0.25,
                                     .leaf_s = 0.75,
                                     .steps = 2,
                                     .leaves = 12,
                                     .last_steps = 1,
                                     .last_leaves = 3};
}

static void test_one_rank(void)
{
    struct layout l = layout_of(1, 1, 1, 1, 1);
    struct simulate_options o = example(&l);
    struct simulate_result r;
    double rollout = 7 * 2 + 1, reward = 7 * 0.5 + 0.25, advantage = 0.125 + 8 * 0.0625;
    double update = 1.5 + 3 * 0.25 + 27 * 0.75;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, rollout + reward + advantage + update, tol,
             "one rank: the sum of all");
    tap_near(r.waiting_all_s, 0, tol, "it never waits");
    tap_near(r.working_s[GROUP_ROLLOUT], 5 * rollout, tol, "its rollouts");
    tap_near(r.working_s[GROUP_UPDATE], 5 * update, tol, "its updates");
    o.letter_s = 0.01; /* a lease and an answer for each piece of work */
    double sum = r.iteration_s;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, sum + 18 * 2 * 0.01, tol, "letters come on top");
    tap_near(r.waiting_all_s, 5 * 18 * 2 * 0.01 - 0.01, tol, "and are waited for");
}

static void test_critical_path(void)
{
    struct layout l = layout_of(1000, 1000, 8, 12, 2020);
    struct simulate_options o = example(&l);
    struct simulate_result r;
    simulate_run(&o, &r);
    double update = 1.5 + 3 * 0.25 + (2 + 1) * 0.75;
    tap_near(r.iteration_s, 2 + 0.5 + 0.125 + 0.0625 + update, tol,
             "ranks without end: the longest chain");
    tap_near(r.working_s[GROUP_UPDATE], 5 * (12 * 2.25 + 27 * 0.75), tol,
             "who has no micro-batch of a step waits");
    o.update_seal_s = 4;
    o.advantage_seal_s = 2;
    double waited = r.waiting_all_s, before = r.iteration_s;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, before + 6, tol, "the first rank seals");
    tap_near(r.waiting_all_s, waited + 5 * 6 * 2019, 1e-6, "the others wait");
    o.update_seal_s = o.advantage_seal_s = 0;
    o.weights_s = 3; /* from iteration 1 on, before every first rollout */
    simulate_run(&o, &r);
    tap_near(r.iteration_s, 2 + 0.5 + 0.125 + 0.0625 + update + 3, tol,
             "new weights arrive first");
}

static void test_perfect_split(void)
{
    struct layout one = layout_of(1, 1, 1, 1, 1), four = layout_of(4, 4, 4, 4, 4);
    struct simulate_options o = example(&one);
    struct simulate_result a, b;
    o.rollout_last_s = o.rollout_s;
    o.reward_last_s = o.reward_s;
    o.advantage_s = o.update_s = o.step_s = 0;
    o.last_leaves = 4;
    simulate_run(&o, &a);
    o.layout = &four;
    simulate_run(&o, &b);
    tap_near(b.iteration_s, a.iteration_s / 4, tol, "what divides evenly is four times faster");
    tap_near(b.waiting_all_s, 0, tol, "and nobody waits");
    o.cores = 2;
    simulate_run(&o, &b);
    tap_near(b.iteration_s, a.iteration_s / 2, tol, "four ranks in turn on two cores: twice");
    o.cores = 1;
    simulate_run(&o, &b);
    tap_near(b.iteration_s, a.iteration_s, tol, "on one core: nothing is gained");
}

static struct simulate_result chain(double rollout, double update, int64_t staleness)
{
    struct layout l = layout_of(1, 1, 1, 1, 4);
    struct simulate_result r;
    const struct simulate_options o = {.layout = &l,
                                       .iterations = 12,
                                       .shards = 5,
                                       .max_staleness = staleness,
                                       .rollout_s = rollout / 5,
                                       .rollout_last_s = rollout / 5,
                                       .reward_s = 0.5,
                                       .reward_last_s = 0.5,
                                       .advantage_s = 1,
                                       .update_s = update};
    simulate_run(&o, &r);
    return r;
}

static void test_staleness(void)
{
    tap_near(chain(10, 7, 0).iteration_s, 10 + 0.5 + 1 + 7, tol,
             "max_staleness 0: one after another");
    tap_near(chain(10, 7, 1).iteration_s, 10, tol,
             "max_staleness 1: the update hides behind rollouts");
    tap_near(chain(4, 9, 1).iteration_s, 9, tol, "or they behind it");
    struct simulate_result r = chain(10, 7, 1);
    tap_near(r.working_s[GROUP_UPDATE], 12 * 7, tol, "as much work as before");
}

static void test_aside(void)
{
    struct layout l = layout_of(1, 1, 1, 1, 1);
    struct simulate_options o = example(&l);
    struct simulate_result r;
    o.rollout_last_s = 2;
    o.reward_last_s = 0.5;
    o.aside = true;
    simulate_run(&o, &r);
    double update = 1.5 + 3 * 0.25 + 27 * 0.75;
    tap_near(r.iteration_s, 8 * 2 + 0.5 + 0.125 + 0.5 + update, tol,
             "another program scores during the rollouts, but for the last shard");
}

/* Layouts at random: no rank's second is lost or counted twice. */
static void test_conservation(void)
{
    int wrong = 0, wrong_group = 0;
    for (uint64_t k = 0; k < 300; k++) {
        uint64_t x = rng_mix64(k + 1);
        int size[GROUPS], world = 0;
        for (int g = 0; g < GROUPS; g++)
            world += size[g] = 1 + (int)(x >> (8 * g) & 7);
        bool shares = (x >> 40 & 1) != 0;
        struct layout l = layout_of(size[0], size[1], size[2], size[3],
                                    shares ? (world < 9 ? 8 : world - 1) : world);
        struct simulate_options o = example(&l);
        struct simulate_result r;
        o.cores = (int64_t)(x >> 41 & 3);
        o.max_staleness = (int64_t)(x >> 44 & 3);
        o.letter_s = (x >> 46 & 1) != 0 ? 1e-3 : 0;
        o.weights_s = 0.375;
        o.update_seal_s = 0.625;
        simulate_run(&o, &r);
        wrong += !(fabs(r.working_all_s + r.waiting_all_s - r.total_s * l.world) <
                   1e-9 * r.total_s * l.world);
        for (int g = 0; g < GROUPS && !l.overlap; g++)
            wrong_group += !(fabs(r.working_s[g] + r.waiting_s[g] - r.total_s * l.size[g]) <
                             1e-9 * r.total_s * l.size[g]);
    }
    tap_ok(wrong == 0, "work + waiting = ranks x time, %d layouts of 300 differ", wrong);
    tap_ok(wrong_group == 0, "the same in each group that owns its ranks (%d differ)",
           wrong_group);
}

/* Thousands of ranks, tens of thousands of leases. */
static void test_large(void)
{
    struct layout l = layout_of(LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO, 4096);
    struct simulate_options o = example(&l);
    struct simulate_result r;
    o.shards = 8192;
    o.rollout_last_s = o.rollout_s;
    o.reward_last_s = o.reward_s;
    o.iterations = 2;
    simulate_run(&o, &r);
    tap_near(r.iteration_s, 4 + 1 + 0.125 + 2 * 0.0625 + 1.5 + 3 * 0.25 + 3 * 0.75, tol,
             "4096 ranks");
}

int main(void)
{
    test_one_rank();
    test_critical_path();
    test_perfect_split();
    test_staleness();
    test_aside();
    test_conservation();
    test_large();
    tap_ok(mem_live() == 0, "nothing is left allocated");
    return tap_done();
}

/* Prediction, proposals and scaling, by simulated runs of a few iterations. */
#include "pipeline/plan/plan_model.h"

#include "io/shard.h"
#include "io/sys/err.h"
#include "pipeline/plan/plan_sizes.h"
#include "pipeline/settings.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* So many iterations after those that fill the pipeline. */
enum { SIMULATED = 4 };
/* Rounds of moving ranks, so that a plan for thousands of ranks takes seconds. */
enum { ROUNDS = 16 };
/* A rank without work sleeps so long at most between two looks for letters. */
static const double poll_s = 3e-3;

static const int automatic[GROUPS] = {LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO, LAYOUT_AUTO};

static bool splits(const struct plan *p)
{
    return config_is(p->c, "groups.placement", "split");
}

/* Do ranks with other roles go on while another program scores? (reward_aside) */
static bool asks_aside(const struct plan *p)
{
    return p->reward.remote && !p->reward.own_thread &&
           config_is(p->c, "surrogate.kind", "none") &&
           config_is(p->c, "search.kind", "none");
}

/* Seconds of a shard's samples n. */
static double rollout_s(const struct plan *p, const struct plan_rates *r, double n)
{
    return r->rollout_shard_s +
           n * (r->rollout_sample_s +
                (double)p->steps * plan_searched(p) * r->evaluation_s);
}

static double reward_s(const struct plan_rates *r, double n)
{
    return r->reward_shard_s + n * r->reward_sample_s;
}

/* Rollout ranks that do not update. */
static int64_t receivers(const struct layout *l)
{
    int64_t n = 0;
    for (int k = l->start[GROUP_ROLLOUT]; k < l->start[GROUP_ROLLOUT] + l->size[GROUP_ROLLOUT];
         k++)
        n += !layout_has(l, GROUP_UPDATE, k);
    return n;
}

double plan_exchange_s(const struct plan_rates *r, double bytes, int64_t ranks)
{
    return ranks < 2 ? 0
                     : 2 * bytes / r->bandwidth + 2 * ceil(log2((double)ranks)) * r->latency_s;
}

void plan_costs(struct simulate_options *o, const struct plan *p,
                const struct plan_rates *r, const struct layout *layout, int64_t times)
{
    double u = (double)layout->size[GROUP_UPDATE], bytes = 4 * (double)p->parameters;
    int64_t samples = p->samples * times, batch = p->batch * times;
    int64_t full = samples / batch, rest = samples % batch;
    int64_t size = p->shard, least = plan_parts(samples, SHARD_MAX_PARENTS - 1);
    size = size < least ? least : size > samples ? samples : size;
    int64_t shards = plan_parts(samples, size), last = samples - (shards - 1) * size;
    double pair = r->pair_s + r->pair_rest_s;
    *o = (struct simulate_options){
        .layout = layout,
        .asked = p->reward.remote,
        .aside = layout->overlap && asks_aside(p),
        .shards = shards,
        .max_staleness = config_int(p->c, "max_staleness"),
        .rollout_s = rollout_s(p, r, (double)size),
        .rollout_last_s = rollout_s(p, r, (double)last),
        .reward_s = reward_s(r, (double)size),
        .reward_last_s = reward_s(r, (double)last),
        .advantage_s = r->advantage_s * (double)times,
        .advantage_shard_s = r->advantage_shard_s,
        .advantage_seal_s = r->advantage_seal_s,
        .update_seal_s = r->update_seal_s,
        .update_s = r->update_s + (double)samples * r->update_sample_s,
        .step_s = r->step_s / u,
        .steps = p->epochs * full,
        .leaves = plan_parts(batch * p->trained, p->micro),
        .last_steps = p->epochs * (rest > 0),
        .last_leaves = plan_parts(rest * p->trained, p->micro),
        .letter_s = r->letter_s,
        .poll_s = poll_s,
    };
    /* measured with the exchange of as many ranks it would count twice; small */
    o->step_s += plan_exchange_s(r, bytes, layout->size[GROUP_UPDATE]);
    /* a step's last micro-batch has its real size: the mean one */
    int64_t leaves = o->steps * o->leaves + o->last_steps * o->last_leaves;
    double pairs = (double)(p->epochs * samples * p->trained);
    o->leaf_s = r->leaf_s + (leaves > 0 ? pair * pairs / (double)leaves : 0);
    if (receivers(layout) > 0)
        o->weights_s = r->latency_s + bytes / r->bandwidth * ceil((double)receivers(layout) / u);
    int64_t wanted = settings_iterations(p->c), few = SIMULATED + o->max_staleness + 1;
    o->iterations = wanted < few ? wanted : few;
}

/* The part of its ranks' time that is not the group's: as in accounting.json, but for votes,
 * which count as waiting here. */
static double waiting(const struct simulate_result *s, const struct layout *l, int g)
{
    return fmax(1 - s->working_s[g] / fmax(s->total_s * l->size[g], 1e-12), 0);
}

/* The layout with other sizes; false where a group would be empty. */
static bool move_ranks(const struct layout *l, int from, int to, int n, struct layout *out)
{
    int want[GROUPS];
    memcpy(want, l->size, sizeof want);
    want[from] -= n;
    want[to] += n;
    return want[from] > 0 && layout_make(out, want, true, l->world) == 0;
}

/* The same work in another layout. */
static double try_layout(const struct simulate_options *like, const struct plan *p,
                         const struct plan_rates *r, const struct layout *l,
                         struct simulate_result *s)
{
    struct simulate_options o;
    plan_costs(&o, p, r, l, 1);
    o.cores = like->cores;
    simulate_run(&o, s);
    return s->iteration_s;
}

/* The best of moves of n ranks from another group to the one that waits least; true where
 * it is faster than *s by more than a hundredth. */
static bool best_move(const struct simulate_options *o, const struct plan *p,
                      const struct plan_rates *r, struct layout *at,
                      struct simulate_result *s, int n)
{
    struct layout next, found = *at;
    struct simulate_result trial, best = *s;
    double least = 0.99 * s->iteration_s;
    int to = 0;
    for (int g = 1; g < GROUPS; g++)
        to = waiting(s, at, g) < waiting(s, at, to) ? g : to;
    for (int from = 0; from < GROUPS; from++) {
        if (from == to || !move_ranks(at, from, to, n, &next) ||
            try_layout(o, p, r, &next, &trial) >= least)
            continue;
        least = trial.iteration_s;
        best = trial;
        found = next;
    }
    bool any = best.iteration_s < s->iteration_s;
    *at = found;
    *s = best;
    return any;
}

double plan_propose(const struct simulate_options *o, const struct plan *p,
                    const struct plan_rates *r, struct layout *best)
{
    const struct layout *l = o->layout;
    struct simulate_result s;
    *best = *l;
    if (l->world < GROUPS || (l->overlap && layout_make(best, automatic, true, l->world) != 0))
        return INFINITY;
    try_layout(o, p, r, best, &s);
    /* steps of a sixty-fourth of the ranks are fine enough */
    for (int n = (l->world + 3) / 4, round = 0; n > l->world / 64 && round < ROUNDS; round++)
        if (!best_move(o, p, r, best, &s, n))
            n /= 2;
    return s.iteration_s;
}

static void print_rates(const struct plan *p, const struct plan_rates *r)
{
    printf("performance, %s\n",
           r->iterations > 0 ? "by the accounts of a run" : "by one micro-batch here");
    if (r->iterations > 0)
        plan_line("measured", "%lld iteration(s) on %lld rank(s)%s",
                  (long long)r->iterations, (long long)r->ranks,
                  r->cores > 0 && r->cores < r->ranks * r->threads
                      ? ", which took turns on fewer cores: that is taken out"
                      : "");
    plan_line("network", "%.4g ms per sample and evaluation, %.4g ms per pair of the update",
              1e3 * r->evaluation_s, 1e3 * r->pair_s);
    plan_line("network_s per iteration", "rollout %.6g, update %.6g, of all ranks",
              (double)p->samples * (double)p->steps * plan_searched(p) * r->evaluation_s,
              (double)(p->epochs * p->samples * p->trained) * r->pair_s);
    if (p->reward.remote && r->iterations == 0)
        plan_line("reward", "another program's, not asked: 0 s; use --from RUNDIR");
    plan_line("not measured", "messages %.3g us and %.3g GB/s, letters %.3g us each%s",
              1e6 * r->latency_s, r->bandwidth / 1e9, 1e6 * r->letter_s,
              r->iterations == 0 ? ", files and optimizer at stated rates" : "");
}

static void print_groups(const struct layout *l, const struct simulate_result *s,
                         double iterations)
{
    for (int g = 0; g < GROUPS; g++)
        plan_line(group_name((enum group)g),
                  "%d rank(s) from %d on: working %.4g s per iteration together, %s %.1f %%",
                  l->size[g], l->start[g], s->working_s[g] / iterations,
                  l->overlap ? "other roles and waiting" : "waiting",
                  100 * waiting(s, l, g));
}

/* From which group to which, where the groups own their ranks. */
static void print_moves(const struct layout *l, const struct layout *best,
                        const struct simulate_result *s)
{
    int left[GROUPS];
    for (int g = 0; g < GROUPS; g++)
        left[g] = best->size[g] - l->size[g];
    for (int from = 0; from < GROUPS; from++)
        for (int to = 0; to < GROUPS; to++) {
            int n = -left[from] < left[to] ? -left[from] : left[to];
            if (n <= 0)
                continue;
            plan_line("", "%s group idle %.0f %%: move %d rank(s) to %s",
                      group_name((enum group)from), 100 * waiting(s, l, from), n,
                      group_name((enum group)to));
            left[from] += n;
            left[to] -= n;
        }
}

void plan_improve(const struct simulate_options *o, const struct plan *p,
                  const struct plan_rates *r, struct plan_proposal *out)
{
    struct layout shared;
    struct simulate_result s;
    struct simulate_options ahead = *o;
    *out = (struct plan_proposal){.shared_s = INFINITY};
    simulate_run(o, &s);
    out->now_s = s.iteration_s;
    for (int g = 0; g < GROUPS; g++)
        out->waiting[g] = waiting(&s, o->layout, g);
    out->split_s = plan_propose(o, p, r, &out->split);
    if (layout_make(&shared, automatic, false, o->layout->world) == 0)
        out->shared_s = try_layout(o, p, r, &shared, &s);
    ahead.max_staleness++;
    ahead.iterations++;
    simulate_run(&ahead, &s);
    out->ahead_s = s.iteration_s;
}

/* What to change, in words. */
static void print_proposal(const struct simulate_options *o, const struct plan *p,
                           const struct plan_rates *r, const struct simulate_result *s)
{
    struct plan_proposal found;
    const struct layout *l = o->layout, *best = &found.split;
    plan_improve(o, p, r, &found);
    double now = s->iteration_s, split = found.split_s, together = found.shared_s;
    if (split < 0.99 * now) {
        plan_line("faster",
                  "groups.rollout=%d groups.reward=%d groups.advantage=%d groups.update=%d "
                  "groups.placement=split: %.4g s per iteration",
                  best->size[0], best->size[1], best->size[2], best->size[3], split);
        if (!l->overlap)
            print_moves(l, best, s);
    }
    if (together < 0.99 * fmin(split, now))
        plan_line("faster",
                  "groups.placement=shared, all groups auto: %.4g s per iteration; each rank "
                  "needs memory for all roles",
                  together);
    else if (split >= 0.99 * now)
        plan_line("group sizes", "no other layout that was tried is 1 %% faster");
}

static void print_cores(const struct plan *p, const struct plan_rates *r,
                        const struct plan_machine *machine)
{
    int64_t wanted = plan_parts(p->ranks, machine->nodes) * p->threads;
    if (machine->cores > 0)
        plan_line("cores", "%lld of a node for up to %lld threads%s",
                  (long long)machine->cores, (long long)wanted,
                  machine->cores < wanted ? ", which take turns" : "");
    else if (r->cores > 0 && r->cores < p->ranks * p->threads)
        plan_line("cores", "one for every thread; the run that was measured had %lld in all: "
                           "say --cores where threads take turns",
                  (long long)r->cores);
    else
        plan_line("cores", "one for every thread");
}

int plan_predict(const struct plan *p, const struct plan_rates *r,
                 const struct plan_machine *machine, double memory)
{
    struct layout l;
    struct simulate_options o;
    struct simulate_result s;
    if (settings_layout(&l, p->c, (int)p->ranks) != 0)
        return -1;
    plan_costs(&o, p, r, &l, 1);
    if (machine->cores > 0)
        o.cores = machine->nodes * machine->cores / p->threads;
    if (machine->cores > 0 && o.cores < 1)
        return err_set(ERR_USAGE, "--cores %lld is below groups.threads=%lld",
                       (long long)machine->cores, (long long)p->threads);
    simulate_run(&o, &s);
    double all = s.iteration_s * (double)settings_iterations(p->c) / 3600;
    print_rates(p, r);
    plan_line("layout", "%lld rank(s) on %lld node(s), %s", (long long)p->ranks,
              (long long)machine->nodes, l.overlap ? "roles share ranks" : "split");
    print_cores(p, r, machine);
    plan_line("time per iteration", "%.4g s, %.4g samples/s", s.iteration_s,
              (double)p->samples / s.iteration_s);
    print_groups(&l, &s, (double)o.iterations);
    plan_line("all ranks", "waiting %.1f %%",
              100 * s.waiting_all_s / (s.total_s * (double)p->ranks));
    plan_line("the run", "%.3g hours, %.3g node-hours, %.3g core-hours", all,
              all * (double)machine->nodes, all * (double)(p->ranks * p->threads));
    plan_line("memory per node", "up to %.4g GiB",
              memory / 1073741824);
    print_proposal(&o, p, r, &s);
    return 0;
}

/* Automatic sizes for so many ranks; too few for a split layout take turns. */
static int scaled_layout(struct layout *l, const struct plan *p, int64_t ranks)
{
    return layout_make(l, automatic, splits(p) && ranks >= GROUPS, (int)ranks);
}

int plan_scaling(const struct plan *p, const struct plan_rates *r, bool weak,
                 const int64_t *ranks, int64_t n)
{
    struct layout l;
    struct simulate_options o;
    struct simulate_result s;
    double first = 0;
    print_rates(p, r);
    printf("%s scaling, %s, group sizes automatic, a core for every thread\n",
           weak ? "weak" : "strong",
           weak ? "samples and batch grow with the ranks" : "the same work");
    printf("  %7s %9s %8s %12s %10s   waiting %%: %s %9s %10s %8s\n", "ranks", "samples",
           "shards", "s/iteration", "efficiency", "rollout", "reward", "advantage", "update");
    for (int64_t i = 0; i < n; i++) {
        int64_t times = weak ? ranks[i] / ranks[0] : 1;
        if (scaled_layout(&l, p, ranks[i]) != 0)
            return -1;
        plan_costs(&o, p, r, &l, times > 0 ? times : 1);
        simulate_run(&o, &s);
        first = i == 0 ? s.iteration_s : first;
        double ratio = weak ? 1 : (double)ranks[0] / (double)ranks[i];
        printf("  %7lld %9lld %8lld %12.5g %9.1f%%   %18.1f %9.1f %10.1f %8.1f\n",
               (long long)ranks[i], (long long)(p->samples * times), (long long)o.shards,
               s.iteration_s, 100 * ratio * first / s.iteration_s, 100 * waiting(&s, &l, 0),
               100 * waiting(&s, &l, 1), 100 * waiting(&s, &l, 2),
               100 * waiting(&s, &l, 3));
    }
    return 0;
}

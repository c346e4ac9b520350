/* A fixed point: factor by group = measured work / simulated work. */
#include "pipeline/plan/plan_crowd.h"

#include "pipeline/plan/plan_model.h"
#include "pipeline/settings.h"

#include <math.h>

enum { ROUNDS = 40 };
static const double close_enough = 1e-4;

static void scale(struct plan_rates *r, const double f[GROUPS])
{
    r->evaluation_s *= f[GROUP_ROLLOUT];
    r->rollout_sample_s *= f[GROUP_ROLLOUT];
    r->rollout_shard_s *= f[GROUP_ROLLOUT];
    r->reward_sample_s *= f[GROUP_REWARD];
    r->reward_shard_s *= f[GROUP_REWARD];
    r->advantage_s *= f[GROUP_ADVANTAGE];
    r->advantage_seal_s *= f[GROUP_ADVANTAGE];
    r->advantage_shard_s *= f[GROUP_ADVANTAGE];
    r->pair_s *= f[GROUP_UPDATE];
    r->pair_rest_s *= f[GROUP_UPDATE];
    r->update_s *= f[GROUP_UPDATE];
    r->update_seal_s *= f[GROUP_UPDATE];
    r->update_sample_s *= f[GROUP_UPDATE];
    r->leaf_s *= f[GROUP_UPDATE];
    r->step_s *= f[GROUP_UPDATE];
}

/* Work of the groups in an iteration. */
static void work(const struct plan_rates *r, const struct plan *run, const struct layout *l,
                 int64_t cores, double s[GROUPS])
{
    struct simulate_options o;
    struct simulate_result got;
    plan_costs(&o, run, r, l, 1);
    o.cores = cores;
    simulate_run(&o, &got);
    for (int g = 0; g < GROUPS; g++)
        s[g] = got.working_s[g] / (double)o.iterations;
}

int plan_crowd_remove(struct plan_rates *r, const struct plan *run)
{
    struct layout l;
    double measured[GROUPS], simulated[GROUPS], factor[GROUPS], off = 1;
    int64_t cores = r->cores / run->threads;
    if (r->cores == 0 || r->cores >= r->ranks * run->threads)
        return 0;
    if (settings_layout(&l, run->c, (int)r->ranks) != 0)
        return -1;
    work(r, run, &l, 0, measured);
    for (int round = 0; round < ROUNDS && off > close_enough; round++) {
        work(r, run, &l, cores > 0 ? cores : 1, simulated);
        off = 0;
        for (int g = 0; g < GROUPS; g++) {
            factor[g] = simulated[g] > 0 ? measured[g] / simulated[g] : 1;
            off = fmax(off, fabs(factor[g] - 1));
        }
        scale(r, factor);
    }
    return 0;
}

/* Over-optimisation (Gao et al. 2023, Scaling laws for reward model overoptimization):
 * the reward that is trained for goes on rising while a score that is not trained for
 * falls. */
#include "pipeline/stats/stats_internal.h"

#include <math.h>
#include <stdio.h>

/* A trend counts from this many standard errors of its slope on. */
static const double errors_enough = 2;

static int trend(double slope, double error)
{
    return !isfinite(slope) || !(fabs(slope) > errors_enough * error) ? 0
           : slope > 0                                                ? 1
                                                                      : -1;
}

void stats_watch(struct stats *s)
{
    struct pairs over[2] = {0};
    int64_t top = -1;
    for (int64_t i = 0; i < s->n; i++) {
        const struct stats_iteration *it = &s->iteration[i];
        double at = (double)it->iteration;
        pairs_add(&s->watch, it->reward.mean, it->guard.mean);
        pairs_add(&over[0], at, it->reward.mean);
        pairs_add(&over[1], at, it->guard.mean);
        if (isfinite(it->guard.mean) &&
            (top < 0 || it->guard.mean > s->iteration[top].guard.mean))
            top = i;
    }
    for (int k = 0; k < 2; k++)
        s->slope[k] = pairs_slope(&over[k], &s->slope_error[k]);
    int reward = trend(s->slope[0], s->slope_error[0]);
    int guard = trend(s->slope[1], s->slope_error[1]);
    if (top < 0)
        snprintf(
            s->verdict, sizeof s->verdict,
            "No guard was scored (reward.guard), so over-optimisation cannot be seen.");
    else if (over[1].n < 3)
        snprintf(s->verdict, sizeof s->verdict,
                 "Fewer than three iterations have a guard: no trend can be told.");
    else if (reward > 0 && guard < 0)
        snprintf(
            s->verdict, sizeof s->verdict,
            "Over-optimisation: the reward rises by %.4g per iteration while the guard "
            "falls by %.4g per iteration (correlation %.2f); the guard was highest in "
            "iteration %lld, so prefer a policy near version %lld.",
            s->slope[0], -s->slope[1], pairs_correlation(&s->watch),
            (long long)s->iteration[top].iteration,
            (long long)s->iteration[top].iteration);
    else
        snprintf(s->verdict, sizeof s->verdict,
                 "No over-optimisation seen: the reward %s and the guard %s.",
                 reward > 0   ? "rises"
                 : reward < 0 ? "falls"
                              : "has no clear trend",
                 guard > 0   ? "rises"
                 : guard < 0 ? "falls"
                             : "has no clear trend");
}

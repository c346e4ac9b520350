/* GRPO. A group of equal rewards says nothing: its advantages are set to exactly 0, so
 * that rounding in its mean is not blown up by a small eps. */
#include "stages/algo/grpo.h"

#include "stages/algo/signal.h"
#include "stages/algo/surrogate.h"

#include <math.h>

static void read_options(void *own, const struct config *c)
{
    *(struct grpo_options *)own =
        (struct grpo_options){.batch_std = config_is(c, "algorithm.group_std", "batch")};
}

static double deviation(const struct signal_group *g, int64_t ddof)
{
    return g->count > ddof ? sqrt(g->squares / (double)(g->count - ddof)) : 0;
}

int grpo_normalise(const struct grpo_norm *n, const struct algo_signal *s)
{
    struct signal_groups by, all;
    if (signal_check(s) != 0)
        return -1;
    signal_groups_make(&by, s, true);
    signal_groups_make(&all, s, false);
    for (int64_t i = 0; i < s->n; i++) {
        s->advantage[i] = 0;
        if (by.of[i] < 0 || by.group[by.of[i]].low == by.group[by.of[i]].high)
            continue;
        const struct signal_group *g = &by.group[by.of[i]];
        double std = deviation(n->batch_std ? &all.group[0] : g, n->ddof);
        s->advantage[i] = (s->reward[i] - g->mean) / (std + n->eps);
    }
    signal_groups_free(&by);
    signal_groups_free(&all);
    return 0;
}

static int signal_flow(const struct algo_options *o, struct tracker *tracker,
                       const struct algo_signal *s)
{
    const struct grpo_options *own = o->own;
    (void)tracker;
    return grpo_normalise(
        &(struct grpo_norm){.batch_std = own->batch_std, .ddof = 0, .eps = 1e-4}, s);
}

static int signal_dance(const struct algo_options *o, struct tracker *tracker,
                        const struct algo_signal *s)
{
    (void)o;
    (void)tracker;
    return grpo_normalise(&(struct grpo_norm){.ddof = 1, .eps = 1e-8}, s);
}

const struct algo flow_grpo = {
    .name = "flow_grpo",
    .help = "GRPO as Flow-GRPO: advantages by prompt, the first steps, KL",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .pairs = PAIRS_FIRST_STEPS,
    .by_prompt = 1,
    .kl_weight = 0.04,
    .own_size = sizeof(struct grpo_options),
    .read = read_options,
    .signal = signal_flow,
    .loss = surrogate_pessimistic,
};

const struct algo dance_grpo = {
    .name = "dance_grpo",
    .help = "GRPO as DanceGRPO: advantages by prompt, random steps, no KL",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .by_prompt = 1,
    .signal = signal_dance,
    .loss = surrogate_pessimistic,
};

/* DPOK. The advantage keeps the reward's unit: it is r minus a baseline that does not
 * contain the sample itself, so the gradient stays unbiased. */
#include "stages/algo/dpok.h"

#include "stages/algo/signal.h"
#include "stages/algo/surrogate.h"

static void read_options(void *own, const struct config *c)
{
    *(struct dpok_options *)own = (struct dpok_options){
        .reward_weight = config_real(c, "algorithm.dpok_reward_weight")};
}

/* Mean reward of the group's other samples. */
static double others(const struct signal_group *g, double reward)
{
    return (g->mean * (double)g->count - reward) / (double)(g->count - 1);
}

static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    struct signal_groups by, all;
    (void)o;
    (void)tracker;
    if (signal_check(s) != 0)
        return -1;
    signal_groups_make(&by, s, true);
    signal_groups_make(&all, s, false);
    for (int64_t i = 0; i < s->n; i++) {
        s->advantage[i] = 0;
        if (by.of[i] < 0)
            continue;
        const struct signal_group *g = &by.group[by.of[i]];
        if (g->count < 2)
            g = &all.group[0];
        if (g->low < g->high)
            s->advantage[i] = s->reward[i] - others(g, s->reward[i]);
    }
    signal_groups_free(&by);
    signal_groups_free(&all);
    return 0;
}

static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    const struct dpok_options *own = o->own;
    return surrogate_loss(o, CLIP_BOTH, own->reward_weight * p->advantage, p, r, grad);
}

const struct algo dpok = {
    .name = "dpok",
    .help = "DPOK: reward and KL to the first policy, ratio clamped on both sides",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB,
    .kl_weight = 0.01,
    .own_size = sizeof(struct dpok_options),
    .read = read_options,
    .signal = signal_of,
    .loss = loss_of,
};

/* PPO. */
#include "stages/algo/ppo.h"

#include "io/sys/mem.h"
#include "stages/algo/returns.h"
#include "stages/algo/surrogate.h"

static void read_options(void *own, const struct config *c)
{
    *(struct ppo_options *)own =
        (struct ppo_options){.gamma = config_real(c, "algorithm.gamma"),
                             .lambda = config_real(c, "algorithm.lambda"),
                             .kl_reward = config_real(c, "algorithm.kl_reward")};
}

/* [n, steps], freed with mem_free. */
static double *costs(const struct ppo_options *own, const struct algo_steps *s)
{
    double *cost = mem_alloc(s->n * s->steps, sizeof *cost);
    for (int64_t i = 0; i < s->n * s->steps; i++)
        cost[i] = own->kl_reward * s->kl_reference[i];
    return cost;
}

static int returns_of(const struct algo_options *o, const struct algo_steps *s)
{
    const struct ppo_options *own = o->own;
    if (returns_check(s) != 0)
        return -1;
    double *cost = costs(own, s);
    returns_to_go(s, own->gamma, cost, s->target);
    mem_free(cost);
    return 0;
}

static int steps_of(const struct algo_options *o, const struct algo_steps *s)
{
    const struct ppo_options *own = o->own;
    double *cost = costs(own, s);
    returns_gae(s, &(struct returns_gae){own->gamma, own->lambda, cost});
    returns_normalise(s);
    mem_free(cost);
    return 0;
}

const struct algo ppo = {
    .name = "ppo",
    .help = "PPO: advantages by step (GAE) from a value function, clipped ratio",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB | NEEDS_REFERENCE_DENSITY |
             NEEDS_STEP_ADVANTAGE,
    .own_size = sizeof(struct ppo_options),
    .read = read_options,
    .returns = returns_of,
    .steps = steps_of,
    .loss = surrogate_pessimistic,
};

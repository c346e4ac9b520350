/* Control. The KL of a step is a function of its state and the policy's output there: its
 * own gradient is taken exactly, and what earlier steps do to it enters their reward. */
#include "stages/algo/control.h"

#include "io/sys/mem.h"
#include "stages/algo/returns.h"
#include "stages/algo/surrogate.h"

static void read_options(void *own, const struct config *c)
{
    *(struct control_options *)own =
        (struct control_options){.alpha = config_real(c, "algorithm.control_alpha"),
                                 .lambda = config_real(c, "algorithm.lambda")};
}

/* What follows a step: the KL of the next live one. [n, steps], freed with mem_free. */
static double *costs(const struct control_options *own, const struct algo_steps *s)
{
    double *cost = mem_alloc(s->n * s->steps, sizeof *cost);
    for (int64_t n = 0; n < s->n; n++) {
        double after = 0;
        for (int64_t k = s->steps - 1; k >= 0; k--) {
            int64_t at = n * s->steps + k;
            if (!s->live[k])
                continue;
            cost[at] = after;
            after = own->alpha * s->kl_reference[at];
        }
    }
    return cost;
}

static int returns_of(const struct algo_options *o, const struct algo_steps *s)
{
    if (returns_check(s) != 0)
        return -1;
    double *cost = costs(o->own, s);
    returns_to_go(s, 1, cost, s->target);
    mem_free(cost);
    return 0;
}

static int steps_of(const struct algo_options *o, const struct algo_steps *s)
{
    const struct control_options *own = o->own;
    double *cost = costs(own, s);
    returns_gae(s, &(struct returns_gae){1, own->lambda, cost});
    mem_free(cost);
    return 0;
}

static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    const struct control_options *own = o->own;
    struct algo_options held = *o;
    held.kl_weight += own->alpha;
    return surrogate_loss(&held, CLIP_PESSIMISTIC, p->advantage, p, r, grad);
}

const struct algo control = {
    .name = "control",
    .help = "continuous-state RL: reward less alpha times the KL of all steps",
    .needs = NEEDS_TRAJECTORY | NEEDS_LOG_PROB | NEEDS_REFERENCE |
             NEEDS_REFERENCE_DENSITY | NEEDS_STEP_ADVANTAGE,
    .own_size = sizeof(struct control_options),
    .read = read_options,
    .returns = returns_of,
    .steps = steps_of,
    .loss = loss_of,
};

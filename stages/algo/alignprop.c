/* AlignProp with the truncations of its own code (one draw per sample) and of its
 * descendants (one draw per step). */
#include "stages/algo/alignprop.h"

#include "io/sys/rng.h"

#include <math.h>

static void read_options(void *own, const struct config *c)
{
    struct alignprop_options *o = own;
    path_read(&o->path, c);
    o->truncation = (enum truncation)config_choice(c, "algorithm.truncation");
    o->mean = config_real(c, "algorithm.truncation_mean");
    o->deviation = config_real(c, "algorithm.truncation_std");
}

static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    const struct alignprop_options *own = o->own;
    (void)tracker;
    return path_signal(&own->path, s);
}

/* The first step that keeps its gradient, drawn once for the sample; the last one
 * always does. */
static int64_t first_kept(const struct alignprop_options *o, int64_t steps,
                          uint64_t key)
{
    float z = 0;
    if (o->truncation == TRUNCATION_UNIFORM)
        return rng_below(key, 0, steps);
    if (o->truncation == TRUNCATION_GAUSSIAN)
        rng_normal(key, &z, 1);
    double at = floor((o->mean + o->deviation * (double)z) * (double)steps);
    return at < 0 ? 0 : at > (double)(steps - 1) ? steps - 1 : (int64_t)at;
}

static double start(const struct algo_options *o, const struct algo_walk *w,
                    uint8_t *keep, float *cotangent)
{
    const struct alignprop_options *own = o->own;
    int64_t n = w->sampler->steps;
    bool each = own->truncation == TRUNCATION_PER_STEP;
    int64_t first = each ? 0 : first_kept(own, n, w->key);
    for (int64_t i = first; i < n; i++)
        keep[i] = !each || rng_uniform(w->key, i) < (double)(i + 1) / (double)(n + 1);
    return path_start(&own->path, w, cotangent);
}

const struct algo alignprop = {
    .name = "alignprop",
    .help = "AlignProp: the reward's gradient through the chain, randomly truncated",
    .needs = NEEDS_TRAJECTORY | NEEDS_REWARD_GRADIENT,
    .pairs = PAIRS_WALK,
    .on_policy_only = 1,
    .own_size = sizeof(struct alignprop_options),
    .read = read_options,
    .signal = signal_of,
    .start = start,
};

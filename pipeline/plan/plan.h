/* What `sluice plan` derives from a configuration and its network before it predicts
 * anything: counts of work, what the method needs, a trial evaluation. */
#ifndef SLUICE_PIPELINE_PLAN_H
#define SLUICE_PIPELINE_PLAN_H

#include "pipeline/probe.h"
#include "stages/algo/algo.h"
#include "stages/diffusion/sampler.h"
#include "stages/model/model.h"
#include "stages/reward/reward.h"

/* Plain data; c is borrowed. Set c, ranks and, where it is known, rate; plan_derive fills
 * in the rest. */
struct plan {
    const struct config *c;
    struct model *model;
    const struct algo *algo;
    unsigned needs; /* enum algo_needs */
    struct reward reward;
    struct sampler sampler;
    bool have_sampler;
    int64_t ranks, threads, update_ranks;
    int64_t d, dim[3], parameters, classes; /* of the model; 0 without one */
    double flops; /* of one sample's forward pass */
    struct probe probe;
    double rate; /* operations per second and core */
    bool rate_given;
    int64_t samples, copies, shard, shards, micro, batch, epochs, steps, trained;
    int64_t pairs, optimizer_steps; /* pairs per optimizer step; steps per iteration */
    int64_t features, heads; /* of a learned reward's linear models; 0: none */
    bool factor;             /* it keeps their covariance */
};

/* How many parts of this size n has. */
static inline int64_t plan_parts(int64_t n, int64_t size)
{
    return (n + size - 1) / size;
}

/* Counts of work, method, network and sampler. The pending error is what `sluice run` would
 * say. plan_close frees, in any case. */
int plan_derive_work(struct plan *p);
/* The same, with the layout and the rewards checked and one evaluation tried out, for
 * memory and rate. */
int plan_derive(struct plan *p);
void plan_close(struct plan *p);

#endif

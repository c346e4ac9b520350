/* The numbers of `sluice plan`, and its warnings about them. */
#ifndef SLUICE_PIPELINE_PLAN_WARN_H
#define SLUICE_PIPELINE_PLAN_WARN_H

#include "pipeline/probe.h"
#include "stages/algo/algo.h"
#include "stages/diffusion/sampler.h"
#include "stages/model/model.h"
#include "stages/reward/reward.h"

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

/* Prints what is likely to be a mistake, a line each; nothing where all is well. */
void plan_warn(const struct plan *p);

#endif

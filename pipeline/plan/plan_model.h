/* What an iteration takes, from measured rates: the simulation's times (plan_simulate.h),
 * the prediction of `sluice plan`, better group sizes, and scaling. */
#ifndef SLUICE_PIPELINE_PLAN_MODEL_H
#define SLUICE_PIPELINE_PLAN_MODEL_H

#include "pipeline/plan/plan_rates.h"
#include "pipeline/plan/plan_simulate.h"

/* The machine. */
struct plan_machine {
    int64_t nodes;
    int64_t cores; /* of a node; 0: as many as its ranks have threads */
};

/* The work of iterations of `times` times the samples (and batch) of p; a layout's ranks
 * have enough cores. Fills *o; layout is borrowed. Shards are larger where
 * there would be more than a run may have. The optimizer step divides
 * its passes over the ranks and exchanges the gradient and the weights. Weights reach those rollout
 * ranks that do not update from the update ranks, which share them out. */
void plan_costs(struct simulate_options *o, const struct plan *p,
                const struct plan_rates *r, const struct layout *layout, int64_t times);

/* Seconds to sum a vector of so many bytes over ranks and to spread it again, each by halves:
 * all of it through each rank twice, 2 log2(ranks) latencies (Rabenseifner 2004). */
double plan_exchange_s(const struct plan_rates *r, double bytes, int64_t ranks);

/* Prints the prediction for p->ranks, and group sizes that are faster. memory: bytes of
 * the largest node. ERR_ENV as layout_make. */
int plan_predict(const struct plan *p, const struct plan_rates *r,
                 const struct plan_machine *machine, double memory);

/* Group sizes of a split layout of as many ranks, found by moving ranks between groups
 * while that shortens the iteration by more than a hundredth. Returns the iteration's
 * seconds, INFINITY where the ranks are too few. */
double plan_propose(const struct simulate_options *o, const struct plan *p,
                    const struct plan_rates *r, struct layout *best);

/* Seconds of an iteration in other layouts of as many ranks. INFINITY: not to be had. */
struct plan_proposal {
    double now_s;
    double split_s, shared_s; /* in `split`; all groups automatic on the same ranks */
    double ahead_s;           /* the same layout, max_staleness one higher */
    struct layout split;
    double waiting[GROUPS]; /* now: the part of its ranks' time */
};
void plan_improve(const struct simulate_options *o, const struct plan *p,
                  const struct plan_rates *r, struct plan_proposal *out);

/* Prints a line for each number of ranks: strong (the same work) or weak (samples grow
 * with the ranks, from the first number on). Group sizes are automatic. */
int plan_scaling(const struct plan *p, const struct plan_rates *r, bool weak,
                 const int64_t *ranks, int64_t n);

#endif

/* The parts that searches at sampling time are made of: one evaluation of the network,
 * one step, one walk of the chain, and scores, for samples of a shard. A sample's
 * results depend neither on the other samples of a batch nor on the batch's size. */
#ifndef SLUICE_STAGES_SEARCH_CHAIN_H
#define SLUICE_STAGES_SEARCH_CHAIN_H

#include "stages/diffusion/sampler.h"
#include "stages/model/model.h"
#include "stages/reward/reward.h"

struct draw;

/* What sampling needs. The caller fills it and owns what the pointers reach. */
struct chain {
    struct model *model;
    struct tape *tape;
    const struct sampler *sampler;
    const struct reward *reward; /* NULL-able where nothing scores */
    void *reward_ctx;
    uint64_t seed;
    int64_t channels, height, width, d; /* d = channels * height * width */
    int64_t micro_batch;                /* most samples per evaluation */
    bool labelled;                      /* the network takes labels */
    /* Called about once per evaluation; non-zero ends the search. NULL-able. */
    int (*tick)(void *ctx, const char *phase);
    void *tick_ctx;
    /* chain_walk calls it after step k of samples [at, at + m), which went on from states
     * x[m, d] with the network's output o[m, d]; non-zero ends the walk. NULL-able. */
    int (*after)(struct chain *c, const struct draw *w, int64_t at, int64_t m, int64_t k,
                 const float *x, const float *o);
    void *after_ctx;
    double network_s; /* seconds spent in the network are added */

    /* Scratch, made by chain_open. */
    float *work, *timesteps; /* [micro_batch, 3, d], [micro_batch] */
    uint8_t *status;         /* [micro_batch] */
};

/* Allocates the scratch, and frees it; close takes a chain of zeros. */
void chain_open(struct chain *c);
void chain_close(struct chain *c);

/* The samples to make. The arrays are the caller's. */
struct draw {
    int64_t iteration, first, n; /* sample i is number first + i of the iteration */
    const int64_t *label, *copy; /* [n] label (0 where there is none) and running number
                                    among those of its label: the key of its noise */
    int64_t states;   /* kept of each sample: all, steps + 1, or two in turn */
    float *latents;   /* out [n, states, d]: state k in place k mod states */
    float *sample;    /* out [n, d] */
    double *log_prob; /* out [n, steps] of the transitions kept, under the policy */
    double *cost;     /* out [n] nat: how far the search went, as search.h says */
    double *plain;    /* out [n] reward without the search; NaN where not known */
};

/* Sample i's state k. */
float *chain_state(const struct chain *c, const struct draw *w, int64_t i, int64_t k);

/* z[d] <- the normal numbers of sample i that lead to state `step` (0: the start).
 * Candidate 0 has those of a plain rollout. */
void chain_noise(const struct chain *c, const struct draw *w, int64_t i,
                 int64_t candidate, int64_t step, float *z);
/* A uniform number in [0, 1) for a decision about sample i at a step. */
double chain_uniform(const struct chain *c, const struct draw *w, int64_t i,
                     int64_t step);

/* o <- the network's output for states x[m, d] of samples [at, at + m) at step k of the
 * sampler, m <= micro_batch, copied. Ticks. 0 or -1. */
int chain_output(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                 int64_t k, const float *x, float *o);
/* The same with dx[m, d] <- (d o / d x)^T seed, and o not returned. */
int chain_output_back(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                      int64_t k, const float *x, const float *seed, float *dx);

/* Goes on from state k of sample i to k + 1 with the candidate's noise: state and
 * log-density are kept. o[d]: the network's output. Several threads may work on
 * different samples of a batch. */
void chain_advance(const struct chain *c, const struct draw *w, int64_t i, int64_t k,
                   const float *o, int64_t candidate);
/* Keeps next[d] as state k + 1 of sample i and its log-density; threads as above. */
void chain_keep(const struct chain *c, const struct draw *w, int64_t i, int64_t k,
                const float *o, const float *next);

/* Samples [at, at + m) as a plain rollout makes them, of this candidate. 0 or -1. */
int chain_walk(struct chain *c, struct draw *w, int64_t at, int64_t m,
               int64_t candidate);

/* score[m] of final samples x[m, d] (or predictions of them), -infinity where there is
 * no score; gradient[m, d] unless NULL, 0 there. -1 only for trouble with the whole
 * run. */
int chain_score(struct chain *c, const struct draw *w, int64_t at, int64_t m,
                const float *x, double *score, float *gradient);

#endif

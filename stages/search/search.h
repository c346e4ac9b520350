/* Searches at sampling time: instead of the policy's own samples, rollouts keep samples
 * that a search found with the reward at hand. One search is one file with one `const
 * struct search`, listed in search.c; SEARCH.md has a section for each.
 *
 * What a search returns are not samples of the policy. The stored log-densities are
 * those of the kept transitions under the policy; `cost` says in nats how far the
 * search went. */
#ifndef SLUICE_STAGES_SEARCH_SEARCH_H
#define SLUICE_STAGES_SEARCH_SEARCH_H

#include "io/config.h"
#include "stages/linalg/minimise.h"
#include "stages/search/chain.h"

enum search_needs {
    SEARCH_SCORES = 1,   /* a deterministic reward */
    SEARCH_GRADIENT = 2, /* that is differentiable */
    SEARCH_GROUP = 4,    /* several samples of one label in a shard */
    SEARCH_NOISE = 8,    /* a sampler that draws noise */
};

struct search_options {
    const struct search *kind;
    int64_t candidates; /* best_of, svdd */
    double alpha;       /* svdd, smc: temperature, in the reward's units */
    double resample;    /* smc: fraction of the effective sample size */
    double weight;      /* noise, dps: reward against nats */
    int64_t iterations; /* noise */
    double tolerance;   /* noise */
    enum minimise_method method;
    bool typical; /* noise: keep the numbers typical, instead of near a plain rollout's
                   */
    bool start;   /* noise: x_T too */
};

struct search {
    const char *name, *help;
    unsigned needs; /* enum search_needs */
    /* Fills latents, sample, log_prob, cost and plain of all of w's samples. */
    int (*draw)(struct chain *c, const struct search_options *o, struct draw *w);
};

/* NULL and ERR_USAGE (with the nearest name) for an unknown one. */
const struct search *search_find(const char *name);
const struct search *const *search_all(void); /* NULL-terminated */

/* Reads section `search` of a configuration. ERR_USAGE names the key. */
int search_read(struct search_options *o, const struct config *c);

/* Whether it is more than plain sampling. */
bool search_acts(const struct search_options *o);

/* Does the search fit c's reward and sampler? copies: samples in a row of one label,
 * each shard a multiple of it (0: not so). ERR_USAGE says what to change. */
int search_check(const struct search_options *o, const struct chain *c, int64_t copies);

/* Makes w's samples; cost and plain are set for all kinds
 * (none: they may be NULL). The bits depend on the seed
 * and on w alone. c is opened. Begins the PETSc session where `noise` is the search. 0
 * or -1.
 */
int search_draw(const struct search_options *o, struct chain *c, struct draw *w);

/* weight[n] <- exp(v / alpha) / sum; alpha 0: 1 for the first largest, 0 for the
 * others. v = -infinity has weight 0; where all do, the weights are equal. */
void search_weights(int64_t n, const double *v, double alpha, double *weight);

/* The index whose part of [0, 1) holds u. */
int64_t search_pick(int64_t n, const double *weight, double u);

/* index[n] by systematic resampling: for point (k + u) / n the index whose part holds
 * it (Kitagawa 1996). */
void search_systematic(int64_t n, const double *weight, double u, int64_t *index);

#endif

/* Methods: what the advantage group computes from rewards (signal) and what the update
 * group minimises (loss). One method is one file with one `const struct algo`, listed in
 * algo.c; METHODS.md has one section for each. */
#ifndef SLUICE_STAGES_ALGO_ALGO_H
#define SLUICE_STAGES_ALGO_ALGO_H

#include "stages/algo/tracker.h"
#include "stages/diffusion/sampler.h"

/* What rollout must store for a method. */
enum algo_needs {
    NEEDS_TRAJECTORY = 1, /* all states x_0..x_N */
    NEEDS_LOG_PROB = 2,   /* behaviour log-probability of every step */
};

enum algo_logprob { LOGPROB_MEAN, LOGPROB_SUM };
enum algo_baseline { BASELINE_BATCH, BASELINE_TRACKER };

struct algo_options {
    enum algo_logprob logprob; /* reduction over elements inside the ratio */
    double clip_range;         /* on the ratio, in that reduction */
    double adv_clip;
    enum algo_baseline baseline;
    int64_t tracker_buffer, tracker_min_count;
};

/* One iteration's rewards in sample order. Samples whose status is not ok have usable[i]
 * = 0 and take part in nothing; their advantage is 0 and their weight is 0. */
struct algo_signal {
    int64_t n;
    const double *reward;
    const char *const *prompt; /* each sample's prompt key (class number as text) */
    const uint8_t *usable;
    double *advantage; /* out [n] */
};

/* One (sample, step) pair of the update. */
struct algo_pair {
    const struct sampler *sampler;
    int64_t step, d;
    const float *x, *o, *next; /* state, network output now, stored next state */
    double log_prob_old;       /* stored, summed over d */
    double advantage;
    double weight; /* 1 / (number of pairs of the optimizer step); 0 for padding */
};

struct algo_result {
    double log_prob, ratio, loss; /* loss already times weight */
    int clipped;                  /* |ratio - 1| > clip_range */
    double approx_kl;             /* 0.5 (log ratio)^2 */
};

struct algo {
    const char *name, *help;
    unsigned needs;
    int on_policy_only; /* 1: refuses more than one optimizer step per iteration */
    /* Advantages of one iteration; the tracker (may change) is the method's only state. */
    int (*signal)(const struct algo_options *o, struct tracker *tracker,
                  const struct algo_signal *s);
    /* Loss of one pair and grad[d] = d loss / d o. Non-finite values: ERR_NUMERIC. */
    int (*loss)(const struct algo_options *o, const struct algo_pair *p,
                struct algo_result *r, float *grad);
};

/* NULL and ERR_USAGE (with the nearest name) for an unknown one. */
const struct algo *algo_find(const char *name);
/* All of them, NULL-terminated. */
const struct algo *const *algo_all(void);

#endif

/* Methods: what the advantage group computes from rewards (signal) and what the update
 * group minimises (loss). One method is one file with one `const struct algo`, listed in
 * algo.c; METHODS.md has one section for each. Shared parts: signal.h (statistics of
 * rewards), surrogate.h (likelihood ratios and KL), denoise.h (regression on noised
 * samples), path.h (losses of rewards whose gradient is followed). */
#ifndef SLUICE_STAGES_ALGO_ALGO_H
#define SLUICE_STAGES_ALGO_ALGO_H

#include "io/config.h"
#include "stages/algo/tracker.h"
#include "stages/diffusion/sampler.h"

/* What a method needs beside final samples and rewards. */
enum algo_needs {
    NEEDS_TRAJECTORY = 1, /* rollout stores all states x_0..x_N */
    NEEDS_LOG_PROB = 2,   /* and the behaviour log-probability of every step */
    NEEDS_REFERENCE = 4,  /* update evaluates policy version 0 beside the network */
    NEEDS_BEHAVIOUR = 8,  /* and the version that made the samples */
    NEEDS_REWARD_GRADIENT = 16, /* reward stores d reward / d final sample */
    NEEDS_STEP_ADVANTAGE = 32,  /* advantage stores one number per step of the chain */
    NEEDS_SCORER = 512, /* update scores what it makes, with gradients */
    NEEDS_REFERENCE_DENSITY = 64, /* rollout stores the log-density of every step under
                                   * version 0 and the KL to it */
};

/* What the pairs of an optimizer step are. */
enum algo_pairs {
    PAIRS_STEPS,       /* (sample, step of its chain): a random part of its live steps */
    PAIRS_FIRST_STEPS, /* the same, the first live steps */
    PAIRS_NOISED,      /* (sample, draw): x_0 noised afresh to any training timestep */
    PAIRS_NOISED_GRID, /* the same, to the sampler's timesteps, each at most once */
    PAIRS_NOISED_LAST, /* the same, to the timestep of the sampler's last step */
    PAIRS_WALK, /* whole chains: from the reward's gradient back through the network */
    PAIRS_LEAN, /* the same through version 0, and a loss at each step that is kept */
};

enum algo_logprob { LOGPROB_MEAN, LOGPROB_SUM };
enum algo_baseline { BASELINE_BATCH, BASELINE_TRACKER };

/* The options that several methods share. */
struct algo_options {
    enum algo_logprob logprob; /* reduction over elements inside ratio and KL */
    double clip_range;         /* on the ratio, in that reduction */
    double adv_clip;
    double kl_weight; /* of the distance to policy version 0 */
    double kl_previous_weight; /* of the KL to the version that the round started with */
    enum algo_baseline baseline;
    int64_t tracker_buffer, tracker_min_count;
    const void *own; /* the method's own options, of the type in its header; or NULL */
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

/* One iteration's steps of the chain, for methods whose signal differs from step to step.
 * Arrays are [n, steps] unless said otherwise. A masked step is deterministic, so its
 * state is worth what the next one is: masked steps take no part. */
struct algo_steps {
    int64_t n, steps;
    const double *reward;      /* [n] */
    const char *const *prompt; /* [n] */
    const uint8_t *usable;     /* [n] */
    const uint8_t *live;       /* [steps] 1 where the step has a density */
    /* as stored by rollout; NULL without NEEDS_REFERENCE_DENSITY */
    const double *log_prob, *log_prob_reference, *kl_reference;
    double *target;    /* out of `returns`: what a value function of the state from which
                        * step i starts is fitted to */
    double *value;     /* its estimates */
    double *advantage; /* out of `steps` */
};

/* One pair of the update. Arrays are [d]. */
struct algo_pair {
    const struct sampler *sampler;
    int64_t step, d;   /* step of the chain; number of the draw where noised */
    const float *x, *o; /* the network's input and its output now */
    const float *reference, *behaviour; /* outputs of other versions; NULL: not needed */
    float *work;                        /* [2, d] scratch for the loss */
    double advantage;
    double weight; /* 1 / (number of pairs of the optimizer step); 0 for padding */
    /* a step of the chain */
    const float *next;   /* stored next state */
    double log_prob_old; /* stored, summed over d */
    /* a noised sample */
    const float *clean, *target; /* x_0, and what the network should say */
    double alpha_bar;            /* signal level of x */
    /* NEEDS_SCORER: what the sampler's last step makes of x */
    double end_reward; /* NaN where it has no score */
    const float *end_gradient; /* d end_reward / d that sample */
    /* PAIRS_LEAN: the adjoint at the step's end, and at its start */
    const float *adjoint_next, *adjoint;
};

/* One sample's chain before it is walked back. */
struct algo_walk {
    const struct sampler *sampler;
    int64_t d;
    uint64_t key;             /* of the sample's random choices */
    double reward, advantage;
    double weight;            /* 1 / (number of chains of the optimizer step) */
    const float *gradient;    /* [d] d reward / d final sample */
};

struct algo_result {
    double log_prob, ratio, loss; /* loss already times weight */
    int clipped;                  /* |ratio - 1| > clip_range */
    double approx_kl;             /* 0.5 (log ratio)^2 */
    double kl; /* the distance that kl_weight multiplies; 0 without it */
    double kl_previous; /* the KL that kl_previous_weight multiplies; methods leave it 0 */
};

struct algo {
    const char *name, *help;
    unsigned needs; /* enum algo_needs; kl_weight > 0 adds NEEDS_REFERENCE */
    enum algo_pairs pairs;
    int on_policy_only; /* 1: refuses more than one optimizer step per iteration */
    int by_prompt;      /* 1: compares samples of one prompt, so it needs several of each */
    int any_samples;    /* 1: learns from final samples wherever they come from */
    int drops_zero;     /* 1: samples with advantage 0 do not enter the update */
    double kl_weight;   /* where algorithm.kl_weight is auto */
    /* Own options: size of their struct, and their reading from the configuration. */
    size_t own_size;
    void (*read)(void *own, const struct config *c);
    /* Advantages of one iteration; the tracker (may change) is the method's only state. */
    int (*signal)(const struct algo_options *o, struct tracker *tracker,
                  const struct algo_signal *s);
    /* With NEEDS_STEP_ADVANTAGE, instead of signal. `returns` (NULL: no value function)
     * writes s->target, from which s->value is made (stages/value.h); `steps` writes
     * s->advantage from it all. Both leave samples that are not usable and masked steps
     * at 0. ERR_NUMERIC: a reward that is not finite. */
    int (*returns)(const struct algo_options *o, const struct algo_steps *s);
    int (*steps)(const struct algo_options *o, const struct algo_steps *s);
    /* Loss of one pair and grad[d] = d loss / d o. Non-finite values: ERR_NUMERIC. */
    int (*loss)(const struct algo_options *o, const struct algo_pair *p,
                struct algo_result *r, float *grad);
    /* PAIRS_WALK, PAIRS_LEAN: which steps of a chain take part (keep[steps], 0 on entry),
     * the cotangent of its final sample (cotangent[d]), and what of the loss is known from
     * the final sample, times weight. loss is then for PAIRS_LEAN only. */
    double (*start)(const struct algo_options *o, const struct algo_walk *w, uint8_t *keep,
                    float *cotangent);
};

/* NULL and ERR_USAGE (with the nearest name) for an unknown one. */
const struct algo *algo_find(const char *name);
/* All of them, NULL-terminated. */
const struct algo *const *algo_all(void);

/* Whether it reads the chain's states (else final samples), and whether whole chains are
 * its pairs. */
bool algo_on_chain(const struct algo *a);
bool algo_walks(const struct algo *a);
/* Whether it needs gradients of the reward. */
bool algo_differentiates(const struct algo *a);
/* enum algo_needs of the method with these options. */
unsigned algo_needs(const struct algo *a, const struct algo_options *o);
/* Pairs of one sample and inner epoch: of a sampler with so many live steps on the chain,
 * algorithm.draws where noised. */
int64_t algo_pairs_each(const struct algo *a, const struct config *c,
                        const struct sampler *s);

/* Reads section `algorithm` of a configuration; algo_options_free frees what it
 * allocated. */
void algo_options_read(struct algo_options *o, const struct algo *a,
                       const struct config *c);
void algo_options_free(struct algo_options *o);

#endif

/* Rewards. One reward is one file with one `const struct reward`, listed in reward.c. A
 * failed score is a status, never a number. */
#ifndef SLUICE_STAGES_REWARD_REWARD_H
#define SLUICE_STAGES_REWARD_REWARD_H

#include "io/coding.h"
#include "io/config.h"
#include "io/sys/digest.h"

#include <stdbool.h>
#include <stdint.h>

enum reward_status {
    REWARD_OK = 0,
    REWARD_FAILED = 1,     /* the scorer failed */
    REWARD_TIMED_OUT = 2,
    REWARD_INFEASIBLE = 3, /* not a valid object: no reward is defined */
    REWARD_NON_FINITE = 4,
    REWARD_NOT_ASKED = 5, /* no failure: the run asks few samples (learned.h) */
};
const char *reward_status_name(enum reward_status s);

/* What samples look like and what the run says. config and coding outlive the
 * scorer, the struct does not. */
struct reward_scene {
    int64_t channels, height, width;
    int64_t classes; /* of the network; 0: unconditional */
    const struct coding *coding;
    const struct config *config; /* of a component: with its own keys */
    const char *name;            /* of the component, for messages; NULL: the only one */
    uint64_t seed;
    int64_t scorers; /* ranks that score at the same time; 0 counts as 1. What is bounded
                      * over the whole group is shared between them. */
    /* Who waits calls it at least every 10 ms; not 0: give up and return -1 (an error is
     * pending). NULL-able. */
    int (*idle)(void *ctx);
    /* When who waits for another program is to leave, as clock_s says; INFINITY: nobody
     * wants that. Once it is finite nothing new is asked, and what has no answer by then is
     * given up: score returns -1 with ERR_STOPPED. Any thread may call it. NULL-able. */
    double (*leave)(void *ctx);
    void *idle_ctx; /* of both */
    const char *memory; /* folder for what remote rewards said (memory.h); NULL: none */
};

/* One component's part of a batch. */
struct reward_part {
    double *score;   /* out [n] as the component says it; NaN where its status is not ok */
    uint8_t *status; /* out [n] */
};

enum { REWARD_TROUBLE = 320 }; /* bytes */

/* Samples as the sampler left them: [n, channels, height, width], pictures in [-1, 1],
 * others as the scene's coding says. */
struct reward_batch {
    int64_t n, channels, height, width;
    const float *sample;
    const int64_t *label;     /* [n] class labels, or NULL */
    int64_t iteration, first; /* sample i is number first + i of the iteration: the key of
                               * a noisy reward's noise */
    const uint8_t *skip; /* [n] 1: leave score, status and gradient as they are; or NULL */
    /* A remote reward calls it for each sample as soon as its score and status are final,
     * in any order, so that they can be kept should the job end. NULL-able. */
    void (*scored)(void *ctx, int64_t i);
    void *scored_ctx;
    char *trouble; /* [REWARD_TROUBLE] a remote reward leaves its last words about samples
                    * that failed or timed out, with the service or program; or NULL */
    int aside; /* a thread beside the rank's own calls score: the scene's idle is not to be
                * called, and waiting holds up nobody */
    double *score;            /* out [n]; NaN where the status is not ok */
    uint8_t *status;          /* out [n], enum reward_status */
    struct reward_part *part; /* [components] of a scorer (scorer.h); NULL: not wanted */
    float *gradient; /* out [n, channels, height, width] d score / d sample, 0 where the
                      * status is not ok; NULL: not wanted, and always where the reward is
                      * not differentiable */
};

/* What may depend on the configuration. */
struct reward_traits {
    const char *units;  /* valid as long as the process lives */
    int deterministic;  /* same sample, same score */
    int differentiable; /* fills gradient */
};

struct reward {
    const char *name, *help, *units;
    int deterministic, differentiable; /* as in the traits */
    /* Changes the traits, which are those above, to what the configuration makes of them.
     * ERR_USAGE, ERR_INPUT. NULL: they are as they stand. */
    int (*traits)(const struct config *c, struct reward_traits *t);
    int remote; /* asks another program: takes its time and may fail, honours skip, calls
                 * scored; what it has scored is kept and is not asked again */
    int own_thread; /* only the rank's own thread may call score: it computes on all of the
                     * rank's cores, or is code that may not know of threads */
    /* Prepares the scorer for samples of this shape; *ctx is its own. ERR_USAGE where
     * the shape or the configuration makes no sense for it, ERR_INPUT for a bad file.
     * NULL-able. */
    int (*open)(const struct reward_scene *s, void **ctx);
    void (*close)(void *ctx); /* NULL-able */
    /* Scores a batch. -1 only for trouble that concerns the whole run, and where it was left
     * (scene.leave). */
    int (*score)(void *ctx, const struct reward_batch *b);
    /* remote: adds what its scores depend on beside the sample (address, question, program
     * and its arguments, but no token) to the digest that kept scores are found by. */
    void (*identify)(void *ctx, struct digest *d);
};

/* A reward's traits under this configuration, reward.deterministic included. 0, or -1 with
 * ERR_USAGE or ERR_INPUT. */
int reward_traits(const struct reward *r, const struct config *c,
                  struct reward_traits *t);
/* The reward as the configuration makes it: *own is a copy of *r with those traits. */
int reward_settle(const struct reward *r, const struct config *c, struct reward *own);

/* NULL and ERR_USAGE (with the nearest name) for an unknown one. */
const struct reward *reward_find(const char *name);
const struct reward *const *reward_all(void); /* NULL-terminated */

#endif

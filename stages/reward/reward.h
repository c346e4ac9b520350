/* Rewards. One reward is one file with one `const struct reward`, listed in reward.c. A
 * failed score is a status, never a number. */
#ifndef SLUICE_STAGES_REWARD_REWARD_H
#define SLUICE_STAGES_REWARD_REWARD_H

#include <stdint.h>

enum reward_status {
    REWARD_OK = 0,
    REWARD_FAILED = 1,     /* the scorer failed */
    REWARD_TIMED_OUT = 2,
    REWARD_INFEASIBLE = 3, /* not a valid object: no reward is defined */
    REWARD_NON_FINITE = 4,
};
const char *reward_status_name(enum reward_status s);

/* Samples as the sampler left them: [n, channels, height, width], pictures in [-1, 1]. */
struct reward_batch {
    int64_t n, channels, height, width;
    const float *sample;
    const int64_t *label; /* [n] class labels, or NULL */
    double *score;        /* out [n]; NaN where the status is not ok */
    uint8_t *status;      /* out [n], enum reward_status */
};

struct reward {
    const char *name, *help, *units;
    int deterministic; /* same sample, same score */
    /* Prepares the scorer for samples of this shape; *ctx is its own. ERR_USAGE where
     * the shape makes no sense for it. NULL-able. */
    int (*open)(int64_t channels, int64_t height, int64_t width, void **ctx);
    void (*close)(void *ctx); /* NULL-able */
    /* Scores a batch. -1 only for trouble that concerns the whole run. */
    int (*score)(void *ctx, const struct reward_batch *b);
};

/* NULL and ERR_USAGE (with the nearest name) for an unknown one. */
const struct reward *reward_find(const char *name);
const struct reward *const *reward_all(void); /* NULL-terminated */

#endif

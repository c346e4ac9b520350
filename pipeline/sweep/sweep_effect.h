/* Which parameters of a sweep matter for its metric. */
#ifndef SLUICE_PIPELINE_SWEEP_EFFECT_H
#define SLUICE_PIPELINE_SWEEP_EFFECT_H

#include "pipeline/sweep/sweep_parts.h"

enum { SWEEP_LEVELS = 12 };

struct sweep_effect {
    int64_t key, members; /* with a number and a value */
    double rank;    /* Spearman's rank correlation; NaN: the values are no numbers */
    double share;   /* of the metric's variance between the levels, eta squared; NaN:
                       levels   do not repeat */
    int64_t levels; /* 0: more than SWEEP_LEVELS */
    const char *level[SWEEP_LEVELS]; /* borrowed, in the order of the members */
    double mean[SWEEP_LEVELS];
    int64_t count[SWEEP_LEVELS];
};

/* Effects of all keys, the strongest first (|rank| or the root of share, the larger
 * one). out: [keys] */
void sweep_effects(const struct sweep *s, const struct sweep_result *r,
                   struct sweep_effect *out);

#endif

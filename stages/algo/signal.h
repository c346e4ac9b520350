/* Statistics of an iteration's rewards, in double precision and in sample order, over the
 * usable samples alone. */
#ifndef SLUICE_STAGES_ALGO_SIGNAL_H
#define SLUICE_STAGES_ALGO_SIGNAL_H

#include "stages/algo/algo.h"

/* 0, or ERR_NUMERIC naming the first usable sample whose reward is not finite. */
int signal_check(const struct algo_signal *s);

/* Advantages as algorithm.baseline says: normalised over the iteration, or by the
 * tracker's statistics of the prompt. Unusable samples get 0. 0 or -1. */
int signal_baseline(const struct algo_options *o, struct tracker *tracker,
                    const struct algo_signal *s);

/* Groups of samples with the same prompt, by first appearance. */
struct signal_groups {
    int64_t number;
    int64_t *of; /* [samples] the sample's group, -1 where it is not usable */
    struct signal_group {
        int64_t first, count; /* first sample; how many */
        double mean, squares; /* sum of squared deviations from the mean */
        double low, high;
    } *group; /* [number] */
};

/* One group where by_prompt is false. signal_groups_free frees the arrays. */
void signal_groups_make(struct signal_groups *g, const struct algo_signal *s,
                        bool by_prompt);
void signal_groups_free(struct signal_groups *g);

#endif

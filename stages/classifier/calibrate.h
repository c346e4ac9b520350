/* How good a head's probabilities are, and the temperature that makes them as good as one
 * number can (Guo et al. 2017, section 4.2). */
#ifndef SLUICE_STAGES_CLASSIFIER_CALIBRATE_H
#define SLUICE_STAGES_CLASSIFIER_CALIBRATE_H

#include <stdint.h>

/* The outputs of one head on n items: item i's logits start at logit + i * stride. */
struct calibrate_set {
    int64_t n, k, stride;
    const float *logit;
    const int64_t *label; /* [n], 0..k-1 */
};

struct calibrate_quality {
    double accuracy; /* fraction whose largest logit is the label's */
    double nll;      /* mean -log p(label), nat */
    double error;    /* expected calibration error: mean |confidence - accuracy| over 15 bins
                      * of the largest probability, weighted by their items */
};
struct calibrate_quality calibrate_measure(const struct calibrate_set *s,
                                           double temperature);

/* The mean -log p and its derivative with respect to log temperature. */
double calibrate_nll(const struct calibrate_set *s, double temperature, double *slope);

/* *temperature <- the minimiser of calibrate_nll within a factor of CALIBRATE_MOST of 1 (a
 * set without a mistake would have it at 0), by TAO from 1. MPI must be up. Not collective:
 * each process solves the same problem to the same bits. 0 or -1. */
enum { CALIBRATE_MOST = 10 };
int calibrate_temperature(const struct calibrate_set *s, double *temperature);

#endif

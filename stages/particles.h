/* A bonus for samples that lie apart: the particle estimate of the entropy of the final
 * samples (Kozachenko & Leonenko 1987), sample by sample. */
#ifndef SLUICE_STAGES_PARTICLES_H
#define SLUICE_STAGES_PARTICLES_H

#include "stages/task.h"

struct particles {
    int64_t n, d;
    const float *x;       /* [n, d] */
    const int64_t *label; /* [n] */
};

/* bonus[i] = weight * log r for i in [first, last), r the distance (root of the mean square
 * over a sample's numbers) to the neighbour-th nearest other sample, or other sample of the
 * same label; r is at least 1e-6, and 0 is the bonus of a sample without so many others. */
void particles_score(const struct particles *p, const struct entropy_options *o,
                     int64_t first, int64_t last, double *bonus);

/* The same for all samples of an iteration, bonus[samples]. Every rank holds all its final
 * samples for a moment. ERR_INPUT. Collective on c. */
int particles_bonus(struct task *t, const struct comm *c, int64_t iteration,
                    const int64_t *label, double *bonus);

#endif

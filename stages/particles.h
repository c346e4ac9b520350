/* A bonus for samples that lie apart: the particle estimate of the entropy of the final
 * samples (Kozachenko & Leonenko 1987), sample by sample. */
#ifndef SLUICE_STAGES_PARTICLES_H
#define SLUICE_STAGES_PARTICLES_H

#include "stages/task.h"

/* bonus[samples] = weight * log r, r the distance (root of the mean square over a sample's
 * numbers) to the neighbour-th nearest other sample of the iteration, or of the same
 * label[samples]; r is at least 1e-6, and 0 is the bonus of a sample without so many
 * others. Every rank holds all final samples of the iteration for a moment. ERR_INPUT.
 * Collective on c. */
int particles_bonus(struct task *t, const struct comm *c, int64_t iteration,
                    const int64_t *label, double *bonus);

#endif

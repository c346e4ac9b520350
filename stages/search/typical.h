/* How untypical a vector is of independent standard normal numbers: the regulariser of
 * direct noise optimisation (Tang et al. 2024). The vector, as it stands and permuted,
 * is cut into blocks of k = 4, 16, 64 numbers, n of them, with mean m and second moment
 * C; bounds on the probability of such a mean and such a moment,
 *
 *     log p1 = -n |m|^2 / (2 k)
 *     log p2 = -n max(sqrt(1 + |C - I|) - 1 - sqrt(k / n), 0)^2 / 2     (|.|: spectral
 * norm)
 *
 * count where they are below -log 2, by what they are below. */
#ifndef SLUICE_STAGES_SEARCH_TYPICAL_H
#define SLUICE_STAGES_SEARCH_TYPICAL_H

#include <stdint.h>

struct typical;

/* For vectors of n numbers; the permutations follow from the seed alone. */
struct typical *typical_create(int64_t n, uint64_t seed);
void typical_destroy(struct typical *t);

/* The sum over both bounds and all k of max(-log p - log 2, 0), mean over the orders;
 * 0: z is typical. gradient[n], where not NULL, receives its gradient. */
double typical_penalty(struct typical *t, const double *z, double *gradient);

#endif

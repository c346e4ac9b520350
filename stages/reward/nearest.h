/* Distances to the nearest rows of a reference set, for memorisation: is a sample one
 * of the data that the network was trained on? */
#ifndef SLUICE_STAGES_REWARD_NEAREST_H
#define SLUICE_STAGES_REWARD_NEAREST_H

#include "io/config.h"

#include <stdint.h>

struct nearest;

/* Of one sample; distances are root mean squares over its elements. */
struct nearest_hit {
    int64_t row;          /* the nearest one, the first of equal ones */
    double first, second; /* distances; second: infinite where there is one row */
};

/* rows [n, width], copied; n and width at least 1. The caller closes it. */
struct nearest *nearest_create(const float *rows, int64_t n, int64_t width);
void nearest_destroy(struct nearest *s);
int64_t nearest_rows(const struct nearest *s);
/* Row k [width]. */
const float *nearest_row(const struct nearest *s, int64_t k);
/* samples [n, width] -> hit[n]. Deterministic; distances are those of a plain loop in
 * double. A sample that is not finite has row -1 and distances NaN. */
void nearest_find(const struct nearest *s, const float *samples, int64_t n,
                  struct nearest_hit *hit);

#endif

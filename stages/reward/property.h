/* A linear model of a molecule's property, fitted to a table by ridge regression:
 * w = argmin sum_i (y_i - w f_i)^2 + lambda |w|^2 over molecule_features f. */
#ifndef SLUICE_STAGES_REWARD_PROPERTY_H
#define SLUICE_STAGES_REWARD_PROPERTY_H

#include "stages/reward/lookup.h"
#include "stages/reward/molecule_features.h"

struct property;

/* Fits column 0 of `table` on at most `rows` of its molecules, spread evenly over the
 * file; rows half-way between them, as many, are held out and measure the fit. Texts
 * that are no molecules are left out. `table` is not kept. NULL: ERR_INPUT, fewer than
 * 16 molecules. */
struct property *property_fit(const struct lookup *table, int64_t rows);
void property_free(struct property *p);
/* Share of the variance that it explains, of the rows it was fitted on and of those
 * held out (NaN where there are none), and how many each. */
struct property_fit_quality {
    double fitted, held_out;
    int64_t rows, held_out_rows;
};
struct property_fit_quality property_quality(const struct property *p);
double property_of(const struct property *p, const struct molecule *m);

#endif

/* A molecule as numbers for a linear model. */
#ifndef SLUICE_STAGES_REWARD_MOLECULE_FEATURES_H
#define SLUICE_STAGES_REWARD_MOLECULE_FEATURES_H

#include "stages/reward/smiles.h"

/* The first few are a constant and counts (heavy atoms, C, N, O, F, hydrogens, rings,
 * double and triple bonds, N-H and O-H, squared heavy atoms); the others count paths of
 * 0 to 3 bonds, each by a hash of its atoms (element, hydrogens, degree, in a ring or
 * not) and bonds, read in the direction of the smaller hash; paths of one bucket add
 * up. Longer paths are named by elements only, so that they are met again. */
enum {
    FEATURE_COUNTS = 13,
    FEATURE_BUCKETS = 499,
    FEATURES = FEATURE_COUNTS + FEATURE_BUCKETS
};

/* All of them, each at least 0. */
void molecule_features(const struct molecule *m, double out[FEATURES]);

#endif

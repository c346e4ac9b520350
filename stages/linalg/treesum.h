/* Sums of vectors of doubles whose bits depend on the number of terms ("leaves") alone,
 * not on the ranks that share them. Leaves are added up a binary tree: node [lo, hi)
 * splits at lo + the largest power of two below hi - lo. (stages/nn/reduce.h does this
 * for gradients, in float and by slices; this one gives the whole sum to every rank.) */
#ifndef SLUICE_STAGES_LINALG_TREESUM_H
#define SLUICE_STAGES_LINALG_TREESUM_H

#include "io/sys/comm.h"

struct treesum;

/* Vectors of length n; leaves >= 0. c outlives the result. Memory: about log2(leaves)
 * vectors. */
struct treesum *treesum_create(const struct comm *c, int64_t n, int64_t leaves);
void treesum_destroy(struct treesum *t);

/* This rank's leaves: [*first, *first + *number); number may be 0. */
void treesum_leaves(const struct treesum *t, int64_t *first, int64_t *number);

/* The next own leaf: n zeros for the caller to fill. Call once per own leaf, in order. */
double *treesum_leaf(struct treesum *t);

/* out[n] <- the sum, on every rank; 0 where there are no leaves. Collective on c. */
int treesum_finish(struct treesum *t, double *out);

#endif

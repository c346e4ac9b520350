/* Sums over micro-batches whose bits depend on the number of micro-batches alone.
 *
 * The micro-batches 0..m-1 of an optimizer step are the leaves of one canonical binary
 * tree: node [lo, hi) splits at lo + the largest power of two below hi - lo. Rank r of a
 * group owns a contiguous range of leaves and sums complete subtrees locally; the parts
 * of the parameter vector are then exchanged (the volume of a reduce-scatter), and the
 * owner of each slice adds the subtrees' sums up the same tree. Slices start at multiples
 * of REDUCE_CHUNK, and norms are sums of chunk sums in order, so they do not depend on
 * the number of ranks either. */
#ifndef SLUICE_STAGES_NN_REDUCE_H
#define SLUICE_STAGES_NN_REDUCE_H

#include "io/sys/comm.h"

#include <stdint.h>

#define REDUCE_CHUNK 4096

struct reduce;

/* n: length of the vector; leaves: number of micro-batches m >= 1. c must outlive the
 * result. Memory: about log2(m) vectors of length n at most, allocated in the first step
 * and kept. Collective on c. */
struct reduce *reduce_create(const struct comm *c, int64_t n, int64_t leaves);
void reduce_destroy(struct reduce *r);

/* This rank's leaves: [*first, *first + *number). number may be 0. */
void reduce_leaves(const struct reduce *r, int64_t *first, int64_t *number);
/* This rank's slice of the vector: [*at, *at + *len). */
void reduce_slice(const struct reduce *r, int64_t *at, int64_t *len);

/* Gives the next leaf's gradient (length n); call once per own leaf, in order. The
 * vector is read before the call returns and may then be overwritten. */
void reduce_add(struct reduce *r, const float *leaf);

/* The total over all leaves for this rank's slice, out[0..len). Resets for the next step.
 * Collective on c. 0 or -1. */
int reduce_finish(struct reduce *r, float *out);

/* Sum of squares of a vector of which every rank holds its slice: in double, in the fixed
 * order of chunks. Collective on c. */
int reduce_norm2(const struct reduce *r, const float *slice, double *norm2);

/* Bytes of the vectors that the rank with most of so many ranks keeps; for plans, not
 * collective. */
int64_t reduce_bytes(int64_t n, int64_t leaves, int ranks);

/* whole[0..n) <- everyone's slices. Collective on c. */
int reduce_spread(const struct reduce *r, const float *slice, float *whole);

#endif

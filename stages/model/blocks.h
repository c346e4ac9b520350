/* Blocks in a row and what follows them, as networks of vectors and of sequences have
 * them. The condition sets the norms: a linear map of it is the modulation m, of which
 * parts (multiples of hidden) shift, scale and gate. */
#ifndef SLUICE_STAGES_MODEL_BLOCKS_H
#define SLUICE_STAGES_MODEL_BLOCKS_H

#include "stages/model/dense.h"

/* What a block's function gets as ctx: block i of net. */
struct blocks_step {
    const void *net;
    struct param_set *set;
    int64_t i;
};

struct blocks {
    const void *net;
    struct param_set *set;
    int64_t n;
    tape_segment_f block; /* in[]: x [N, .., hidden] and the condition [N, hidden] */
    struct dense modulation, out; /* hidden -> 2 hidden, hidden -> values */
};

/* x [N, .., hidden], which is released, and the condition c [N, hidden] through all
 * blocks, each a segment of the tape, the last norm and `out`: [N, .., values]. */
struct tensor *blocks_run(struct tape *t, const struct blocks *b, struct tensor *x,
                          struct tensor *c);

/* norm(x) by parts `part` and `part` + 1 of m. */
struct tensor *blocks_norm(struct tape *t, struct tensor *x, struct tensor *m,
                           int part);

/* A block's two layers beside x: in and out with `bend` between them. */
struct blocks_feed {
    struct param_set *set;
    struct dense in, out;
    struct tensor *(*bend)(struct tape *t, struct tensor *x);
};

/* x + gate * out(bend(in(norm(x)))), by parts `part` .. `part` + 2 of m. */
struct tensor *blocks_feed(struct tape *t, const struct blocks_feed *f,
                           struct tensor *x, struct tensor *m, int part);

#endif

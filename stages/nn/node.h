/* Inside of the tape, for ops_*.c only: how an operation enters itself and where its
 * backward puts gradients. */
#ifndef SLUICE_STAGES_NN_NODE_H
#define SLUICE_STAGES_NN_NODE_H

#include "stages/nn/tape.h"

struct node {
    void (*backward)(struct tape *t, const struct node *n);
    struct tensor *out;
    struct tensor *in[3];
    void *saved; /* the operation's, in the tape's arena */
    struct node *previous;
};

/* Enters an operation when a backward is recorded and out wants a gradient; NULL
 * otherwise. The caller fills in[] and saved. */
struct node *tape_node(struct tape *t, struct tensor *out,
                       void (*backward)(struct tape *t, const struct node *n));

/* Where to put x's gradient: NULL when none is wanted, else x->grad with *add telling
 * whether an earlier consumer has written it (then add, else overwrite). */
float *tape_sink(struct tensor *x, bool *add);

/* A tensor that shares x's values and gradient. */
struct tensor *tape_alias(struct tape *t, struct tensor *x, int nd, const int64_t *dim);

/* Memory of this evaluation; what a backward takes between a mark and a release is
 * shared by all operations. */
struct arena *tape_arena(struct tape *t);
const struct backend *tape_kernels(const struct tape *t);

#endif

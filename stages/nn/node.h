/* Inside of the tape, for ops_*.c only: how an operation enters itself, what it keeps
 * for its backward, and where that puts gradients. */
#ifndef SLUICE_STAGES_NN_NODE_H
#define SLUICE_STAGES_NN_NODE_H

#include "stages/nn/kernels.h"
#include "stages/nn/ops.h"

enum { NODE_INPUTS = 4 };

struct node {
    void (*backward)(struct tape *t, const struct node *n);
    struct tensor *out;
    struct tensor *in[NODE_INPUTS];
    struct tensor *kept[NODE_INPUTS]; /* their values stay until the backward has run */
    void *saved;                      /* a copy in the tape's memory, see tape_node */
    void (*remake)(struct tape *t, const struct node *n); /* see node_remake, or NULL */
    struct node *previous;
};

/* A tensor for the result of an operation. */
struct tensor *tape_result(struct tape *t, int nd, const int64_t *dim, enum dtype type,
                           bool want_grad);

/* The values of n's result can be made again from what n keeps: they are given up when
 * nobody but nodes needs them, and `make` writes them to n->out->raw before the
 * backward of the first of those. */
void node_remake(struct node *n, void (*make)(struct tape *t, const struct node *n));

/* Enters an operation when a backward is recorded and out wants a gradient; NULL
 * otherwise. saved (size bytes) is copied. The caller fills in[] and calls node_keep.
 * Values of what is kept may lie elsewhere when the backward runs: it looks them up in
 * the tensors. */
struct node *tape_node(struct tape *t, struct tensor *out,
                       void (*backward)(struct tape *t, const struct node *n),
                       const void *saved, size_t size);
void node_keep(struct node *n, struct tensor *x);

/* Where to put x's gradient: NULL when none is wanted (or x is NULL), else its memory
 * with *add telling whether an earlier consumer has written it (then add, else
 * overwrite). */
void *tape_sink(struct tape *t, struct tensor *x, bool *add);

/* x's gradient (+)= that of n->out, which the backward of n does not need any more: the
 * memory itself is handed on where that is possible. */
void tape_pass(struct tape *t, const struct node *n, struct tensor *x);

/* The parts of a kernel's input; and both tensors as inputs of a node (NULL is fine), which
 * keeps their values where that is wanted. */
void inputs_parts(struct inputs x, struct part part[PARTS]);
void inputs_keep(struct node *n, struct inputs x, bool values);

/* A tensor that shares x's values and gradient. */
struct tensor *tape_alias(struct tape *t, struct tensor *x, int nd, const int64_t *dim);

/* Working memory of kernels: the caller gives back what it took by a mark. */
struct arena *tape_scratch(struct tape *t);
const struct backend *tape_kernels(const struct tape *t);

#endif

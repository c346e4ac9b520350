/* Reverse-mode automatic differentiation: a list of operations in the order in which
 * they ran. ops.h appends to it; tape_backward walks it from the end.
 *
 * Determinism: for fixed shapes and a fixed thread count the same inputs give the same
 * bits, and the result for one item of a batch depends neither on its position nor on
 * the other items. */
#ifndef SLUICE_STAGES_NN_TAPE_H
#define SLUICE_STAGES_NN_TAPE_H

#include "stages/nn/tensor.h"

#include <stdbool.h>

struct tape;
struct backend;

/* The back end ("onednn" or "reference", see backend.h) is borrowed. */
struct tape *tape_create(const struct backend *backend);
void tape_destroy(struct tape *t);

/* Starts a new evaluation; tensors of the last one become invalid. record = false: no
 * backward is wanted, memory of intermediate results is reused. */
void tape_begin(struct tape *t, bool record);

/* A tensor of the tape; contents undefined. With want_grad its gradient exists (zeroed)
 * after tape_backward. */
struct tensor *tape_tensor(struct tape *t, int nd, const int64_t *dim, bool want_grad);

/* d(sum of seed * out) / d everything: seed has out's shape. Gradients of parameters
 * are ADDED to param grad; gradients of tape tensors are overwritten. 0 or -1. */
int tape_backward(struct tape *t, struct tensor *out, const float *seed);

/* Bytes of memory held. */
int64_t tape_bytes(const struct tape *t);

#endif

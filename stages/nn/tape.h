/* Reverse-mode automatic differentiation: a list of operations in the order in which
 * they ran. ops.h appends to it; tape_backward walks it from the end.
 *
 * Memory: a tensor that an operation returns belongs to the caller, who may say
 * tape_release when done with it; its values live on as long as a recorded backward
 * needs them. What is never released lives until the next tape_begin.
 *
 * Determinism: for fixed shapes the same inputs give the same bits, for any number of
 * threads, and the result for one item of a batch depends neither on its position nor
 * on the other items. */
#ifndef SLUICE_STAGES_NN_TAPE_H
#define SLUICE_STAGES_NN_TAPE_H

#include "stages/nn/tensor.h"

struct tape;
struct backend;

/* The back end ("onednn" or "reference", see backend.h) is borrowed. */
struct tape *tape_create(const struct backend *backend);
void tape_destroy(struct tape *t);

/* How activations inside of networks are stored from the next evaluation on (default
 * float32), and whether the backward pass computes the inside of segments again instead
 * of keeping it (default false). */
void tape_set_dtype(struct tape *t, enum dtype type);
void tape_set_recompute(struct tape *t, bool recompute);
enum dtype tape_dtype(const struct tape *t);

/* Starts a new evaluation; tensors of the last one become invalid. record = false: no
 * backward is wanted. */
void tape_begin(struct tape *t, bool record);

/* A float32 tensor of the tape; contents undefined. With want_grad its gradient exists
 * after tape_backward (zeros where the output does not depend on it). */
struct tensor *tape_tensor(struct tape *t, int nd, const int64_t *dim, bool want_grad);

/* Memory for small things that live until the next tape_begin. */
void *tape_keepsake(struct tape *t, int64_t count, size_t size);

/* The caller will not look at x any more. NULL is fine. */
void tape_release(struct tape *t, struct tensor *x);

/* A part of a network as one operation: f puts *y, made from in[], n <= 4 tensors of
 * which some may be NULL. ctx (size bytes) is copied; what it points to must live until
 * the backward. With recompute, only in[] and y are kept and f runs again in the
 * backward (Chen et al. 2016): f must give the same operations again. */
typedef void (*tape_segment_f)(struct tape *t, const void *ctx,
                               struct tensor *const *in, struct tensor **y);
struct tensor *tape_segment(struct tape *t, tape_segment_f f, const void *ctx,
                            size_t size, struct tensor *const *in, int n);

/* d(sum of seed * out) / d everything: out is float32, seed has its shape. Gradients of
 * parameters are ADDED to param grad; those of tensors that tape_tensor made are
 * overwritten; those of others do not outlive the call. Once per tape_begin. 0 or -1.
 */
int tape_backward(struct tape *t, struct tensor *out, const float *seed);

/* Most bytes that an evaluation needed so far, working memory of kernels included. */
int64_t tape_bytes(const struct tape *t);
int64_t tape_scratch_bytes(const struct tape *t); /* the working memory alone */

#endif

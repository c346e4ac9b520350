/* Dense float32 tensors in an arena, channels last.
 *
 * Activations of pictures are [N, H, W, C], of sequences [N, T, C], of vectors [N, C].
 * An arena is one block (or a few) that is planned by a first pass and then reused: in a
 * steady state nothing is allocated in a step. */
#ifndef SLUICE_STAGES_NN_TENSOR_H
#define SLUICE_STAGES_NN_TENSOR_H

#include <stddef.h>
#include <stdint.h>

/* Plain data, owned by the arena (or by a param_set, for parameters). */
struct tensor {
    int nd;         /* 1..4 */
    int64_t dim[4]; /* unused ones are 1 */
    float *data;
    float *grad; /* same shape, NULL where no gradient is wanted */
};

int64_t tensor_count(const struct tensor *t);

struct arena;

struct arena *arena_create(void);
void arena_destroy(struct arena *a);
/* Forgets everything that was handed out; keeps the memory. */
void arena_reset(struct arena *a);
/* 64-byte aligned, not zeroed. Grows when needed (only until the largest step was seen). */
void *arena_take(struct arena *a, int64_t count, size_t size);
/* A place to return to: everything taken after the mark is given back by the release. */
struct arena_mark {
    int64_t block, used;
};
struct arena_mark arena_mark(const struct arena *a);
void arena_release(struct arena *a, struct arena_mark m);

/* Bytes held. */
int64_t arena_bytes(const struct arena *a);

#endif

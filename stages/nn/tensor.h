/* Dense tensors, channels last, and the memory that holds them for one evaluation.
 *
 * Activations of pictures are [N, H, W, C], of sequences [N, T, C], of vectors [N, C]. An
 * arena is one block (or a few) that grows until the largest step was seen and is then
 * reused: in a steady state nothing is allocated in a step. */
#ifndef SLUICE_STAGES_NN_TENSOR_H
#define SLUICE_STAGES_NN_TENSOR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How activations are stored. Arithmetic, statistics and gradients of parameters are
 * float32 (or double) in both. */
enum dtype { DTYPE_F32, DTYPE_BF16 };

/* The upper half of a float32. */
typedef uint16_t bf16;

size_t dtype_size(enum dtype type);
const char *dtype_name(enum dtype type); /* "f32", "bf16" */

/* Plain data, owned by a tape (or by a param_set, for parameters, which are float32). */
struct tensor {
    int nd;         /* 1..4 */
    int64_t dim[4]; /* unused ones are 1 */
    enum dtype type;
    bool wants_grad;
    union {
        float *data; /* of DTYPE_F32 */
        void *raw;   /* of any type */
    };
    union {
        float *grad; /* same shape and type; NULL where there is none (yet) */
        void *raw_grad;
    };
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

/* Bytes held, and the most that were handed out at a time. */
int64_t arena_bytes(const struct arena *a);
int64_t arena_peak(const struct arena *a);

#endif

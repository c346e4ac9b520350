/* Memory of tensors that come and go within one evaluation. Pieces are found first-fit
 * in address space, so that a piece that was given back is used again while it is still
 * in cache; once the largest evaluation was seen, nothing is allocated. */
#ifndef SLUICE_STAGES_NN_POOL_H
#define SLUICE_STAGES_NN_POOL_H

#include <stdint.h>

struct pool;

struct pool *pool_create(void);
void pool_destroy(struct pool *p);
/* Takes everything back; keeps the memory, joined into one block. */
void pool_reset(struct pool *p);
/* 64-byte aligned, contents undefined; bytes >= 1. */
void *pool_take(struct pool *p, int64_t bytes);
/* at: from pool_take since the last reset, and not given back yet. */
void pool_give(struct pool *p, void *at);

/* Bytes handed out now, and the most that were ever needed (with the gaps between). */
int64_t pool_used(const struct pool *p);
int64_t pool_peak(const struct pool *p);

#endif

/* What a run scores with: one reward, or the components of a mixture, behind the face of a
 * reward. The score is
 *
 *   sum over components of weight * (score - offset) / scale
 *
 * and its status is ok where those of all components with a weight are; else that of the
 * first component which has another. Once a sample is lost, the components after that one
 * are not asked for it if they are remote. A component of weight 0 is only watched.
 *
 * What fails is scored again reward.retries times, and what remote rewards said is kept
 * (memory.h) where the scene names a folder. */
#ifndef SLUICE_STAGES_REWARD_SCORER_H
#define SLUICE_STAGES_REWARD_SCORER_H

#include "stages/reward/reward.h"

/* The name `mixture`, for the list of rewards; it is opened as a scorer only. */
extern const struct reward mixture;

/* A reward whose open, score and close are a scorer's, and whose flags are true where they
 * are for all components that count. name NULL: the run's, as reward.name says; else a
 * component's or a reward's score as that says it, or `mixture`. The scene that it is
 * opened with has the same name. ERR_USAGE (with the nearest name). */
int scorer_describe(const struct config *c, const char *name, struct reward *out);

/* Components of ctx, a scorer's; 0 where ctx is NULL. */
struct scorer_part {
    const char *name; /* of the component, or of the only reward */
    const struct reward *reward;
    double weight, offset, scale;
};
int64_t scorer_parts(const void *ctx);
bool scorer_mixes(const void *ctx); /* it is a mixture, may be of one */
const struct scorer_part *scorer_part(const void *ctx, int64_t k);

/* Digest of what the parts that ask other programs say of themselves (reward.identify): of
 * services and programs that may change under one configuration. "" where there are none. */
void scorer_identity(const void *ctx, char hex[DIGEST_HEX]);

/* Space for the parts' scores of n samples, for reward_batch.part: NaN, not asked. */
struct reward_part *scorer_parts_create(const void *ctx, int64_t n);
void scorer_parts_free(struct reward_part *p, const void *ctx);

#endif

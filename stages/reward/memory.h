/* What remote rewards said, kept on disk: a run that goes on does not ask again, nor does
 * another run with the same folder. Every process appends to a file of its own in the
 * folder, one record as each score arrives, and reads all files before its first batch.
 *
 * The key of a score is a digest of the reward's name and what it says of itself
 * (reward.identify), of sample and label, and, where the reward is not deterministic, of
 * seed, iteration and number of the sample and the component's name. Failures are not
 * kept. */
#ifndef SLUICE_STAGES_REWARD_MEMORY_H
#define SLUICE_STAGES_REWARD_MEMORY_H

#include "stages/reward/reward.h"

struct memory;

/* ctx: of r, which is open and stays so. deterministic: as its traits say. Reads nothing
 * yet. */
struct memory *memory_open(const char *folder, const struct reward *r, void *ctx,
                           const struct reward_scene *s, bool deterministic);
/* What is kept is durable afterwards: 0 or -1 (ERR_IO). */
int memory_sync(struct memory *m);
void memory_close(struct memory *m);

/* r's score of a batch, of whose samples only those are asked for that are not known, and
 * equal ones once where the reward is deterministic. As reward.score; ERR_IO where nothing
 * can be kept. Damaged records are left out with a warning. */
int memory_score(struct memory *m, const struct reward_batch *b);

/* Answers that came from memory since it was opened. */
int64_t memory_hits(const struct memory *m);

#endif

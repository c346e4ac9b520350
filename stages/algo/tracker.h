/* Per-prompt reward statistics (PerPromptStatTracker of DDPO's code):
 * a FIFO of the last `buffer` rewards of each prompt. Prompts are identified by a text
 * key. Deterministic: no hash order, sums in order of insertion, double precision. */
#ifndef SLUICE_STAGES_ALGO_TRACKER_H
#define SLUICE_STAGES_ALGO_TRACKER_H

#include <stdint.h>

struct tracker;

struct tracker *tracker_create(int64_t buffer, int64_t min_count);
void tracker_destroy(struct tracker *t);

/* Extends the FIFOs with this batch, then adv = (r - mean) / (std + 1e-6): the FIFO's
 * mean and population std where it has min_count entries, else the whole batch's. */
void tracker_update(struct tracker *t, int64_t n, const char *const *prompt,
                    const double *reward, double *adv);

/* Whole-batch normalisation: (r - mean) / (std + 1e-8), population std. */
void tracker_batch(int64_t n, const double *reward, double *adv);

/* State as flat arrays for the policy file: number of prompts; keys; lengths [np] and all
 * FIFO contents one after another, prompts in order of first appearance. Pointers stay
 * valid until the next call. */
int64_t tracker_state(const struct tracker *t, const char *const **keys,
                      const int64_t **length, const double **values);
/* Restores what tracker_state gave. ERR_INPUT when lengths do not add up. */
int tracker_restore(struct tracker *t, int64_t np, const char *const *keys,
                    const int64_t *length, const double *values, int64_t n_values);

#endif

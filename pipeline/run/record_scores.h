/* What an iteration's samples were given: statuses and, of a mixture, each component, for
 * the iteration's line in metrics.jsonl; and by whom. */
#ifndef SLUICE_PIPELINE_RECORD_SCORES_H
#define SLUICE_PIPELINE_RECORD_SCORES_H

#include "io/json.h"
#include "stages/task.h"

/* Adds, from the iteration's advantage file,
 *
 *   "status": {"ok": 60, "failed": 4},                  those that occur
 *   "components": {"size": {"mean": -1.2, "std": .1, "scored": 60}, ...}   of a mixture
 *
 * and nothing where retention has taken the file away. A file that cannot be read is worth
 * a warning. */
void record_scores(const struct task *t, int64_t iteration, struct json_out *o);

/* Digests of what the reward and the guard say of themselves (scorer_identity), where they
 * have anything to say: who scores in this session. */
void record_scorers(const struct task *t, struct json_out *o);

/* Warns where provenance.json, of the session before, has other ones: scores follow from
 * files and services that the configuration only names. */
void record_compare_scorers(const struct task *t);

#endif

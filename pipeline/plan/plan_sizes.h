/* Disk of `sluice plan`, how its lines look, and what its parts have in common. */
#ifndef SLUICE_PIPELINE_PLAN_SIZES_H
#define SLUICE_PIPELINE_PLAN_SIZES_H

#include "pipeline/plan/plan.h"

/* "  name    text" on standard output. */
void plan_line(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Networks that the update evaluates beside the one that it trains. */
int plan_companions(const struct plan *p);
/* Steps whose network a pair of the update evaluates: 1, or those of a chain that is walked
 * back (at most, where they are drawn). */
int64_t plan_walked(const struct plan *p);
/* Forward passes per sample and step of a rollout, a backward one counted as two. */
double plan_searched(const struct plan *p);

/* Rollout evaluates version 0 beside the policy. */
bool plan_refers(const struct plan *p);
/* Features of the regression of values (stages/value_features.h); 0 without one. */
int64_t plan_value_base(const struct plan *p);
/* Bytes of a policy file; of all other sealed files of an iteration. */
double plan_policy_bytes(const struct plan *p);
double plan_iteration_bytes(const struct plan *p);
/* Bytes of a learned reward, as each advantage file has it. */
double plan_learned_bytes(const struct plan *p);

/* Prints them, and what the run directory takes in the end. */
void plan_disk(const struct plan *p);

#endif

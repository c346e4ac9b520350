/* Memory and disk of `sluice plan`, and how its lines look. */
#ifndef SLUICE_PIPELINE_PLAN_SIZES_H
#define SLUICE_PIPELINE_PLAN_SIZES_H

#include "pipeline/plan/plan_warn.h"

/* "  name    text" on standard output. */
void plan_line(const char *name, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Networks that the update evaluates beside the one that it trains. */
int plan_companions(const struct plan *p);
/* Forward passes per sample and step of a rollout, a backward one counted as two. */
double plan_searched(const struct plan *p);

/* Prints memory by group; returns the bytes of the largest rank. */
double plan_memory(const struct plan *p);
void plan_disk(const struct plan *p);

#endif

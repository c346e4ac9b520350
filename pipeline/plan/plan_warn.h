/* Warnings of `sluice plan`. */
#ifndef SLUICE_PIPELINE_PLAN_WARN_H
#define SLUICE_PIPELINE_PLAN_WARN_H

#include "pipeline/plan/plan.h"

/* Prints what is likely to be a mistake, a line each; nothing where all is well. */
void plan_warn(const struct plan *p);

#endif

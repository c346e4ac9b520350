/* A plan from its configuration. */
#ifndef SLUICE_PIPELINE_PLAN_DERIVE_H
#define SLUICE_PIPELINE_PLAN_DERIVE_H

#include "pipeline/plan/plan_warn.h"

/* Fills *p, of which c and ranks are set, but for what is tried out. Opens model.path where
 * that is set. 0 or -1; plan_close either way. */
int plan_derive(struct plan *p);
/* The same with all that `sluice run` would refuse, learned rewards and the rate of one
 * sample's evaluation. */
int plan_derive_all(struct plan *p);
void plan_close(struct plan *p);

#endif

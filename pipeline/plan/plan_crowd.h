/* Rates measured by ranks that took turns on too few cores, as they are with a core each. */
#ifndef SLUICE_PIPELINE_PLAN_CROWD_H
#define SLUICE_PIPELINE_PLAN_CROWD_H

#include "pipeline/plan/plan_rates.h"

/* run: the plan of the run that r was read from, whose rank time holds the turns of others.
 * The run is simulated on its cores, and the rates of each group are made shorter until the
 * simulated ranks work as long as the real ones did. Does nothing where every thread had a
 * core, or the cores are not known. ERR_ENV as layout_make. */
int plan_crowd_remove(struct plan_rates *r, const struct plan *run);

#endif

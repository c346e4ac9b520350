/* Rules that end a run of any method before its last iteration. They look at the metrics
 * of the newest policy alone, which its file holds: so every layout and every resumed job
 * ends at the same version. */
#ifndef SLUICE_STAGES_WATCH_H
#define SLUICE_STAGES_WATCH_H

#include "io/sys/text.h"
#include "stages/task.h"

struct watch { /* plain data; 0: no such rule */
    double kl_budget;    /* nats */
    double guard_drop;   /* in the guard's units */
    double guard_errors; /* standard errors of the difference */
};

/* Whether a rule ends the run after the iteration of these metrics; *why receives the
 * reason, with the key and the numbers. A metric that is NaN meets no rule. */
bool watch_ends(const struct watch *w, const double metric[METRICS], struct text *why);

#endif

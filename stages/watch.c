/* Stop rules. */
#include "stages/watch.h"

#include <math.h>

bool watch_ends(const struct watch *w, const double m[METRICS], struct text *why)
{
    double fall = m[METRIC_GUARD_FIRST] - m[METRIC_GUARD_MEAN];
    double error = hypot(m[METRIC_GUARD_FIRST_ERROR], m[METRIC_GUARD_ERROR]);
    if (w->kl_budget > 0 && m[METRIC_KL_PATH] > w->kl_budget)
        text_add(why, "run.kl_budget: the path KL to policy 0 is %.6g nats, more than %.6g",
                 m[METRIC_KL_PATH], w->kl_budget);
    else if (w->guard_drop > 0 && fall > w->guard_drop)
        text_add(why, "run.guard_drop: the guard fell from %.6g to %.6g, by more than %.6g",
                 m[METRIC_GUARD_FIRST], m[METRIC_GUARD_MEAN], w->guard_drop);
    else if (w->guard_errors > 0 && fall > w->guard_errors * error)
        text_add(why,
                 "run.guard_errors: the guard fell from %.6g to %.6g, by more than %.6g "
                 "standard errors of %.3g",
                 m[METRIC_GUARD_FIRST], m[METRIC_GUARD_MEAN], w->guard_errors, error);
    else
        return false;
    return true;
}

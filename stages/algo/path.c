/* Losses of rewards whose gradient is known. */
#include "stages/algo/path.h"

#include "stages/algo/signal.h"

#include <math.h>

void path_read(struct path_options *p, const struct config *c)
{
    p->target = config_is(c, "algorithm.reward_target", "auto")
                    ? (double)NAN
                    : config_real(c, "algorithm.reward_target");
}

double path_loss(const struct path_options *p, double reward, double *slope)
{
    *slope = -1;
    if (isnan(p->target))
        return -reward;
    *slope = reward > p->target ? 1 : reward < p->target ? -1 : 0;
    return fabs(reward - p->target);
}

int path_signal(const struct path_options *p, const struct algo_signal *s)
{
    if (signal_check(s) != 0)
        return -1;
    for (int64_t i = 0; i < s->n; i++) {
        double slope = 0;
        if (s->usable[i])
            path_loss(p, s->reward[i], &slope);
        s->advantage[i] = slope != 0 ? -slope : 0;
    }
    return 0;
}

double path_start(const struct path_options *p, const struct algo_walk *w,
                  float *cotangent)
{
    double slope, loss = path_loss(p, w->reward, &slope);
    float by = (float)(-w->advantage * w->weight);
    for (int64_t j = 0; j < w->d; j++)
        cotangent[j] = by * w->gradient[j];
    return w->weight * loss;
}

/* Noised samples. */
#include "stages/renoise.h"

#include "io/sys/rng.h"

int64_t renoise_pair(const struct task *t, const struct renoise *r, const float *x0,
                     float *noise, float *x, float *target)
{
    int64_t time = r->time;
    if (time < 0)
        time = rng_below(rng_key(t->seed, RNG_RENOISE, r->iteration, r->epoch, r->sample,
                                 2 * r->draw),
                         0, t->schedule.train_steps);
    rng_normal(rng_key(t->seed, RNG_RENOISE, r->iteration, r->epoch, r->sample,
                       2 * r->draw + 1),
               noise, t->d);
    schedule_add_noise(&t->schedule, time, x0, noise, x, target, t->d);
    return time;
}

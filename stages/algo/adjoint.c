/* Adjoint matching. The advantage of a sample is lambda: its adjoint starts at -lambda
 * d reward / d final sample. */
#include "stages/algo/adjoint.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/algo/signal.h"

#include <math.h>

static void read_options(void *own, const struct config *c)
{
    *(struct adjoint_options *)own = (struct adjoint_options){
        .weight = config_real(c, "algorithm.adjoint_weight"),
        .same = config_is(c, "algorithm.adjoint_pairing", "same"),
        .all = config_is(c, "algorithm.adjoint_steps", "all"),
    };
}

static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    const struct adjoint_options *own = o->own;
    (void)tracker;
    if (signal_check(s) != 0)
        return -1;
    for (int64_t i = 0; i < s->n; i++)
        s->advantage[i] = s->usable[i] ? own->weight : 0;
    return 0;
}

/* Keeps `number` of the live steps [from, to), without replacement. */
static void keep_some(const struct sampler *s, uint64_t key, int64_t from, int64_t to,
                      int64_t number, uint8_t *keep)
{
    int64_t *perm = mem_alloc(to - from, sizeof *perm);
    rng_permutation(key, perm, to - from);
    for (int64_t i = 0; i < to - from && number > 0; i++)
        if (s->step[from + perm[i]].mask) {
            keep[from + perm[i]] = 1;
            number--;
        }
    mem_free(perm);
}

static double start(const struct algo_options *o, const struct algo_walk *w,
                    uint8_t *keep, float *cotangent)
{
    const struct adjoint_options *own = o->own;
    const struct sampler *s = w->sampler;
    int64_t split = s->steps * 3 / 5;
    for (int64_t i = 0; own->all && i < s->steps; i++)
        keep[i] = (uint8_t)s->step[i].mask;
    if (!own->all) {
        keep_some(s, rng_mix64(w->key), 0, split, 2, keep);
        keep_some(s, rng_mix64(w->key + 1), split, s->steps, 2, keep);
    }
    for (int64_t j = 0; j < w->d; j++)
        cotangent[j] = (float)-w->advantage * w->gradient[j];
    return 0;
}

/* |(mu - mu_base) / sigma + sigma a|^2 of a live step, summed over the elements. */
static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    const struct adjoint_options *own = o->own;
    const struct sampler *s = p->sampler;
    const float *a = own->same ? p->adjoint : p->adjoint_next;
    float *mu = p->work, *base = p->work + p->d, by_x, by_o, worst = 0;
    double sigma = (double)s->step[p->step].sigma, sum = 0;
    sampler_mean(s, p->step, p->d, p->x, p->o, mu, NULL);
    sampler_mean(s, p->step, p->d, p->x, p->reference, base, NULL);
    sampler_slopes(s, p->step, &by_x, &by_o);
    double by = 2 * p->weight * (double)by_o / sigma;
    for (int64_t j = 0; j < p->d; j++) {
        double e = ((double)mu[j] - (double)base[j]) / sigma + sigma * (double)a[j];
        sum += e * e;
        grad[j] = (float)(by * e);
        worst += grad[j] * 0.0f; /* NaN from any infinity or NaN */
    }
    *r = (struct algo_result){.ratio = 1,
                              .loss = p->weight * sum,
                              .kl = sampler_kl(s, p->step, p->d, mu, base)};
    if (worst == 0 && isfinite(sum))
        return 0;
    return err_set(ERR_NUMERIC,
                   "step %lld: the regression on the adjoint is not finite; lower "
                   "algorithm.adjoint_weight or update.lr",
                   (long long)p->step);
}

const struct algo adjoint_matching = {
    .name = "adjoint_matching",
    .help = "adjoint matching: regression on the first policy's adjoint of the reward",
    .needs =
        NEEDS_TRAJECTORY | NEEDS_LOG_PROB | NEEDS_REWARD_GRADIENT | NEEDS_REFERENCE,
    .pairs = PAIRS_LEAN,
    .own_size = sizeof(struct adjoint_options),
    .read = read_options,
    .signal = signal_of,
    .loss = loss_of,
    .start = start,
};

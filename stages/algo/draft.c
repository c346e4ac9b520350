/* DRaFT-K and DRaFT-LV. */
#include "stages/algo/draft.h"

#include "stages/algo/denoise.h"

#include <math.h>
#include <string.h>

static void read_options(void *own, const struct config *c)
{
    struct draft_options *o = own;
    path_read(&o->path, c);
    o->k = config_int(c, "algorithm.draft_k");
}

static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    const struct draft_options *own = o->own;
    (void)tracker;
    return path_signal(&own->path, s);
}

/* The last k steps; nothing goes further back. */
static double start_k(const struct algo_options *o, const struct algo_walk *w,
                      uint8_t *keep, float *cotangent)
{
    const struct draft_options *own = o->own;
    for (int64_t i = w->sampler->steps - 1; i >= 0 && i >= w->sampler->steps - own->k;
         i--)
        keep[i] = 1;
    return path_start(&own->path, w, cotangent);
}

/* One copy of a final sample, noised to the last step and denoised by it. A copy whose
 * end has no score says nothing. */
static int loss_lv(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    const struct draft_options *own = o->own;
    double slope;
    float by_x, by_o;
    *r = (struct algo_result){.ratio = 1};
    memset(grad, 0, (size_t)p->d * sizeof *grad);
    if (p->weight == 0)
        return 0;
    if (isfinite(p->end_reward)) {
        r->loss = p->weight * path_loss(&own->path, p->end_reward, &slope);
        sampler_slopes(p->sampler, p->sampler->steps - 1, &by_x, &by_o);
        float by = (float)(p->weight * slope) * by_o;
        for (int64_t j = 0; j < p->d; j++)
            grad[j] = by * p->end_gradient[j];
    }
    if (o->kl_weight > 0)
        r->kl = denoise_square(p->d, p->o, p->reference, p->weight * o->kl_weight,
                               &r->loss, grad);
    return denoise_check(p, r->loss, grad);
}

const struct algo draft_k = {
    .name = "draft_k",
    .help = "DRaFT-K: the reward's gradient through the last draft_k steps",
    .needs = NEEDS_TRAJECTORY | NEEDS_REWARD_GRADIENT,
    .pairs = PAIRS_WALK,
    .on_policy_only = 1,
    .own_size = sizeof(struct draft_options),
    .read = read_options,
    .signal = signal_of,
    .start = start_k,
};

const struct algo draft_lv = {
    .name = "draft_lv",
    .help =
        "DRaFT-LV: the reward's gradient through the last step, from several noised "
        "copies of each sample",
    .needs = NEEDS_SCORER,
    .pairs = PAIRS_NOISED_LAST,
    .own_size = sizeof(struct draft_options),
    .read = read_options,
    .signal = signal_of,
    .loss = loss_lv,
};

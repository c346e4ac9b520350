/* DiffusionNFT. All sums are in double, in order of the elements. */
#include "stages/algo/nft.h"

#include "stages/algo/denoise.h"
#include "stages/algo/grpo.h"
#include "stages/algo/surrogate.h"

#include <math.h>
#include <string.h>

#define W_MIN 1e-5

static void read_options(void *own, const struct config *c)
{
    *(struct nft_options *)own =
        (struct nft_options){.beta = config_real(c, "algorithm.nft_beta"),
                             .batch_std = config_is(c, "algorithm.group_std", "batch")};
}

static int signal_of(const struct algo_options *o, struct tracker *tracker,
                     const struct algo_signal *s)
{
    const struct nft_options *own = o->own;
    (void)tracker;
    return grpo_normalise(
        &(struct grpo_norm){.batch_std = own->batch_std, .ddof = 0, .eps = 1e-4}, s);
}

/* Error of the clean sample at element j for the output old + step (o - old). */
static double error_at(const struct nft_point *p, double step, int64_t j)
{
    double old = (double)p->old[j], o = old + step * ((double)p->o[j] - old);
    return p->from_x * (double)p->x[j] + p->from_o * o - (double)p->clean[j];
}

double nft_loss(const struct nft_point *p, double beta, double r, double scale,
                float *grad)
{
    double loss = 0;
    for (int side = 0; side < 2; side++) { /* positive, negative */
        double step = side == 0 ? beta : -beta, share = side == 0 ? r : 1 - r;
        double size = 0, square = 0;
        for (int64_t j = 0; j < p->d; j++) {
            double e = error_at(p, step, j);
            size += fabs(e);
            square += e * e;
        }
        double w = fmax(size / (double)p->d, W_MIN);
        double by = share / (beta * w * (double)p->d);
        loss += by * square;
        for (int64_t j = 0; j < p->d; j++)
            grad[j] += (float)(scale * by * 2 * error_at(p, step, j) * p->from_o * step);
    }
    return loss;
}

static struct nft_point point_of(const struct algo_pair *p)
{
    double a = sqrt(p->alpha_bar), b = sqrt(1 - p->alpha_bar);
    struct nft_point at = {
        .d = p->d, .x = p->x, .clean = p->clean, .old = p->behaviour, .o = p->o};
    switch (p->sampler->prediction) {
    case PREDICT_EPSILON:
        at.from_x = 1 / a;
        at.from_o = -b / a;
        break;
    case PREDICT_SAMPLE:
        at.from_o = 1;
        break;
    case PREDICT_V:
        at.from_x = a;
        at.from_o = -b;
        break;
    }
    return at;
}

static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    const struct nft_options *own = o->own;
    *r = (struct algo_result){.ratio = 1};
    memset(grad, 0, (size_t)p->d * sizeof *grad);
    if (p->weight == 0)
        return 0;
    struct nft_point at = point_of(p);
    double a = surrogate_limit(p->advantage, o->adv_clip);
    double scale = p->weight * o->adv_clip;
    r->loss = scale * nft_loss(&at, own->beta, a / (2 * o->adv_clip) + 0.5, scale, grad);
    if (o->kl_weight > 0)
        r->kl = denoise_square(p->d, p->o, p->reference, p->weight * o->kl_weight,
                               &r->loss, grad);
    return denoise_check(p, r->loss, grad);
}

const struct algo nft = {
    .name = "nft",
    .help = "DiffusionNFT: positive and implicit negative policy on noised samples",
    .needs = NEEDS_BEHAVIOUR,
    .pairs = PAIRS_NOISED_GRID,
    .by_prompt = 1,
    .kl_weight = 1e-4,
    .own_size = sizeof(struct nft_options),
    .read = read_options,
    .signal = signal_of,
    .loss = loss_of,
};

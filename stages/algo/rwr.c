/* Reward-weighted regression. The advantage of a sample is its weight, with mean 1 over
 * the samples that are weighed against each other (rwr), or 1 for those that are kept and
 * 0 for the others, which take no part in the update (rwr_sparse), or 1 for all (distil). */
#include "stages/algo/rwr.h"

#include "io/sys/mem.h"
#include "stages/algo/denoise.h"
#include "stages/algo/signal.h"
#include "stages/metric/summary.h"

#include <math.h>
#include <string.h>

static void read_options(void *own, const struct config *c)
{
    *(struct rwr_options *)own = (struct rwr_options){
        .beta = config_real(c, "algorithm.rwr_beta"),
        .percentile = config_real(c, "algorithm.rwr_percentile"),
        .per_prompt = config_bool(c, "algorithm.rwr_per_prompt"),
    };
}

/* n softmax(beta r) within each group of n; the largest exponent is 0. */
static int signal_soft(const struct algo_options *o, struct tracker *tracker,
                       const struct algo_signal *s)
{
    const struct rwr_options *own = o->own;
    struct signal_groups g;
    (void)tracker;
    if (signal_check(s) != 0)
        return -1;
    signal_groups_make(&g, s, own->per_prompt);
    double *sum = mem_alloc(g.number, sizeof *sum);
    for (int64_t i = 0; i < s->n; i++) {
        s->advantage[i] = 0;
        if (g.of[i] < 0)
            continue;
        s->advantage[i] = exp(own->beta * (s->reward[i] - g.group[g.of[i]].high));
        sum[g.of[i]] += s->advantage[i];
    }
    for (int64_t i = 0; i < s->n; i++)
        if (g.of[i] >= 0)
            s->advantage[i] *= (double)g.group[g.of[i]].count / sum[g.of[i]];
    mem_free(sum);
    signal_groups_free(&g);
    return 0;
}

static int signal_same(const struct algo_options *o, struct tracker *tracker,
                       const struct algo_signal *s)
{
    (void)o;
    (void)tracker;
    if (signal_check(s) != 0)
        return -1;
    for (int64_t i = 0; i < s->n; i++)
        s->advantage[i] = s->usable[i] ? 1 : 0;
    return 0;
}

static int signal_sparse(const struct algo_options *o, struct tracker *tracker,
                         const struct algo_signal *s)
{
    const struct rwr_options *own = o->own;
    struct signal_groups g;
    (void)tracker;
    if (signal_check(s) != 0)
        return -1;
    signal_groups_make(&g, s, own->per_prompt);
    double *v = mem_alloc(s->n, sizeof *v);
    memset(s->advantage, 0, (size_t)s->n * sizeof *s->advantage);
    for (int64_t k = 0; k < g.number; k++) {
        int64_t n = 0;
        for (int64_t i = g.group[k].first; i < s->n; i++)
            if (g.of[i] == k)
                v[n++] = s->reward[i];
        summary_sort(v, n);
        double from = summary_quantile(v, n, own->percentile / 100);
        for (int64_t i = g.group[k].first; i < s->n; i++)
            if (g.of[i] == k && s->reward[i] >= from)
                s->advantage[i] = 1;
    }
    mem_free(v);
    signal_groups_free(&g);
    return 0;
}

static int loss_of(const struct algo_options *o, const struct algo_pair *p,
                   struct algo_result *r, float *grad)
{
    *r = (struct algo_result){.ratio = 1};
    memset(grad, 0, (size_t)p->d * sizeof *grad);
    if (p->weight == 0)
        return 0;
    denoise_square(p->d, p->o, p->target, p->weight * p->advantage, &r->loss, grad);
    if (o->kl_weight > 0)
        r->kl = denoise_square(p->d, p->o, p->reference, p->weight * o->kl_weight,
                               &r->loss, grad);
    return denoise_check(p, r->loss, grad);
}

const struct algo rwr = {
    .name = "rwr",
    .help = "reward-weighted regression: denoising loss, weights exp(rwr_beta reward)",
    .pairs = PAIRS_NOISED,
    .any_samples = 1,
    .own_size = sizeof(struct rwr_options),
    .read = read_options,
    .signal = signal_soft,
    .loss = loss_of,
};

const struct algo rwr_sparse = {
    .name = "rwr_sparse",
    .help = "reward-weighted regression on the best samples alone",
    .pairs = PAIRS_NOISED,
    .any_samples = 1,
    .drops_zero = 1,
    .own_size = sizeof(struct rwr_options),
    .read = read_options,
    .signal = signal_sparse,
    .loss = loss_of,
};

const struct algo distil = {
    .name = "distil",
    .help = "distillation: denoising loss on all samples alike, which search.kind made better "
            "than the policy's",
    .pairs = PAIRS_NOISED,
    .any_samples = 1,
    .drops_zero = 1,
    .signal = signal_same,
    .loss = loss_of,
};

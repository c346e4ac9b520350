/* Final samples that the update makes itself: what the sampler's last step makes of the
 * noised copies of a micro-batch, and their rewards with gradients. */
#include "stages/update_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/queries.h"

#include <math.h>

struct ends {
    float *sample, *gradient, *noise; /* [B, d] x 2, [d] */
    double *score;                    /* [B] */
    uint8_t *status;                  /* [B] */
};

struct ends *update_ends_create(const struct task *t)
{
    struct ends *e = mem_alloc(1, sizeof *e);
    e->sample = mem_alloc(t->micro_batch * t->d, sizeof *e->sample);
    e->gradient = mem_alloc(t->micro_batch * t->d, sizeof *e->gradient);
    e->noise = mem_alloc(t->d, sizeof *e->noise);
    e->score = mem_alloc(t->micro_batch, sizeof *e->score);
    e->status = mem_alloc(t->micro_batch, sizeof *e->status);
    return e;
}

void update_ends_destroy(struct ends *e)
{
    if (e == NULL)
        return;
    mem_free(e->sample);
    mem_free(e->gradient);
    mem_free(e->noise);
    mem_free(e->score);
    mem_free(e->status);
    mem_free(e);
}

/* The end of pair k of the micro-batch; from + k is its number. */
static void make_end(struct update *u, int64_t from, int64_t k, const float *predicted)
{
    struct task *t = u->t;
    struct ends *e = u->ends;
    int64_t sample, draw, last = t->sampler.steps - 1;
    float *to = e->sample + k * t->d;
    update_pairs_of(u, from + k, &sample, &draw);
    sampler_mean(&t->sampler, last, t->d, u->pair[k].x, predicted + k * t->d, to, NULL);
    rng_normal(rng_key(t->seed, RNG_TRUNCATE, u->iteration, u->epoch, sample, draw),
               e->noise, t->d);
    sampler_advance(&t->sampler, last, t->d, to, e->noise, to);
}

int update_ends_score(struct update *u, int64_t from, int64_t m, const float *predicted)
{
    struct task *t = u->t;
    struct ends *e = u->ends;
    for (int64_t k = 0; k < m; k++) {
        make_end(u, from, k, predicted);
        e->score[k] = NAN; /* what a reward leaves out is no score of 0 */
        e->status[k] = REWARD_OK;
    }
    struct reward_batch b = {
        .n = m,
        .channels = t->channels,
        .height = t->height,
        .width = t->width,
        .sample = e->sample,
        .label = t->n_classes > 0 ? u->label : NULL,
        .iteration = u->iteration,
        .first = from,
        .score = e->score,
        .status = e->status,
        .gradient = e->gradient,
    };
    if (t->learned != NULL) {
        if (queries_load(t, u->iteration, NULL) != 0)
            return -1;
        queries_score(t, &b, NULL, NULL);
    } else if (t->reward->score(t->reward_ctx, &b) != 0) {
        return -1;
    }
    for (int64_t k = 0; k < m; k++) {
        u->pair[k].end_reward = e->status[k] == REWARD_OK ? e->score[k] : (double)NAN;
        u->pair[k].end_gradient = e->gradient + k * t->d;
    }
    return 0;
}

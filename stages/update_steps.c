/* The update's pairs by the step of the chain that they belong to. */
#include "stages/update_internal.h"

#include "io/sys/mem.h"

#include <math.h>

struct steps {
    int64_t *entry; /* [steps of the chain]; -1: no density */
    int64_t entries;
    double pairs[UPDATE_STEPS], kl[UPDATE_STEPS], clipped[UPDATE_STEPS];
};

struct steps *update_steps_create(const struct update *u)
{
    const struct sampler *sampler = &u->t->sampler;
    struct steps *s = mem_alloc(1, sizeof *s);
    s->entry = mem_alloc(sampler->steps, sizeof *s->entry);
    for (int64_t i = 0; i < sampler->steps; i++)
        s->entry[i] = -1;
    if (!u->chain || u->walk != NULL)
        return s;
    s->entries = u->live_n < UPDATE_STEPS ? u->live_n : UPDATE_STEPS;
    for (int64_t k = 0; k < u->live_n; k++)
        s->entry[u->live[k]] = k * s->entries / u->live_n;
    return s;
}

void update_steps_destroy(struct steps *s)
{
    if (s != NULL)
        mem_free(s->entry);
    mem_free(s);
}

void update_steps_add(struct update *u)
{
    struct steps *s = u->steps;
    for (int64_t i = 0; i < u->pairs && s->entries > 0; i++) {
        int64_t sample, step;
        update_pairs_of(u, i, &sample, &step);
        const int64_t e = s->entry[step];
        s->pairs[e]++;
        s->kl[e] += u->stat[i * STATS + STAT_LOG_RATIO2];
        s->clipped[e] += u->stat[i * STATS + STAT_CLIPPED];
    }
}

void update_steps_mean(const struct update *u, struct update_steps *out)
{
    const struct steps *s = u->steps;
    *out = (struct update_steps){.n = (double)s->entries};
    for (int64_t i = u->t->sampler.steps - 1; i >= 0; i--)
        if (s->entry[i] >= 0) /* the entry's first step has the last word */
            out->t[s->entry[i]] = (double)u->t->sampler.step[i].t;
    for (int64_t e = 0; e < s->entries; e++) {
        out->approx_kl[e] = s->pairs[e] > 0 ? s->kl[e] / s->pairs[e] : NAN;
        out->clip_fraction[e] = s->pairs[e] > 0 ? s->clipped[e] / s->pairs[e] : NAN;
    }
}

/* Mixtures. */
#include "stages/mixing.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/reward/scorer.h"

#include <math.h>
#include <stdio.h>

int64_t mixing_parts(const struct task *t)
{
    return t->learned == NULL && scorer_mixes(t->reward_ctx) ? scorer_parts(t->reward_ctx)
                                                             : 0;
}

int mixing_read(const struct task *t, struct shard *in, int64_t n, double *score)
{
    const int64_t parts = mixing_parts(t);
    for (int64_t k = 0; k < parts; k++) {
        char name[40];
        snprintf(name, sizeof name, "reward_%s", scorer_part(t->reward_ctx, k)->name);
        double *v = shard_get(in, name, COLUMN_F64, 1, (int64_t[]){n}, NULL);
        if (v == NULL)
            return -1;
        for (int64_t i = 0; i < n; i++)
            score[i * parts + k] = v[i];
        mem_free(v);
    }
    return 0;
}

/* Adds component k's weighted part to the totals. Scores are divided by the largest, so that
 * no square overflows. */
static void add_normalised(const struct task *t, const double *score, const uint8_t *usable,
                           int64_t k, double *total)
{
    const int64_t parts = mixing_parts(t);
    const double weight = scorer_part(t->reward_ctx, k)->weight;
    double sum = 0, squares = 0, largest = 0;
    int64_t n = 0;
    for (int64_t i = 0; i < t->samples; i++)
        if (usable[i])
            largest = fmax(largest, fabs(score[i * parts + k]));
    for (int64_t i = 0; i < t->samples && largest > 0; i++) {
        if (!usable[i])
            continue;
        sum += score[i * parts + k] / largest;
        n++;
    }
    const double mean = n > 0 ? sum / (double)n : 0;
    for (int64_t i = 0; i < t->samples && n > 0; i++) {
        double v = score[i * parts + k] / largest - mean;
        squares += usable[i] ? v * v : 0;
    }
    const double deviation = n > 0 ? sqrt(squares / (double)n) : 0;
    for (int64_t i = 0; i < t->samples && deviation > 1e-9; i++)
        if (usable[i])
            total[i] += weight * (score[i * parts + k] / largest - mean) / deviation;
}

void mixing_total(const struct task *t, const double *score, const uint8_t *usable,
                  double *total)
{
    const int64_t parts = mixing_parts(t);
    if (parts == 0 || t->mixing != MIXING_NORMALISED)
        return;
    for (int64_t i = 0; i < t->samples; i++)
        total[i] = usable[i] ? 0 : NAN;
    for (int64_t k = 0; k < parts; k++)
        if (scorer_part(t->reward_ctx, k)->weight != 0)
            add_normalised(t, score, usable, k, total);
}

/* Adds component k's weighted advantages. */
static int add_signal(const struct task *t, const double *score, int64_t k,
                      struct tracker *tracker, const struct algo_signal *s)
{
    const struct scorer_part *p = scorer_part(t->reward_ctx, k);
    const int64_t parts = mixing_parts(t);
    double *reward = mem_alloc(s->n, sizeof *reward);
    double *advantage = mem_alloc(s->n, sizeof *advantage);
    char **prompt = mem_alloc(s->n, sizeof *prompt);
    for (int64_t i = 0; i < s->n; i++) {
        reward[i] = s->usable[i] ? score[i * parts + k] : NAN;
        prompt[i] = text_new("%s/%s", p->name, s->prompt[i]);
    }
    struct algo_signal one = *s;
    one.reward = reward;
    one.prompt = (const char *const *)prompt;
    one.advantage = advantage;
    int rc = t->algo->signal(&t->algo_options, tracker, &one);
    for (int64_t i = 0; i < s->n; i++) {
        s->advantage[i] += p->weight * advantage[i];
        mem_free(prompt[i]);
    }
    mem_free(reward);
    mem_free(advantage);
    mem_free(prompt);
    return rc == 0 ? 0 : err_add("component %s", p->name);
}

int mixing_signal(const struct task *t, const double *score, struct tracker *tracker,
                  const struct algo_signal *s)
{
    if (mixing_parts(t) == 0 || t->mixing != MIXING_ADVANTAGE)
        return t->algo->signal(&t->algo_options, tracker, s);
    int rc = 0;
    for (int64_t i = 0; i < s->n; i++)
        s->advantage[i] = 0;
    for (int64_t k = 0; k < mixing_parts(t) && rc == 0; k++)
        if (scorer_part(t->reward_ctx, k)->weight != 0)
            rc = add_signal(t, score, k, tracker, s);
    return rc;
}

int mixing_put(const struct task *t, const double *score, struct shard_writer *w)
{
    const int64_t parts = mixing_parts(t), n = t->samples;
    double *v = mem_alloc(n, sizeof *v);
    int rc = 0;
    for (int64_t k = 0; k < parts && rc == 0; k++) {
        const struct scorer_part *p = scorer_part(t->reward_ctx, k);
        char name[40];
        snprintf(name, sizeof name, "component_%s", p->name);
        for (int64_t i = 0; i < n; i++)
            v[i] = score[i * parts + k];
        rc = shard_put(w, &(struct column){.name = name, .type = COLUMN_F64, .nd = 1,
                                           .dim = {n}, .axis = {"sample"},
                                           .units = p->reward->units, .data = v,
                                           .long_name = p->reward->help});
    }
    mem_free(v);
    return rc;
}

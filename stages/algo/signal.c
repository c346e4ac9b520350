/* Statistics of rewards. */
#include "stages/algo/signal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <string.h>

int signal_check(const struct algo_signal *s)
{
    for (int64_t i = 0; i < s->n; i++)
        if (s->usable[i] && !isfinite(s->reward[i]))
            return err_set(ERR_NUMERIC,
                           "reward of sample %lld is not finite but its status is ok",
                           (long long)i);
    return 0;
}

/* Unusable samples enter no mean: the others are packed together first. */
int signal_baseline(const struct algo_options *o, struct tracker *tracker,
                    const struct algo_signal *s)
{
    if (signal_check(s) != 0)
        return -1;
    double *reward = mem_alloc(2 * s->n, sizeof *reward), *adv = reward + s->n;
    const char **prompt = mem_alloc(s->n, sizeof *prompt);
    int64_t used = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (s->usable[i]) {
            reward[used] = s->reward[i];
            prompt[used++] = o->baseline == BASELINE_TRACKER ? s->prompt[i] : NULL;
        }
    if (o->baseline == BASELINE_TRACKER)
        tracker_update(tracker, used, prompt, reward, adv);
    else
        tracker_batch(used, reward, adv);
    used = 0;
    for (int64_t i = 0; i < s->n; i++)
        s->advantage[i] = s->usable[i] ? adv[used++] : 0;
    mem_free(prompt);
    mem_free(reward);
    return 0;
}

/* The group of usable sample i, a new one where its prompt has none. */
static int64_t group_of(struct signal_groups *g, const struct algo_signal *s, int64_t i,
                        bool by_prompt)
{
    int64_t k = 0;
    while (k < g->number && by_prompt &&
           strcmp(s->prompt[g->group[k].first], s->prompt[i]) != 0)
        k++;
    if (k == g->number)
        g->group[g->number++] = (struct signal_group){
            .first = i, .low = s->reward[i], .high = s->reward[i]};
    return k;
}

void signal_groups_make(struct signal_groups *g, const struct algo_signal *s,
                        bool by_prompt)
{
    *g = (struct signal_groups){.of = mem_alloc(s->n, sizeof *g->of),
                                .group = mem_alloc(s->n, sizeof *g->group)};
    for (int64_t i = 0; i < s->n; i++) {
        g->of[i] = -1;
        if (!s->usable[i])
            continue;
        g->of[i] = group_of(g, s, i, by_prompt);
        struct signal_group *to = &g->group[g->of[i]];
        to->count++;
        to->mean += s->reward[i];
        to->low = fmin(to->low, s->reward[i]);
        to->high = fmax(to->high, s->reward[i]);
    }
    for (int64_t k = 0; k < g->number; k++)
        g->group[k].mean /= (double)g->group[k].count;
    for (int64_t i = 0; i < s->n; i++)
        if (g->of[i] >= 0) {
            struct signal_group *to = &g->group[g->of[i]];
            double dev = s->reward[i] - to->mean;
            to->squares += dev * dev;
        }
}

void signal_groups_free(struct signal_groups *g)
{
    mem_free(g->of);
    mem_free(g->group);
    *g = (struct signal_groups){0};
}

/* Sums along the chain. Steps are walked from the last to the first. */
#include "stages/algo/returns.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/algo/signal.h"

#include <math.h>
#include <string.h>

static struct algo_signal samples_of(const struct algo_steps *s)
{
    return (struct algo_signal){
        .n = s->n, .reward = s->reward, .prompt = s->prompt, .usable = s->usable};
}

int returns_check(const struct algo_steps *s)
{
    struct algo_signal samples = samples_of(s);
    return signal_check(&samples);
}

void returns_to_go(const struct algo_steps *s, double gamma, const double *cost,
                   double *out)
{
    memset(out, 0, (size_t)(s->n * s->steps) * sizeof *out);
    for (int64_t n = 0; n < s->n; n++) {
        bool last = true;
        double sum = s->reward[n];
        for (int64_t k = s->steps - 1; k >= 0 && s->usable[n]; k--) {
            int64_t at = n * s->steps + k;
            if (!s->live[k])
                continue;
            sum = (last ? sum : gamma * sum) - cost[at];
            out[at] = sum;
            last = false;
        }
    }
}

void returns_gae(const struct algo_steps *s, const struct returns_gae *g)
{
    memset(s->advantage, 0, (size_t)(s->n * s->steps) * sizeof *s->advantage);
    for (int64_t n = 0; n < s->n; n++) {
        double value = 0, sum = 0, reward = s->reward[n];
        for (int64_t k = s->steps - 1; k >= 0 && s->usable[n]; k--) {
            int64_t at = n * s->steps + k;
            if (!s->live[k])
                continue;
            double delta = reward - g->cost[at] + g->gamma * value - s->value[at];
            sum = delta + g->gamma * g->lambda * sum;
            s->advantage[at] = sum;
            value = s->value[at];
            reward = 0;
        }
    }
}

void returns_normalise(const struct algo_steps *s)
{
    double mean = 0, square = 0, count = 0;
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->steps; k++)
            if (s->usable[n] && s->live[k]) {
                mean += s->advantage[n * s->steps + k];
                count++;
            }
    mean /= fmax(count, 1);
    for (int64_t n = 0; n < s->n; n++)
        for (int64_t k = 0; k < s->steps; k++)
            if (s->usable[n] && s->live[k]) {
                double *a = &s->advantage[n * s->steps + k];
                *a -= mean;
                square += *a * *a;
            }
    double scale = 1 / (sqrt(square / fmax(count, 1)) + 1e-8);
    for (int64_t i = 0; i < s->n * s->steps; i++)
        s->advantage[i] *= scale;
}

void returns_baseline(const struct algo_steps *s, bool by_prompt)
{
    struct signal_groups by;
    struct algo_signal samples = samples_of(s);
    signal_groups_make(&by, &samples, by_prompt);
    double *sum = mem_alloc(by.number + 1, sizeof *sum); /* the last one: of all */
    memset(s->value, 0, (size_t)(s->n * s->steps) * sizeof *s->value);
    int64_t used = 0;
    for (int64_t g = 0; g < by.number; g++)
        used += by.group[g].count;
    for (int64_t k = 0; k < s->steps; k++) {
        memset(sum, 0, (size_t)(by.number + 1) * sizeof *sum);
        for (int64_t n = 0; n < s->n; n++)
            if (s->usable[n]) {
                sum[by.of[n]] += s->target[n * s->steps + k];
                sum[by.number] += s->target[n * s->steps + k];
            }
        for (int64_t n = 0; n < s->n; n++) {
            if (!s->usable[n] || used < 2)
                continue;
            bool alone = by.group[by.of[n]].count < 2;
            int64_t others = (alone ? used : by.group[by.of[n]].count) - 1;
            s->value[n * s->steps + k] =
                (sum[alone ? by.number : by.of[n]] - s->target[n * s->steps + k]) /
                (double)others;
        }
    }
    mem_free(sum);
    signal_groups_free(&by);
}

/* Whether (sample, step) number i takes part. */
static bool counts(const struct algo_steps *s, int64_t i)
{
    return s->usable[i / s->steps] && s->live[i % s->steps];
}

void returns_calibrate(const struct algo_steps *s, int64_t folds)
{
    int64_t size = s->n * s->steps;
    double *level = mem_alloc(2 * size, sizeof *level), *own = level + size;
    double *product = mem_alloc(2 * folds, sizeof *product), *square = product + folds;
    struct algo_steps g = *s, e = *s;
    g.value = level;
    e.target = s->value;
    e.value = own;
    returns_baseline(&g, false);
    returns_baseline(&e, false);
    for (int64_t i = 0; i < size; i++)
        for (int64_t f = 0; f < folds && counts(s, i); f++)
            if (i / s->steps % folds != f) {
                double by = s->value[i] - own[i];
                product[f] += by * (s->target[i] - level[i]);
                square[f] += by * by;
            }
    for (int64_t i = 0; i < size; i++) {
        int64_t f = i / s->steps % folds;
        double share = square[f] > 0 ? fmin(1, fmax(0, product[f] / square[f])) : 0;
        if (counts(s, i))
            s->value[i] = level[i] + share * (s->value[i] - own[i]);
    }
    mem_free(level);
    mem_free(product);
}

double returns_explained(const struct algo_steps *s)
{
    double *mean = mem_alloc(s->n * s->steps, sizeof *mean), all = 0, rest = 0;
    struct algo_steps plain = *s;
    plain.value = mean;
    returns_baseline(&plain, false);
    for (int64_t i = 0; i < s->n * s->steps; i++)
        if (counts(s, i)) {
            all += (s->target[i] - mean[i]) * (s->target[i] - mean[i]);
            rest += (s->target[i] - s->value[i]) * (s->target[i] - s->value[i]);
        }
    mem_free(mean);
    return all > 0 ? 1 - rest / all : 0;
}

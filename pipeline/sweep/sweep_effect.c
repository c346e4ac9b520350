/* Main effects: means by level, their part of the variance, and rank correlations. */
#include "pipeline/sweep/sweep_effect.h"

#include "io/sys/mem.h"
#include "stages/metric/sums.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct place {
    double v;
    int64_t at;
};

static int by_value(const void *a, const void *b)
{
    double x = ((const struct place *)a)->v, y = ((const struct place *)b)->v;
    return x < y ? -1 : x > y;
}

/* v <- ranks; equal values share the mean of theirs. */
static void to_ranks(double *v, int64_t n, struct place *p)
{
    for (int64_t i = 0; i < n; i++)
        p[i] = (struct place){v[i], i};
    qsort(p, (size_t)n, sizeof *p, by_value);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && p[end].v == p[i].v; end++)
            ;
        for (int64_t k = i; k < end; k++)
            v[p[k].at] = 0.5 * (double)(i + end - 1);
    }
}

static double spearman(double *x, double *y, int64_t n)
{
    struct place *p = mem_alloc(n, sizeof *p);
    to_ranks(x, n, p);
    to_ranks(y, n, p);
    mem_free(p);
    struct pairs ranks = {0};
    for (int64_t i = 0; i < n; i++)
        pairs_add(&ranks, x[i], y[i]);
    return n > 2 ? pairs_correlation(&ranks) : NAN;
}

static void take_levels(const struct sweep *s, const struct sweep_result *r,
                        struct sweep_effect *e)
{
    double all = 0, total = 0, between = 0;
    for (int64_t i = 0; i < s->members; i++) {
        const char *v = s->member[i].value[e->key];
        int64_t k = 0;
        if (v == NULL || !isfinite(r[i].last))
            continue;
        while (k < e->levels && strcmp(e->level[k], v) != 0)
            k++;
        if (k == SWEEP_LEVELS) {
            e->levels = 0;
            return;
        }
        if (k == e->levels) {
            e->level[e->levels++] = v;
            e->mean[k] = 0;
            e->count[k] = 0;
        }
        e->mean[k] += r[i].last;
        e->count[k]++;
        all += r[i].last;
    }
    for (int64_t k = 0; k < e->levels; k++)
        e->mean[k] /= (double)e->count[k];
    if (e->levels < 2 || e->members <= e->levels)
        return;
    all /= (double)e->members;
    for (int64_t i = 0; i < s->members; i++)
        if (s->member[i].value[e->key] != NULL && isfinite(r[i].last))
            total += (r[i].last - all) * (r[i].last - all);
    for (int64_t k = 0; k < e->levels; k++)
        between += (double)e->count[k] * (e->mean[k] - all) * (e->mean[k] - all);
    e->share = total > 0 ? fmin(between / total, 1) : NAN;
}

static double strength(const struct sweep_effect *e)
{
    return fmax(fmax(isnan(e->rank) ? 0 : fabs(e->rank), 0),
                isnan(e->share) ? 0 : sqrt(e->share));
}

static int by_strength(const void *a, const void *b)
{
    const struct sweep_effect *x = a, *y = b;
    double p = strength(x), q = strength(y);
    return p > q ? -1 : p < q ? 1 : (x->key > y->key) - (x->key < y->key);
}

void sweep_effects(const struct sweep *s, const struct sweep_result *r,
                   struct sweep_effect *out)
{
    double *x = mem_alloc(s->members, sizeof *x), *y = mem_alloc(s->members, sizeof *y);
    for (int64_t k = 0; k < s->keys; k++) {
        struct sweep_effect *e = &out[k];
        bool numbers = true;
        *e = (struct sweep_effect){.key = k, .rank = NAN, .share = NAN};
        for (int64_t i = 0; i < s->members; i++) {
            if (s->member[i].value[k] == NULL || !isfinite(r[i].last))
                continue;
            numbers = numbers && text_to_f64(s->member[i].value[k], &x[e->members]);
            y[e->members++] = r[i].last;
        }
        if (numbers)
            e->rank = spearman(x, y, e->members);
        take_levels(s, r, e);
    }
    qsort(out, (size_t)s->keys, sizeof *out, by_strength);
    mem_free(x);
    mem_free(y);
}

/* A mixture's components and their scores. Shards come from disk: each column's shape is
 * checked against the others of its file, and a shard that lacks one counts as damaged. */
#include "pipeline/report/report_mix.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/metric/sums.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_SAMPLES = 1 << 20 };

static const char *const colours[] = {"#1d4ed8", "#ea580c", "#15803d", "#9333ea",
                                      "#db2777", "#0d9488", "#a16207", "#64748b"};

static const struct config *view_of(const struct config *config, const char *name)
{
    for (int64_t i = 0; config != NULL && i < config_parts(config); i++) {
        const char *have = NULL;
        const struct config *view = config_part(config, i, &have);
        if (strcmp(have, name) == 0)
            return view;
    }
    return NULL;
}

static void add_part(struct report_mix *x, const char *name, int64_t at,
                     const struct config *view)
{
    struct report_mix_part *p = &x->part[x->parts];
    *p = (struct report_mix_part){.name = name, .at = at, .weight = NAN, .offset = NAN,
                                  .scale = NAN};
    p->colour = colours[x->parts++ % (int64_t)(sizeof colours / sizeof *colours)];
    if (view == NULL)
        return;
    p->reward = config_text(view, "reward.name");
    p->weight = config_real(view, "reward.weight");
    p->offset = config_real(view, "reward.offset");
    p->scale = config_real(view, "reward.scale");
}

bool report_mix_create(struct report_mix *x, const char *dir, const struct report_metrics *m,
                       const struct config *config)
{
    *x = (struct report_mix){.metrics = m, .dir = dir, .known = true};
    if (m->parts == 0)
        return false;
    for (int64_t k = 0; k < m->parts; k++) {
        add_part(x, m->part[k], k, view_of(config, m->part[k]));
        x->known &= isfinite(x->part[k].weight);
    }
    x->moving = config != NULL && !config_is(config, "reward.mixing", "reward");
    const char *guard = config == NULL ? "" : config_text(config, "reward.guard");
    if (guard[0] == '\0' && report_metrics_find(m, M_GUARD_MEAN, false) >= 0)
        guard = "guard";
    if (guard[0] != '\0')
        add_part(x, guard, -1, view_of(config, guard));
    return true;
}

bool report_mix_counts(const struct report_mix *x, int64_t k)
{
    const struct report_mix_part *p = &x->part[k];
    return x->known && p->at >= 0 && p->weight != 0;
}

void report_mix_name(struct text *out, const struct report_mix *x, int64_t k)
{
    if (report_mix_counts(x, k) && x->part[k].weight < 0)
        text_add(out, "−");
    report_escape(out, x->part[k].name);
}

static void learn_units(struct report_mix_part *p, struct shard *in, const char *column)
{
    const char *units = shard_label(in, column, "units");
    if (units != NULL)
        snprintf(p->units, sizeof p->units, "%s", units);
}

/* Component k of a shard's n samples, which follow those that s has. */
static bool read_part(struct report_mix *x, int64_t k, struct shard *in, int64_t n,
                      struct report_mix_scores *s)
{
    struct report_mix_part *p = &x->part[k];
    const int64_t expect[1] = {n};
    char *name = text_new("reward_%s", p->at < 0 ? "guard" : p->name);
    char *other = text_new("status_%s", p->name);
    double *score = shard_get(in, name, COLUMN_F64, 1, expect, NULL);
    uint8_t *status = p->at < 0 ? NULL : shard_get(in, other, COLUMN_U8, 1, expect, NULL);
    bool good = score != NULL && (p->at < 0 || status != NULL);
    for (int64_t i = 0; i < n && good; i++) {
        int64_t to = (s->n + i) * s->parts + k;
        bool have = isfinite(score[i]) && (status == NULL || status[i] == REWARD_OK);
        s->score[to] = have ? score[i] : NAN;
        s->status[to] = status != NULL ? status[i] : have ? REWARD_OK : REPORT_MIX_SILENT;
    }
    if (good && p->units[0] == '\0')
        learn_units(p, in, name);
    mem_free(score);
    mem_free(status);
    mem_free(name);
    mem_free(other);
    return good;
}

static bool read_shard(struct report_mix *x, struct shard *in, int64_t number,
                       struct report_mix_scores *s)
{
    enum column_type type;
    int nd = 0;
    int64_t dim[SHARD_MAX_ND];
    if (!shard_has(in, "reward", &type, &nd, dim) || nd != 1 || dim[0] <= 0 ||
        dim[0] > MAX_SAMPLES)
        return false;
    const int64_t had = s->n, n = dim[0];
    double *total = shard_get(in, "reward", COLUMN_F64, 1, dim, NULL);
    bool good = total != NULL;
    s->score = mem_resize(s->score, had * s->parts, (had + n) * s->parts, sizeof *s->score);
    s->status = mem_resize(s->status, had * s->parts, (had + n) * s->parts, 1);
    s->total = mem_resize(s->total, had, had + n, sizeof *s->total);
    s->place = mem_resize(s->place, had, had + n, sizeof *s->place);
    for (int64_t k = 0; k < s->parts && good; k++)
        good = read_part(x, k, in, n, s);
    for (int64_t i = 0; i < n && good; i++) {
        s->total[had + i] = isfinite(total[i]) ? total[i] : NAN;
        s->place[had + i] = (struct report_mix_place){number, i};
    }
    s->n += good ? n : 0;
    mem_free(total);
    return good;
}

/* Mean and deviation of component k over the samples with ok = 1. */
static void moments(const struct report_mix_scores *s, int64_t k, const uint8_t *ok,
                    double *mean, double *deviation)
{
    double sum = 0, squares = 0, largest = 0, n = 0;
    for (int64_t i = 0; i < s->n; i++)
        if (ok[i]) {
            sum += s->score[i * s->parts + k];
            largest = fmax(largest, fabs(s->score[i * s->parts + k]));
            n++;
        }
    *mean = n > 0 ? sum / n : NAN;
    for (int64_t i = 0; i < s->n; i++)
        if (ok[i])
            squares += pow(s->score[i * s->parts + k] - *mean, 2);
    *deviation = n > 0 ? sqrt(squares / n) : 0;
    if (*deviation <= 1e-9 * largest)
        *deviation = 0;
}

/* What each component adds, and the sum; where weights are not known the sum is what the
 * shards say. */
static void add_up(const struct report_mix *x, struct report_mix_scores *s)
{
    uint8_t *ok = mem_alloc(s->n, 1);
    double *size = mem_alloc(s->n, sizeof *size); /* of the terms, for rounding */
    s->add = mem_alloc(s->n * s->parts, sizeof *s->add);
    for (int64_t i = 0; i < s->n; i++) {
        ok[i] = 1;
        for (int64_t k = 0; k < s->parts; k++) {
            s->add[i * s->parts + k] = NAN;
            if (report_mix_counts(x, k) && !isfinite(s->score[i * s->parts + k]))
                ok[i] = 0;
        }
        if (x->known)
            s->total[i] = ok[i] ? 0 : NAN;
    }
    for (int64_t k = 0; k < s->parts; k++) {
        const struct report_mix_part *p = &x->part[k];
        double from = p->offset, unit = p->scale;
        if (!report_mix_counts(x, k))
            continue;
        if (x->moving)
            moments(s, k, ok, &from, &unit);
        for (int64_t i = 0; i < s->n; i++) {
            int64_t at = i * s->parts + k;
            if (!ok[i])
                continue;
            s->add[at] = unit > 0 ? p->weight * (s->score[at] - from) / unit : 0;
            s->total[i] += s->add[at];
            size[i] += fabs(s->add[at]);
        }
    }
    /* Where components cancel, what is left is rounding. */
    for (int64_t i = 0; i < s->n; i++)
        if (x->known && fabs(s->total[i]) < 1e-12 * size[i])
            s->total[i] = 0;
    mem_free(size);
    mem_free(ok);
}

void report_mix_read(struct report_mix *x, int64_t iteration, struct report_mix_scores *s)
{
    char **name = NULL, rel[96];
    int64_t n = 0;
    *s = (struct report_mix_scores){.iteration = iteration, .parts = x->parts};
    rundir_reward(rel, iteration, 0);
    *strrchr(rel, '/') = '\0';
    char *dir = rundir_path(x->dir, rel);
    if (file_list(dir, "s", ".h5", &name, &n) != 0)
        n = 0;
    for (int64_t i = 0; i < n && s->n < MAX_SAMPLES; i++) {
        int64_t number = strtoll(name[i] + 1, NULL, 10);
        char *path = rundir_path(x->dir, rundir_reward(rel, iteration, number));
        struct shard *in = shard_open(path, SHARD_REWARD);
        s->damaged += in == NULL || !read_shard(x, in, number, s);
        shard_close(in);
        mem_free(path);
    }
    file_list_free(name, n);
    mem_free(dir);
    err_clear();
    add_up(x, s);
}

void report_mix_scores_free(struct report_mix_scores *s)
{
    mem_free(s->score);
    mem_free(s->add);
    mem_free(s->total);
    mem_free(s->status);
    mem_free(s->place);
    *s = (struct report_mix_scores){0};
}

void report_mix_find(struct report_mix *x, bool last, struct report_mix_scores *s)
{
    char **name = NULL, *dir = rundir_path(x->dir, "reward");
    int64_t n = 0, damaged = 0;
    *s = (struct report_mix_scores){0};
    if (file_list(dir, "i", "", &name, &n) != 0)
        n = 0;
    for (int64_t i = 0; i < n && s->n == 0; i++) {
        report_mix_scores_free(s);
        report_mix_read(x, strtoll(name[last ? n - 1 - i : i] + 1, NULL, 10), s);
        damaged += s->damaged;
    }
    s->damaged = damaged;
    file_list_free(name, n);
    mem_free(dir);
    err_clear();
}

static struct pairs pairs_of(struct report_mix_column a, struct report_mix_column b,
                             int64_t n)
{
    struct pairs p = {0};
    for (int64_t i = 0; i < n; i++)
        pairs_add(&p, a.x[i * a.stride], b.x[i * b.stride]);
    return p;
}

double report_mix_correlation(struct report_mix_column a, struct report_mix_column b,
                              int64_t n)
{
    const struct pairs p = pairs_of(a, b, n);
    return p.n > 2 ? pairs_correlation(&p) : NAN;
}

double report_mix_share(const struct report_mix_scores *s, int64_t k)
{
    const struct report_mix_column total = {s->total, 1};
    if (!isfinite(report_mix_correlation(total, total, s->n)))
        return NAN;
    double error;
    const struct pairs p = pairs_of(total, report_mix_added(s, k), s->n);
    return pairs_slope(&p, &error);
}

struct report_mix_column report_mix_score(const struct report_mix_scores *s, int64_t k)
{
    return (struct report_mix_column){s->score + k, s->parts};
}

struct report_mix_column report_mix_added(const struct report_mix_scores *s, int64_t k)
{
    return (struct report_mix_column){s->add + k, s->parts};
}

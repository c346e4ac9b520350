/* The measures. Work is shared by samples, rows or coordinates; every shared number is
 * gathered before it is summed in one order. */
#include "pipeline/measure/evaluate.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/pretrain_data.h"
#include "pipeline/run/worker.h"
#include "stages/linalg/frechet.h"
#include "stages/metric/fidelity.h"
#include "stages/metric/summary.h"
#include "stages/model/model.h"
#include "stages/reward/molecule_set.h"
#include "stages/reward/nearest.h"
#include "stages/reward/scorer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Pairs are taken of the first samples only, so that many of them take no hours. */
enum { REWARDS = 2 * (CONFIG_PARTS_MAX + 2), FRECHET_MOST = 1024, PAIRS_MOST = 2048 };

/* This rank's part [*first, *last) of n items; count[ranks] receives everybody's. */
static void share(const struct comm *c, int64_t n, int64_t *count, int64_t *first,
                  int64_t *last)
{
    for (int r = 0; r < c->size; r++)
        count[r] = n * (r + 1) / c->size - n * r / c->size;
    *first = n * c->rank / c->size;
    *last = n * (c->rank + 1) / c->size;
}

static void put_summary(struct json_out *o, const struct summary *s)
{
    const struct {
        const char *name;
        double value;
    } line[] = {{"mean", s->mean},     {"error", s->error}, {"std", s->std},
                {"min", s->min},       {"q05", s->q05},     {"q25", s->q25},
                {"median", s->median}, {"q75", s->q75},     {"q95", s->q95},
                {"max", s->max}};
    for (size_t i = 0; i < sizeof line / sizeof *line; i++)
        if (isfinite(line[i].value))
            json_out_f64(o, line[i].name, line[i].value);
}

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* Rewards to measure: those named, and the indicators NAME_hard of those that have one. */
static int list_rewards(const struct evaluation *e, struct reward *out, int *n)
{
    const struct config *c = e->o.config;
    char name[128], own[256 + CONFIG_PARTS_MAX * (CONFIG_PART_NAME + 2)] = "";
    char components[CONFIG_PARTS_MAX * (CONFIG_PART_NAME + 2)] = "";
    *n = 0;
    for (int64_t i = 0, at = 0; i < config_parts(c); i++) {
        const char *part;
        config_part(c, i, &part);
        if (!config_is(c, "reward.guard", part))
            at += snprintf(components + at, sizeof components - (size_t)at, ",%s", part);
    }
    const char *p = e->o.rewards != NULL ? e->o.rewards : own;
    if (strcmp(config_origin(c, "reward.name"), "default") != 0)
        snprintf(own, sizeof own, "%.120s,%.120s%s", config_text(c, "reward.name"),
                 config_text(c, "reward.guard"), components);
    for (; *p != '\0' && *n < REWARDS / 2; p += strcspn(p, ","), p += *p == ',') {
        snprintf(name, sizeof name, "%.*s", (int)strcspn(p, ","), p);
        if (name[0] == '\0')
            continue;
        if (scorer_describe(c, name, &out[*n]) != 0)
            return -1;
        ++*n;
    }
    for (int i = 0, named = *n; i < named; i++) {
        bool known = false;
        snprintf(name, sizeof name, "%s_hard", out[i].name);
        for (int k = 0; k < *n; k++)
            known |= strcmp(out[k].name, name) == 0;
        for (const struct reward *const *r = reward_all(); *r != NULL && !known; r++)
            if (strcmp((*r)->name, name) == 0 && scorer_describe(c, name, &out[(*n)++]) != 0)
                return -1;
    }
    return 0;
}

static double leave(void *ctx)
{
    struct evaluation *e = ctx;
    return worker_leave(&e->leave, config_real(e->o.config, "reward.grace"));
}

static int score_part(struct evaluation *e, const struct reward *r, int64_t first,
                      int64_t last, double *score, uint8_t *status)
{
    const struct evaluate_set *set = &e->set;
    const int64_t block = config_int(e->o.config, "rollout.shard_samples");
    const char *cache = config_text(e->o.config, "reward.cache");
    void *ctx = NULL;
    const struct reward_scene scene = {
        .memory = cache[0] != '\0' ? cache : NULL,
        .channels = set->channels,
        .height = set->height,
        .width = set->width,
        .classes = set->labelled ? model_classes(e->task.model) : 0,
        .coding = &set->coding,
        .config = e->o.config,
        .name = r->name,
        .seed = e->task.seed,
        .scorers = e->comm.size,
        .leave = leave,
        .idle_ctx = e,
    };
    if (r->remote) /* else a signal ends the program at once */
        worker_catch_signals();
    int rc = r->open(&scene, &ctx);
    for (int64_t i = first; i < last; i++)
        score[i] = NAN;
    for (int64_t i = first; i < last && rc == 0; i += block) {
        const struct reward_batch b = {
            .n = last - i < block ? last - i : block,
            .channels = set->channels,
            .height = set->height,
            .width = set->width,
            .sample = set->x + i * set->d,
            .label = set->labelled ? set->label + i : NULL,
            .first = i,
            .score = score + i,
            .status = status + i,
        };
        rc = r->score(ctx, &b);
        if (rc == 0 && worker_signal_caught())
            rc = err_set(ERR_STOPPED, "stopped by a signal");
    }
    r->close(ctx);
    if (r->remote)
        worker_free_signals();
    return rc;
}

static void put_reward(struct json_out *o, const struct reward *r, const double *score,
                       const uint8_t *status, int64_t n)
{
    int64_t by[REWARD_NON_FINITE + 1] = {0}, good = 0;
    double *ok = mem_alloc(n, sizeof *ok);
    for (int64_t i = 0; i < n; i++) {
        by[status[i] <= REWARD_NON_FINITE ? status[i] : REWARD_FAILED]++;
        if (status[i] == REWARD_OK)
            ok[good++] = score[i];
    }
    const struct summary s = summary_of(ok, good);
    json_out_map(o, r->name);
    json_out_text(o, "units", r->units);
    put_summary(o, &s);
    json_out_map(o, "status");
    for (int k = 0; k <= REWARD_NON_FINITE; k++)
        json_out_i64(o, reward_status_name((enum reward_status)k), by[k]);
    json_out_end(o);
    json_out_end(o);
    mem_free(ok);
}

/* Collective. */
static int measure_rewards(struct evaluation *e, struct json_out *o)
{
    const struct comm *c = &e->comm;
    struct reward list[REWARDS];
    int64_t n = e->set.n, first, last, hard = 0, met = 0;
    int rewards = 0;
    if (comm_agree(c, list_rewards(e, list, &rewards)) != 0)
        return -1;
    double *score = mem_alloc(n, sizeof *score);
    uint8_t *status = mem_alloc(n, 1), *all_met = mem_alloc(n, 1);
    int64_t *count = mem_alloc(c->size, sizeof *count);
    share(c, n, count, &first, &last);
    memset(all_met, 1, (size_t)n);
    if (o != NULL && rewards > 0)
        json_out_map(o, "reward");
    int rc = 0;
    for (int k = 0; k < rewards && rc == 0; k++) {
        rc = comm_agree(c, score_part(e, &list[k], first, last, score, status));
        if (rc == 0)
            rc = comm_gather_all(c, score + first, count, sizeof *score, score);
        if (rc == 0)
            rc = comm_gather_all(c, status + first, count, 1, status);
        bool indicator = ends(list[k].name, "_hard");
        hard += indicator;
        for (int64_t i = 0; i < n && indicator; i++)
            all_met[i] &= status[i] == REWARD_OK && score[i] == 1;
        if (rc == 0 && o != NULL)
            put_reward(o, &list[k], score, status, n);
    }
    for (int64_t i = 0; i < n; i++)
        met += all_met[i];
    if (o != NULL && rewards > 0)
        json_out_end(o);
    if (o != NULL && hard > 0)
        json_out_f64(o, "constraints_met", (double)met / (double)n);
    mem_free(score);
    mem_free(status);
    mem_free(all_met);
    mem_free(count);
    return rc;
}

/* SMILES of molecules have carbon, oxygen and double bonds among their characters. */
static bool is_smiles(const struct coding *c)
{
    return c->kind == CODING_TEXT && strchr(c->alphabet, 'C') != NULL &&
           strchr(c->alphabet, 'O') != NULL && strchr(c->alphabet, '=') != NULL;
}

/* text[n] of n samples; their characters follow the pointers in one block. */
static char **texts_of(const struct evaluate_set *s, const float *x, int64_t n)
{
    int64_t width = s->width + 1;
    char **text = mem_alloc(n, sizeof *text + (size_t)width);
    char *at = (char *)(text + n);
    for (int64_t i = 0; i < n; i++, at += width) {
        text[i] = at;
        coding_decode_text(&s->coding, x + i * s->d, s->width, at);
    }
    return text;
}

/* Shares of molecules: valid of all, unique of the valid, novel of the unique (those that
 * are not among the training data d; NULL: not told). */
static void put_molecules(const struct evaluate_set *s, const struct dataset *d,
                          struct json_out *o)
{
    char **text = texts_of(s, s->x, s->n);
    struct molecule_set *known = NULL;
    if (d != NULL) {
        char **data = texts_of(s, d->sample, d->n);
        known = molecule_set_create();
        for (int64_t i = 0; i < d->n; i++)
            molecule_set_add(known, data[i]);
        mem_free(data);
    }
    const struct molecule_counts k =
        molecule_count((const char *const *)text, s->n, known);
    json_out_map(o, "molecules");
    json_out_f64(o, "valid", (double)k.valid / (double)k.n);
    if (k.valid > 0)
        json_out_f64(o, "unique", (double)k.unique / (double)k.valid);
    if (known != NULL && k.unique > 0)
        json_out_f64(o, "novel", (double)k.novel / (double)k.unique);
    json_out_end(o);
    molecule_set_destroy(known);
    mem_free(text);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Different strings among the samples. */
static int64_t distinct(const struct evaluate_set *s)
{
    char **text = texts_of(s, s->x, s->n);
    int64_t n = 0;
    qsort(text, (size_t)s->n, sizeof *text, by_text);
    for (int64_t i = 0; i < s->n; i++)
        n += i == 0 || strcmp(text[i - 1], text[i]) != 0;
    mem_free(text);
    return n;
}

/* Collective. */
static int measure_diversity(struct evaluation *e, struct json_out *o)
{
    const struct comm *c = &e->comm;
    const struct evaluate_set *s = &e->set;
    const int64_t n = s->n < PAIRS_MOST ? s->n : PAIRS_MOST;
    double *sum = mem_alloc(n, sizeof *sum), total = 0;
    int64_t *count = mem_alloc(c->size, sizeof *count), first, last;
    share(c, n, count, &first, &last);
    fidelity_pairs(s->x, n, s->d, first, last, sum + first);
    int rc = comm_gather_all(c, sum + first, count, sizeof *sum, sum);
    for (int64_t i = 0; i < n; i++)
        total += sum[i];
    if (rc == 0 && o != NULL) {
        json_out_map(o, "diversity");
        if (n > 1)
            json_out_f64(o, "pairwise_distance",
                         total / (0.5 * (double)n * (double)(n - 1)));
        if (s->coding.kind == CODING_TEXT) {
            int64_t k = distinct(s);
            json_out_i64(o, "distinct", k);
            json_out_f64(o, "distinct_share", (double)k / (double)s->n);
        }
        json_out_end(o);
        if (is_smiles(&s->coding) && e->o.training == NULL)
            put_molecules(s, NULL, o);
    }
    mem_free(sum);
    mem_free(count);
    return rc;
}

/* A data file as the network would be trained on it. */
static int read_data(const struct evaluation *e, const char *path, const int64_t rows[2],
                     const char *option, struct dataset *d)
{
    const struct evaluate_set *s = &e->set;
    struct coding coding = s->coding;
    char *key = text_new("pretrain.data=%s", path);
    int rc = config_override(e->o.config, key);
    mem_free(key);
    if (rc != 0 || config_override(e->o.config, "pretrain.rows=0") != 0 ||
        config_override(e->o.config, "pretrain.labels=") != 0 ||
        config_override(e->o.config, "pretrain.flip=false") != 0 ||
        (s->coding.kind == CODING_TEXT &&
         config_override(e->o.config, "pretrain.format=text") != 0))
        return -1;
    key = text_new("pretrain.length=%lld", (long long)s->width);
    rc = s->coding.kind == CODING_TEXT ? config_override(e->o.config, key) : 0;
    mem_free(key);
    if (rc != 0 || pretrain_data_read(e->o.config, "pretrain", d, &coding) != 0)
        return err_add("%s", option);
    int64_t last = rows[1] < 0 ? d->n : rows[1];
    if (d->channels * d->height * d->width != s->d)
        return err_set(ERR_USAGE, "%s: %s: samples of %lld numbers, these have %lld", option,
                       path, (long long)(d->channels * d->height * d->width),
                       (long long)s->d);
    if (rows[0] < 0 || rows[0] >= last || last > d->n)
        return err_set(ERR_USAGE, "%s-rows: %s has rows 0 to %lld", option, path,
                       (long long)d->n - 1);
    d->n = last - rows[0];
    memmove(d->sample, d->sample + rows[0] * s->d,
            (size_t)(d->n * s->d) * sizeof *d->sample);
    return 0;
}

static double *widen(const float *x, int64_t n)
{
    double *y = mem_alloc(n, sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

/* NaN where there are too few samples, or so many numbers that their covariance would take
 * minutes. Collective. */
static int measure_frechet(struct evaluation *e, const struct dataset *d, double *distance)
{
    const struct evaluate_set *s = &e->set;
    *distance = NAN;
    if (s->d > FRECHET_MOST || s->n < 2 || d->n < 2)
        return 0;
    double *x = widen(s->x, s->n * s->d), *y = widen(d->sample, d->n * s->d);
    int rc = frechet_distance(&e->comm, x, s->n, y, d->n, s->d, distance);
    mem_free(x);
    mem_free(y);
    return rc;
}

/* Collective. */
static int measure_reference(struct evaluation *e, const struct dataset *d,
                             struct json_out *o)
{
    const struct comm *c = &e->comm;
    const struct evaluate_set *s = &e->set;
    struct fidelity_marginal *each = mem_alloc(s->d, sizeof *each);
    int64_t *count = mem_alloc(c->size, sizeof *count), first, last;
    share(c, s->d, count, &first, &last);
    fidelity_marginals(s->x, s->n, d->sample, d->n, s->d, first, last, each + first);
    double frechet;
    int rc = comm_gather_all(c, each + first, count, sizeof *each, each);
    if (rc == 0)
        rc = measure_frechet(e, d, &frechet);
    if (rc == 0 && o != NULL) {
        const struct fidelity_marginal m = fidelity_mean(each, s->d);
        json_out_map(o, "reference");
        json_out_text(o, "file", e->o.reference);
        json_out_i64(o, "n", d->n);
        if (isfinite(frechet))
            json_out_f64(o, "frechet", frechet);
        json_out_f64(o, "mean_gap", m.mean_gap);
        json_out_f64(o, "std_gap", m.std_gap);
        json_out_f64(o, "wasserstein", m.wasserstein);
        if (s->height == 1 && s->channels == 1 && s->width > 2) {
            json_out_f64(o, "lag1", fidelity_lag1(s->x, s->n, s->width));
            json_out_f64(o, "lag1_reference", fidelity_lag1(d->sample, d->n, s->width));
        }
        json_out_end(o);
    }
    mem_free(each);
    mem_free(count);
    return rc;
}

static void put_nearest(const struct evaluation *e, const struct nearest_hit *hit,
                        int64_t rows, struct json_out *o)
{
    int64_t n = e->set.n, near = 0, copied = 0;
    double *first = mem_alloc(n, sizeof *first);
    for (int64_t i = 0; i < n; i++) {
        first[i] = hit[i].first;
        near += hit[i].first < e->o.near;
        copied += hit[i].first < hit[i].second / 3;
    }
    const struct summary s = summary_of(first, n);
    json_out_map(o, "nearest_distance");
    put_summary(o, &s);
    json_out_end(o);
    if (e->o.near > 0)
        json_out_f64(o, "near_share", (double)near / (double)n);
    if (rows > 1)
        json_out_f64(o, "copied_share", (double)copied / (double)n);
    mem_free(first);
}

/* Collective. */
static int measure_training(struct evaluation *e, const struct dataset *d,
                            struct json_out *o)
{
    const struct comm *c = &e->comm;
    const struct evaluate_set *s = &e->set;
    struct nearest_hit *hit = mem_alloc(s->n, sizeof *hit);
    int64_t *count = mem_alloc(c->size, sizeof *count), first, last;
    struct nearest *data = nearest_create(d->sample, d->n, s->d);
    share(c, s->n, count, &first, &last);
    nearest_find(data, s->x + first * s->d, last - first, hit + first);
    int rc = comm_gather_all(c, hit + first, count, sizeof *hit, hit);
    if (rc == 0 && o != NULL) {
        json_out_map(o, "training");
        json_out_text(o, "file", e->o.training);
        json_out_i64(o, "n", d->n);
        put_nearest(e, hit, d->n, o);
        json_out_end(o);
        if (is_smiles(&s->coding))
            put_molecules(s, d, o);
    }
    nearest_destroy(data);
    mem_free(hit);
    mem_free(count);
    return rc;
}

/* A measure against a data file, or nothing where none was given. Collective. */
static int measure_file(struct evaluation *e, const char *path, const int64_t rows[2],
                        const char *option, struct json_out *o)
{
    struct dataset d = {0};
    if (path == NULL || path[0] == '\0')
        return 0;
    int rc = comm_agree(&e->comm, read_data(e, path, rows, option, &d));
    if (rc == 0)
        rc = path == e->o.reference ? measure_reference(e, &d, o)
                                    : measure_training(e, &d, o);
    dataset_free(&d);
    return rc;
}

static void put_column(struct json_out *o, const char *name, const double *v, int64_t n)
{
    if (v == NULL || o == NULL)
        return;
    const struct summary s = summary_of(v, n);
    json_out_map(o, name);
    put_summary(o, &s);
    json_out_end(o);
}

int evaluate_measure(struct evaluation *e, struct json_out *o)
{
    put_column(o, "path_kl", e->set.kl, e->set.n);
    put_column(o, "search_cost", e->set.cost, e->set.n);
    return measure_rewards(e, o) != 0 || measure_diversity(e, o) != 0 ||
                   measure_file(e, e->o.reference, e->o.reference_rows, "--reference", o) !=
                       0 ||
                   measure_file(e, e->o.training, e->o.training_rows, "--training", o) != 0
               ? -1
               : 0;
}

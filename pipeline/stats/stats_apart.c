/* How far samples lie apart: among each other, from those of the first iteration, from
 * data. Bounded by taking the first scored samples of an iteration. */
#include "pipeline/stats/stats_internal.h"

#include "io/config.h"
#include "io/dataset.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/pretrain_data.h"
#include "pipeline/run_coding.h"
#include "stages/linalg/frechet.h"
#include "stages/metric/fidelity.h"
#include "stages/reward/nearest.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    PAIRS_MOST = 512,
    FRECHET_ROWS = 2048,
    FRECHET_MOST = 512,
    VALUES_MOST = 1 << 26
};

struct set {
    int64_t n, channels, height, width, d;
    float *x; /* [n, d] */
};

/* Appends the scored samples of a shard until there are `most`. */
static int add_samples(struct set *a, const char *rollout, const char *reward,
                       int64_t most)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    struct shard *r = shard_open(rollout, SHARD_ROLLOUT),
                 *w = shard_open(reward, SHARD_REWARD);
    uint8_t *status = NULL;
    int rc = r == NULL || w == NULL ? -1 : 0;
    if (rc == 0 &&
        (!shard_has(r, "final_sample", &type, &nd, dim) || nd != 4 ||
         type != COLUMN_F32 || (a->n > 0 && dim[1] * dim[2] * dim[3] != a->d)))
        rc = err_set(ERR_INPUT, "%s: final_sample is not as in the shards before",
                     rollout);
    if (rc == 0 && (status = shard_get(w, "status", COLUMN_U8, 1, dim, NULL)) == NULL)
        rc = -1;
    if (rc == 0 && a->x == NULL) {
        a->channels = dim[1];
        a->height = dim[2];
        a->width = dim[3];
        a->d = dim[1] * dim[2] * dim[3];
        a->x =
            mem_alloc(a->d > 0 && most > VALUES_MOST / a->d ? VALUES_MOST : most * a->d,
                      sizeof *a->x);
    }
    for (int64_t i = 0;
         rc == 0 && i < dim[0] && a->n < most && (a->n + 1) * a->d <= VALUES_MOST; i++)
        if (status[i] == REWARD_OK) {
            rc =
                shard_get_rows(r, "final_sample", COLUMN_F32, i, 1, a->x + a->n * a->d);
            a->n++;
        }
    mem_free(status);
    shard_close(w);
    shard_close(r);
    return rc;
}

static int read_samples(const char *dir, int64_t iteration, struct set *a)
{
    char **name, *rollout = text_new("%s/rollout/i%06lld", dir, (long long)iteration);
    char *reward = text_new("%s/reward/i%06lld", dir, (long long)iteration);
    int64_t n;
    int rc = file_list(reward, "s", ".h5", &name, &n);
    for (int64_t i = 0; i < n && rc == 0 && a->n < FRECHET_ROWS; i++) {
        char *x = rundir_path(rollout, name[i]), *y = rundir_path(reward, name[i]);
        if (file_exists(x))
            rc = add_samples(a, x, y, FRECHET_ROWS);
        mem_free(x);
        mem_free(y);
    }
    file_list_free(name, n);
    mem_free(rollout);
    mem_free(reward);
    return rc;
}

static double pairwise(const struct set *a)
{
    int64_t n = a->n < PAIRS_MOST ? a->n : PAIRS_MOST;
    double *sum = mem_alloc(n, sizeof *sum), total = 0;
    fidelity_pairs(a->x, n, a->d, 0, n, sum);
    for (int64_t i = 0; i < n; i++)
        total += sum[i];
    mem_free(sum);
    return n > 1 ? total / (0.5 * (double)n * (double)(n - 1)) : NAN;
}

static double *widen(const float *x, int64_t n)
{
    double *y = mem_alloc(n, sizeof *y);
    for (int64_t i = 0; i < n; i++)
        y[i] = (double)x[i];
    return y;
}

static int frechet(const struct set *a, const struct set *b, double *distance)
{
    const struct comm self = comm_self();
    *distance = NAN;
    if (a->n < 2 || b->n < 2 || a->d != b->d || a->d > FRECHET_MOST)
        return 0;
    double *x = widen(a->x, a->n * a->d), *y = widen(b->x, b->n * b->d);
    int rc = frechet_distance(&self, x, a->n, y, b->n, a->d, distance);
    mem_free(x);
    mem_free(y);
    return rc;
}

/* A data file as the run's network would be trained on it. */
static int read_data(const char *dir, const char *path, const char *option,
                     const struct set *like, struct dataset *d)
{
    struct coding coding;
    struct config *c = arguments_directory(dir, 0, NULL);
    char *key[] = {text_new("pretrain.data=%s", path),
                   mem_text("pretrain.rows=0"),
                   mem_text("pretrain.labels="),
                   mem_text("pretrain.flip=false"),
                   text_new("pretrain.length=%lld", (long long)like->width),
                   mem_text("pretrain.format=text")};
    int rc = c == NULL ? -1 : run_coding(dir, &coding);
    for (int i = 0; i < 6 && rc == 0; i++)
        if (i < 4 || coding.kind == CODING_TEXT)
            rc = config_override(c, key[i]);
    for (int i = 0; i < 6; i++)
        mem_free(key[i]);
    if (rc == 0)
        rc = pretrain_data_read(c, "pretrain", d, &coding);
    config_destroy(c);
    if (rc != 0)
        return err_add("%s", option);
    if (d->n < 1 || d->channels * d->height * d->width != like->d)
        return err_set(
            ERR_USAGE, "%s: %s: %lld samples of %lld numbers, the run's have %lld",
            option, path, (long long)d->n,
            (long long)(d->channels * d->height * d->width), (long long)like->d);
    return 0;
}

static int against_data(const struct stats_options *o, struct stats *s,
                        const struct set a[2])
{
    struct dataset d = {0};
    int rc = read_data(o->dir, o->data, "--data", &a[0], &d);
    const struct set b = {
        .n = d.n < FRECHET_ROWS ? d.n : FRECHET_ROWS, .d = a[0].d, .x = d.sample};
    for (int k = 0; k < 2 && rc == 0; k++)
        rc = frechet(&a[k], &b, &s->apart[k].frechet_data);
    dataset_free(&d);
    return rc;
}

static int against_training(const struct stats_options *o, struct stats *s,
                            const struct set a[2])
{
    struct dataset d = {0};
    int rc = read_data(o->dir, o->training, "--training", &a[0], &d);
    struct nearest *data = rc != 0 ? NULL : nearest_create(d.sample, d.n, a[0].d);
    for (int k = 0; k < 2 && rc == 0; k++) {
        int64_t n = a[k].n < PAIRS_MOST ? a[k].n : PAIRS_MOST, copied = 0;
        struct moments m = {0};
        struct nearest_hit *hit = mem_alloc(n, sizeof *hit);
        nearest_find(data, a[k].x, n, hit);
        for (int64_t i = 0; i < n; i++) {
            moments_add(&m, hit[i].first);
            copied += hit[i].first < hit[i].second / 3;
        }
        s->apart[k].nearest_mean = moments_mean(&m);
        s->apart[k].nearest_min = m.n > 0 ? m.min : NAN;
        s->apart[k].copied = n > 0 && d.n > 1 ? (double)copied / (double)n : NAN;
        mem_free(hit);
    }
    nearest_destroy(data);
    dataset_free(&d);
    return rc;
}

int stats_apart(const struct stats_options *o, struct stats *s)
{
    struct set a[2] = {0};
    int rc = 0;
    for (int k = 0; k < 2 && rc == 0; k++) {
        struct stats_diversity *v = &s->apart[k];
        *v = (struct stats_diversity){
            s->iteration[k * (s->n - 1)].iteration, 0, NAN, NAN, NAN, NAN, NAN};
        rc = read_samples(o->dir, v->iteration, &a[k]);
        v->n = a[k].n;
        if (rc == 0)
            v->pairwise = pairwise(&a[k]);
    }
    if (rc == 0 && s->n > 1)
        rc = frechet(&a[0], &a[1], &s->frechet);
    if (rc == 0 && o->data != NULL && a[0].n > 0)
        rc = against_data(o, s, a);
    if (rc == 0 && o->training != NULL && a[0].n > 0)
        rc = against_training(o, s, a);
    mem_free(a[0].x);
    mem_free(a[1].x);
    return rc;
}

static int decode(const char *dir, const struct coding *coding, struct stats_sample *b)
{
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    char rel[96], *path = rundir_path(dir, rundir_rollout(rel, b->iteration, b->shard));
    struct shard *f = file_exists(path) ? shard_open(path, SHARD_ROLLOUT) : NULL;
    int rc = file_exists(path) && f == NULL ? -1 : 0;
    if (f != NULL && shard_has(f, "final_sample", &type, &nd, dim) && nd == 4 &&
        type == COLUMN_F32 && dim[1] == (int64_t)strlen(coding->alphabet) &&
        dim[2] == 1 && b->row < dim[0]) {
        float *x = mem_alloc(dim[1] * dim[3], sizeof *x);
        char *text = mem_alloc(dim[3] + 1, 1);
        rc = shard_get_rows(f, "final_sample", COLUMN_F32, b->row, 1, x);
        if (rc == 0)
            coding_decode_text(coding, x, dim[3], text);
        snprintf(b->decoded, sizeof b->decoded, "%s", text);
        mem_free(text);
        mem_free(x);
    }
    shard_close(f);
    mem_free(path);
    return rc;
}

int stats_decode(const struct stats_options *o, struct stats *s)
{
    struct coding coding;
    int rc = run_coding(o->dir, &coding);
    if (rc != 0 || coding.kind != CODING_TEXT)
        return rc;
    for (int64_t i = 0; i < s->bests && rc == 0; i++)
        rc = decode(o->dir, &coding, &s->best[i]);
    for (int64_t i = 0; i < s->worsts && rc == 0; i++)
        rc = decode(o->dir, &coding, &s->worst[i]);
    return rc;
}

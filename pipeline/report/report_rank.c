/* Which iterations, shards and samples the pictures show. Of an iteration with many shards
 * evenly chosen ones are read, and of those the rewards alone; pictures are read one by
 * one later. */
#include "pipeline/report/report_pictures.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/run_coding.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SHARDS_MOST = 32, SAMPLES_MOST = 1 << 20, SAMPLE_MOST = 1 << 24, TRIES = 16 };

int64_t report_even(int64_t i, int64_t shown, int64_t n)
{
    return shown < 2 ? 0 : (i * (n - 1) + (shown - 1) / 2) / (shown - 1);
}

/* The numbers in names such as i000012 or s00003.h5. */
static int64_t *numbers_of(const char *dir, const char *prefix, const char *suffix,
                           int64_t *n)
{
    char **name = NULL;
    int64_t all = 0;
    *n = 0;
    if (file_list(dir, prefix, suffix, &name, &all) != 0)
        all = 0;
    int64_t *number = mem_alloc(all, sizeof *number);
    for (int64_t i = 0; i < all; i++) {
        char *end = NULL;
        const long long v = strtoll(name[i] + 1, &end, 10);
        if (end != name[i] + 1 && strcmp(end, suffix) == 0)
            number[(*n)++] = v;
    }
    file_list_free(name, all);
    err_clear();
    return number;
}

int64_t *report_iterations_of(const char *rundir, const char *kind, int64_t *n)
{
    char *dir = rundir_path(rundir, kind);
    int64_t *number = numbers_of(dir, "i", "", n);
    mem_free(dir);
    return number;
}

int64_t *report_shards_of(const char *rundir, const char *kind, int64_t iteration, int64_t *n)
{
    char *dir = text_new("%s/%s/i%06lld", rundir, kind, (long long)iteration);
    int64_t *number = numbers_of(dir, "s", ".h5", n);
    mem_free(dir);
    return number;
}

static int by_reward(const void *a, const void *b)
{
    const struct report_ranked *x = a, *y = b;
    const bool fx = isfinite(x->reward), fy = isfinite(y->reward);
    if (fx != fy)
        return fx ? -1 : 1;
    if (fx && x->reward != y->reward)
        return x->reward < y->reward ? -1 : 1;
    if (x->shard != y->shard)
        return x->shard < y->shard ? -1 : 1;
    return x->row < y->row ? -1 : 1;
}

/* Rewards of a shard, where it has been scored. -1: the file is there and damaged. */
static int read_scores(struct report_ranked *s, const char *path, int64_t count)
{
    const int64_t expect[1] = {count};
    if (!file_exists(path))
        return 0;
    struct shard *f = shard_open(path, SHARD_REWARD);
    if (f == NULL)
        return -1;
    double *reward = shard_get(f, "reward", COLUMN_F64, 1, expect, NULL);
    uint8_t *status = shard_get(f, "status", COLUMN_U8, 1, expect, NULL);
    for (int64_t i = 0; i < count && reward != NULL && status != NULL; i++) {
        s[i].status = status[i];
        s[i].reward = status[i] == REWARD_OK ? reward[i] : NAN;
    }
    const int rc = reward == NULL || status == NULL ? -1 : 0;
    mem_free(reward);
    mem_free(status);
    shard_close(f);
    return rc;
}

/* Takes the samples of one shard into the ranking. */
static void take_shard(struct report_ranking *r, const char *rundir, int64_t shard)
{
    enum column_type type;
    int nd = 0;
    char rel[96];
    int64_t dim[SHARD_MAX_ND];
    char *path = rundir_path(rundir, rundir_rollout(rel, r->iteration, shard));
    struct shard *f = shard_open(path, SHARD_ROLLOUT);
    mem_free(path);
    const bool fits =
        f != NULL && shard_has(f, "final_sample", &type, &nd, dim) && type == COLUMN_F32 &&
        nd == 4 && dim[0] > 0 && dim[1] > 0 && dim[2] > 0 && dim[3] > 0 &&
        dim[0] <= SAMPLES_MOST - r->n &&
        (r->n == 0 ||
         (dim[1] == r->channels && dim[2] == r->height && dim[3] == r->width));
    if (fits) {
        r->channels = dim[1];
        r->height = dim[2];
        r->width = dim[3];
        r->version = shard_head(f)->policy_version;
        r->sample = mem_resize(r->sample, r->n, r->n + dim[0], sizeof *r->sample);
        for (int64_t i = 0; i < dim[0]; i++)
            r->sample[r->n + i] = (struct report_ranked){shard, i, NAN, -1};
        path = rundir_path(rundir, rundir_reward(rel, r->iteration, shard));
        r->damaged += read_scores(r->sample + r->n, path, dim[0]) != 0;
        mem_free(path);
        r->n += dim[0];
    }
    r->damaged += !fits;
    shard_close(f);
}

void report_rank(struct report_ranking *r, const char *rundir, int64_t iteration)
{
    *r = (struct report_ranking){.iteration = iteration};
    int64_t *shard = report_shards_of(rundir, "rollout", iteration, &r->all);
    r->shards = r->all < SHARDS_MOST ? r->all : SHARDS_MOST;
    for (int64_t i = 0; i < r->shards; i++)
        take_shard(r, rundir, shard[report_even(i, r->shards, r->all)]);
    mem_free(shard);
    err_clear();
    if (r->n > 1)
        qsort(r->sample, (size_t)r->n, sizeof *r->sample, by_reward);
    while (r->scored < r->n && isfinite(r->sample[r->scored].reward))
        r->scored++;
}

void report_ranking_free(struct report_ranking *r)
{
    mem_free(r->sample);
    *r = (struct report_ranking){0};
}

/* The iteration between two others whose mean reward is the best, and better than theirs;
 * -1: none. Its rollouts may be gone. */
static int64_t best_between(const struct report_metrics *m, int64_t first, int64_t last)
{
    int64_t best = -1;
    double most = -INFINITY;
    for (int64_t i = 0; i < m->n; i++) {
        const double at = m->row[i][M_ITERATION], v = m->row[i][M_REWARD_MEAN];
        if (at < (double)first || at > (double)last || !(v > most))
            continue;
        most = v;
        best = at > (double)first && at < (double)last ? (int64_t)at : -1;
    }
    return best;
}

int64_t report_rank_run(struct report_ranking r[REPORT_SHOWN], const char *rundir,
                        const struct report_metrics *m)
{
    int64_t n, *at = report_iterations_of(rundir, "rollout", &n), low = 0, high = n - 1;
    struct report_ranking end[2] = {0}, best = {0};
    for (int tries = 0; low <= high && end[0].n == 0 && tries < TRIES; low++, tries++) {
        report_ranking_free(&end[0]);
        report_rank(&end[0], rundir, at[low]);
    }
    for (int tries = 0; high >= low && end[1].n == 0 && tries < TRIES; high--, tries++) {
        report_ranking_free(&end[1]);
        report_rank(&end[1], rundir, at[high]);
    }
    const int64_t top =
        end[1].n > 0 ? best_between(m, end[0].iteration, end[1].iteration) : -1;
    if (top >= 0)
        report_rank(&best, rundir, top);
    mem_free(at);
    int64_t shown = 0;
    struct report_ranking *const all[REPORT_SHOWN] = {&end[0], &best, &end[1]};
    for (int k = 0; k < REPORT_SHOWN; k++)
        if (all[k]->n > 0)
            r[shown++] = *all[k];
    return shown;
}

float *report_row(const char *rundir, int64_t iteration, const struct report_ranked *s,
                  const char *name, int64_t most, int *nd, int64_t dim[SHARD_MAX_ND])
{
    enum column_type type;
    char rel[96];
    int64_t size = 1;
    float *x = NULL;
    *nd = 0;
    char *path = rundir_path(rundir, rundir_rollout(rel, iteration, s->shard));
    struct shard *f = shard_open(path, SHARD_ROLLOUT);
    bool fits = f != NULL && shard_has(f, name, &type, nd, dim) && type == COLUMN_F32 &&
                *nd > 1 && s->row < dim[0];
    for (int k = 1; k < *nd && fits; k++) {
        fits = dim[k] > 0 && dim[k] <= most / size;
        size *= fits ? dim[k] : 1;
    }
    if (fits) {
        x = mem_alloc(size, sizeof *x);
        if (shard_get_rows(f, name, COLUMN_F32, s->row, 1, x) != 0) {
            mem_free(x);
            x = NULL;
        }
        --*nd;
        memmove(dim, dim + 1, (size_t)*nd * sizeof *dim);
    }
    shard_close(f);
    mem_free(path);
    err_clear();
    return x;
}

float *report_final(const char *rundir, int64_t iteration, const struct report_ranked *s,
                    int64_t shape[3])
{
    int nd;
    int64_t dim[SHARD_MAX_ND];
    float *x = report_row(rundir, iteration, s, "final_sample", SAMPLE_MOST, &nd, dim);
    bool fits = x != NULL && nd == 3;
    for (int k = 0; k < 3 && fits; k++) {
        shape[k] = shape[k] == 0 ? dim[k] : shape[k];
        fits = shape[k] == dim[k];
    }
    if (fits)
        return x;
    mem_free(x);
    return NULL;
}

struct coding report_coding(const char *rundir)
{
    struct coding c;
    if (run_coding(rundir, &c) != 0)
        c = (struct coding){0};
    err_clear();
    return c;
}

void report_ranked_reward(struct text *out, const struct report_ranked *s)
{
    if (isfinite(s->reward))
        text_add(out, "%.4g", s->reward + 0.0);
    else
        text_add(out, "<em>%s</em>",
                 s->status < 0 || s->status > REWARD_NOT_ASKED
                     ? "not scored"
                     : reward_status_name((enum reward_status)s->status));
}

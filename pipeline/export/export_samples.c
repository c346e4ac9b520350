/* The samples of one iteration as files. */
#include "pipeline/export/export.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/run_coding.h"
#include "pipeline/sample_files.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct all {
    struct samples s;
    float *data;
    struct text table; /* rewards.csv */
};

/* A reward shard's columns for the table; a rollout without one has empty fields. */
static int add_rows(struct all *a, const char *path, struct shard *rollout, int64_t n,
                    int64_t shard)
{
    const int64_t before = a->s.n - n;
    struct shard *r = file_exists(path) ? shard_open(path, SHARD_REWARD) : NULL;
    int64_t *index = shard_get(rollout, "sample_index", COLUMN_I64, 1, &n, NULL);
    int64_t *prompt = shard_get(rollout, "prompt_id", COLUMN_I64, 1, &n, NULL);
    double *reward = r == NULL ? NULL : shard_get(r, "reward", COLUMN_F64, 1, &n, NULL);
    uint8_t *status = r == NULL ? NULL : shard_get(r, "status", COLUMN_U8, 1, &n, NULL);
    int rc = index == NULL || prompt == NULL ||
                     (file_exists(path) && (reward == NULL || status == NULL))
                 ? -1
                 : 0;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        text_add(&a->table, "%lld,%lld,%lld,%lld,%lld,", (long long)(before + i),
                 (long long)shard, (long long)i, (long long)index[i],
                 (long long)prompt[i]);
        if (reward != NULL && isfinite(reward[i]))
            text_add(&a->table, "%.17g", reward[i]);
        text_add(&a->table, ",%s\n",
                 status == NULL ? ""
                                : reward_status_name(status[i] <= REWARD_NOT_ASKED
                                                         ? (enum reward_status)status[i]
                                                         : REWARD_FAILED));
    }
    mem_free(index);
    mem_free(prompt);
    mem_free(reward);
    mem_free(status);
    shard_close(r);
    return rc;
}

static int add_shard(struct all *a, const char *rollout, const char *reward,
                     int64_t shard)
{
    const int64_t any[4] = {-1, -1, -1, -1};
    int64_t dim[SHARD_MAX_ND];
    struct samples *s = &a->s;
    struct shard *f = shard_open(rollout, SHARD_ROLLOUT);
    float *x = f == NULL ? NULL : shard_get(f, "final_sample", COLUMN_F32, 4, any, dim);
    int rc = x == NULL ? -1 : 0;
    if (rc == 0 && s->n > 0 &&
        (dim[1] != s->channels || dim[2] != s->height || dim[3] != s->width))
        rc = err_set(ERR_INPUT, "%s: samples of another shape than before", rollout);
    if (rc == 0) {
        int64_t d = dim[1] * dim[2] * dim[3];
        a->data = mem_resize(a->data, s->n * d, (s->n + dim[0]) * d, sizeof *a->data);
        memcpy(a->data + s->n * d, x, (size_t)(dim[0] * d) * sizeof *x);
        s->n += dim[0];
        s->channels = dim[1];
        s->height = dim[2];
        s->width = dim[3];
        s->data = a->data;
        rc = add_rows(a, reward, f, dim[0], shard);
    }
    mem_free(x);
    shard_close(f);
    return rc;
}

static int read_all(struct all *a, const char *run, int64_t iteration)
{
    char **name, *dir = text_new("%s/rollout/i%06lld", run, (long long)iteration);
    char *rewards = text_new("%s/reward/i%06lld", run, (long long)iteration);
    int64_t n;
    int rc = file_list(dir, "s", ".h5", &name, &n);
    text_add(&a->table, "file,shard,row,sample_index,prompt_id,reward,status\n");
    if (rc == 0 && n == 0)
        rc = err_set(ERR_INPUT, "%s: holds no rollouts; see `sluice inspect %s`", dir,
                     run);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        char *x = rundir_path(dir, name[i]), *y = rundir_path(rewards, name[i]);
        rc = add_shard(a, x, y, strtoll(name[i] + 1, NULL, 10));
        mem_free(x);
        mem_free(y);
    }
    file_list_free(name, n);
    mem_free(rewards);
    mem_free(dir);
    return rc;
}

static int newest_iteration(const char *run, int64_t *iteration)
{
    char **name, *dir = rundir_path(run, "rollout");
    int64_t n, at;
    int rc = file_list(dir, "i", "", &name, &n);
    *iteration = -1;
    for (int64_t i = 0; i < n && rc == 0; i++)
        if (text_to_i64(name[i] + 1, &at) && at > *iteration)
            *iteration = at;
    file_list_free(name, n);
    if (rc == 0 && *iteration < 0)
        rc = err_set(ERR_INPUT, "%s: holds no rollouts; is %s a run directory?", dir,
                     run);
    mem_free(dir);
    return rc;
}

/* What is no picture has no folder of pictures: an array, and texts as text. */
static int write_plain_folder(const struct all *a, const char *path)
{
    char *npy = text_new("%s/samples.npy", path),
         *txt = text_new("%s/samples.txt", path);
    int rc = file_make_dirs(path);
    if (rc == 0)
        rc = sample_files_write(&a->s, npy);
    if (rc == 0 && a->s.coding.kind == CODING_TEXT)
        rc = sample_files_write(&a->s, txt);
    mem_free(npy);
    mem_free(txt);
    return rc;
}

int export_samples(const char *run, int64_t iteration, const char *path)
{
    struct all a = {.table = {0}};
    const char *slash = strrchr(path, '/');
    const bool folder =
        strchr(slash == NULL ? path : slash, '.') == NULL || file_is_dir(path);
    int rc = iteration < 0 ? newest_iteration(run, &iteration) : 0;
    if (rc == 0)
        rc = read_all(&a, run, iteration);
    if (rc == 0)
        rc = run_coding(run, &a.s.coding);
    if (rc == 0 && a.s.coding.kind == CODING_SERIES)
        coding_decode(&a.s.coding, a.data,
                      a.s.n * a.s.channels * a.s.height * a.s.width);
    if (rc == 0 && folder &&
        (a.s.coding.kind != CODING_NONE || (a.s.channels != 1 && a.s.channels != 3)))
        rc = write_plain_folder(&a, path);
    else if (rc == 0)
        rc = sample_files_check(&a.s, path) != 0 ? -1 : sample_files_write(&a.s, path);
    if (rc == 0 && folder) {
        char *table = text_new("%s/rewards.csv", path);
        rc = file_write(table, a.table.s, a.table.len);
        mem_free(table);
    }
    text_free(&a.table);
    mem_free(a.data);
    return rc;
}

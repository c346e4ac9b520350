/* Pictures before and after: the samples of two iterations, read from their sealed
 * shards and ordered by reward. */
#include "pipeline/report_parts.h"

#include "io/image.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_READ = 2048, MAX_SHOWN = 32, MAX_VALUES = 1 << 26 };

/* Samples of one iteration. */
struct album {
    int64_t n, channels, height, width, version;
    float *sample; /* [n, channels, height, width] */
    struct score {
        int64_t at;
        double reward; /* NaN: none */
        int status;    /* enum reward_status, -1: not scored */
    } * score;
};

static int by_reward(const void *a, const void *b)
{
    const struct score *x = a, *y = b;
    bool fx = isfinite(x->reward), fy = isfinite(y->reward);
    if (fx && fy && x->reward != y->reward)
        return x->reward > y->reward ? -1 : 1;
    if (fx != fy)
        return fx ? -1 : 1;
    return x->at < y->at ? -1 : 1;
}

/* Rewards of a shard, where it has been scored. */
static void read_scores(struct album *a, const char *path, int64_t from, int64_t count)
{
    const int64_t expect[1] = {count};
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    for (int64_t i = 0; i < count; i++)
        a->score[from + i] = (struct score){from + i, NAN, -1};
    struct shard *s = file_exists(path) ? shard_open(path, SHARD_REWARD) : NULL;
    if (s == NULL)
        return;
    const char *name = shard_has(s, "reward", &type, &nd, dim) ? "reward" : "score";
    double *reward = shard_get(s, name, COLUMN_F64, 1, expect, dim);
    uint8_t *status = shard_get(s, "status", COLUMN_U8, 1, expect, dim);
    for (int64_t i = 0; i < count; i++) {
        if (status != NULL)
            a->score[from + i].status = status[i];
        if (reward != NULL && (status == NULL || status[i] == REWARD_OK))
            a->score[from + i].reward = reward[i];
    }
    mem_free(reward);
    mem_free(status);
    shard_close(s);
}

/* Appends the samples of one rollout shard; a shard that does not fit is left out. */
static void read_shard(struct album *a, const char *path, const char *reward_path)
{
    enum column_type type;
    int nd = 0;
    int64_t dim[SHARD_MAX_ND];
    struct shard *s = shard_open(path, SHARD_ROLLOUT);
    if (s == NULL)
        return;
    bool fits = shard_has(s, "final_sample", &type, &nd, dim) && type == COLUMN_F32 &&
                nd == 4 && dim[0] > 0 && dim[0] <= MAX_READ && dim[1] > 0 &&
                dim[2] > 0 && dim[3] > 0 && dim[1] < 65536 && dim[2] < 65536 &&
                dim[1] * dim[2] <= MAX_VALUES / dim[3] / (a->n + dim[0]) &&
                (a->n == 0 ||
                 (dim[1] == a->channels && dim[2] == a->height && dim[3] == a->width));
    float *p = fits ? shard_get(s, "final_sample", COLUMN_F32, 4, dim, dim) : NULL;
    if (p != NULL) {
        int64_t size = dim[1] * dim[2] * dim[3];
        a->channels = dim[1];
        a->height = dim[2];
        a->width = dim[3];
        a->version = shard_head(s)->policy_version;
        a->sample = mem_resize(a->sample, a->n * size, (a->n + dim[0]) * size,
                               sizeof *a->sample);
        a->score = mem_resize(a->score, a->n, a->n + dim[0], sizeof *a->score);
        memcpy(a->sample + a->n * size, p, (size_t)(dim[0] * size) * sizeof *p);
        read_scores(a, reward_path, a->n, dim[0]);
        a->n += dim[0];
    }
    mem_free(p);
    shard_close(s);
}

static void read_album(struct album *a, const char *rundir, int64_t iteration)
{
    char **name = NULL, rel[96], rel_reward[96];
    int64_t n = 0;
    *a = (struct album){0};
    rundir_rollout(rel, iteration, 0);
    *strrchr(rel, '/') = '\0';
    char *dir = rundir_path(rundir, rel);
    if (file_list(dir, "s", ".h5", &name, &n) != 0)
        n = 0;
    for (int64_t i = 0; i < n && a->n < MAX_READ; i++) {
        int64_t number = strtoll(name[i] + 1, NULL, 10);
        char *path = rundir_path(rundir, rundir_rollout(rel, iteration, number));
        char *reward =
            rundir_path(rundir, rundir_reward(rel_reward, iteration, number));
        read_shard(a, path, reward);
        mem_free(path);
        mem_free(reward);
    }
    file_list_free(name, n);
    mem_free(dir);
    err_clear();
    if (a->n > 1)
        qsort(a->score, (size_t)a->n, sizeof *a->score, by_reward);
}

static void album_free(struct album *a)
{
    mem_free(a->sample);
    mem_free(a->score);
    *a = (struct album){0};
}

/* Channels other than 1 and 3 (latents) show their first channel. */
static void add_picture(struct text *out, const struct album *a, const float *x)
{
    struct text png = {0};
    uint8_t *rgb = mem_alloc(a->height * a->width * 3, 1);
    pixels_from_sample(x, a->channels == 3 ? 3 : 1, a->height, a->width, rgb);
    if (image_png(rgb, a->height, a->width, &png) == 0) {
        text_add(out, "<img alt=\"sample\" src=\"data:image/png;base64,");
        report_base64(out, png.s, png.len);
        text_add(out, "\">");
    }
    text_free(&png);
    mem_free(rgb);
}

/* A sample without height is a curve. */
static void add_curve(struct text *out, const struct album *a, const float *x)
{
    float low = INFINITY, high = -INFINITY;
    for (int64_t i = 0; i < a->width; i++) {
        low = fminf(low, x[i]);
        high = fmaxf(high, x[i]);
    }
    double scale = high > low ? 44.0 / ((double)high - (double)low) : 0;
    text_add(out,
             "<svg viewBox=\"0 0 96 48\"><polyline fill=\"none\" stroke=\"#1d4ed8\" "
             "stroke-width=\"1.4\" points=\"");
    for (int64_t i = 0; i < a->width; i++)
        if (isfinite(x[i]))
            text_add(out, "%.1f,%.1f ",
                     96.0 * (double)i / (double)(a->width > 1 ? a->width - 1 : 1),
                     46 - ((double)x[i] - (double)low) * scale);
    text_add(out, "\"/></svg>");
}

static void add_album(struct text *out, const struct album *a, int64_t iteration)
{
    int64_t shown = a->n < MAX_SHOWN ? a->n : MAX_SHOWN;
    int64_t size = a->channels * a->height * a->width;
    text_add(
        out,
        "<div class=\"album\"><h3>Iteration %lld <span>policy version %lld, %lld of "
        "%lld samples, best first</span></h3><div class=\"grid\">\n",
        (long long)iteration, (long long)a->version, (long long)shown, (long long)a->n);
    for (int64_t i = 0; i < shown; i++) {
        int64_t rank = shown > 1 ? i * (a->n - 1) / (shown - 1) : 0;
        const struct score *s = &a->score[rank];
        text_add(out, "<figure>");
        if (a->height == 1)
            add_curve(out, a, a->sample + s->at * size);
        else
            add_picture(out, a, a->sample + s->at * size);
        text_add(out, "<figcaption>");
        if (isfinite(s->reward))
            text_add(out, "%.4g", s->reward);
        else
            text_add(out, "<em>%s</em>",
                     s->status < 0 || s->status > REWARD_NOT_ASKED
                         ? "not scored"
                         : reward_status_name((enum reward_status)s->status));
        text_add(out, "</figcaption></figure>\n");
    }
    text_add(out, "</div></div>\n");
}

void report_samples(struct text *out, const char *rundir)
{
    char **name = NULL, *dir = rundir_path(rundir, "rollout");
    int64_t n = 0, shown[2] = {-1, -1}, albums = 0;
    if (file_list(dir, "i", "", &name, &n) != 0)
        n = 0;
    /* The first and the last iteration that still have readable shards. */
    for (int side = 0; side < 2; side++) {
        for (int64_t i = 0; i < n && shown[side] < 0; i++) {
            struct album a;
            int64_t iteration = strtoll(name[side == 0 ? i : n - 1 - i] + 1, NULL, 10);
            if (side == 1 && iteration == shown[0])
                break;
            read_album(&a, rundir, iteration);
            if (a.n > 0) {
                if (albums++ == 0)
                    text_add(out,
                             "<section><h2>Samples</h2>\n<div class=\"albums\">\n");
                add_album(out, &a, iteration);
                shown[side] = iteration;
            }
            album_free(&a);
        }
    }
    if (albums > 0)
        text_add(out, "</div></section>\n");
    file_list_free(name, n);
    mem_free(dir);
    err_clear();
}

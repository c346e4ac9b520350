/* Samples before and after: those of two iterations, read from their sealed shards and
 * ordered by reward: pictures, curves of series, tables of texts. */
#include "pipeline/report/report_parts.h"

#include "io/coding.h"
#include "io/json.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
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

struct coding report_coding(const char *rundir)
{
    struct coding c = {0};
    int64_t n = 0, len = 0;
    char *path = rundir_path(rundir, "policy/v000000.h5");
    struct shard *s = file_exists(path) ? shard_open(path, SHARD_POLICY) : NULL;
    char *text = s == NULL ? NULL : shard_get_text(s, "model_config", &n, &len);
    struct json *config =
        text == NULL || n != 1 ? NULL : json_parse(text, (int64_t)strlen(text), path);
    if (config == NULL || coding_read(config, path, &c) != 0)
        c = (struct coding){0};
    json_free(config);
    mem_free(text);
    if (s != NULL)
        shard_close(s);
    mem_free(path);
    err_clear();
    return c;
}

static void add_reward(struct text *out, const struct score *s)
{
    if (isfinite(s->reward))
        text_add(out, "%.4g", s->reward);
    else
        text_add(out, "<em>%s</em>",
                 s->status < 0 || s->status > REWARD_NOT_ASKED
                     ? "not scored"
                     : reward_status_name((enum reward_status)s->status));
}

/* Least and largest of all finite numbers; false where there are none. */
static bool range_of(const struct album *a, double range[2])
{
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (int64_t i = 0; i < a->n * a->channels * a->height * a->width; i++)
        if (isfinite(a->sample[i])) {
            range[0] = fmin(range[0], (double)a->sample[i]);
            range[1] = fmax(range[1], (double)a->sample[i]);
        }
    return range[0] < range[1];
}

static void add_figures(struct text *out, const struct album *a, bool series)
{
    int64_t shown = a->n < MAX_SHOWN ? a->n : MAX_SHOWN;
    int64_t size = a->channels * a->height * a->width;
    double range[2];
    bool alike = series && range_of(a, range);
    if (alike)
        text_add(out, "<p class=\"scale\">All curves from %.4g to %.4g.</p>", range[0],
                 range[1]);
    text_add(out, "<div class=\"grid\">\n");
    for (int64_t i = 0; i < shown; i++) {
        int64_t rank = shown > 1 ? i * (a->n - 1) / (shown - 1) : 0;
        const struct score *s = &a->score[rank];
        const float *x = a->sample + s->at * size;
        text_add(out, "<figure>");
        if (a->height == 1)
            report_curve(out, x, a->width, alike ? range : NULL);
        else
            report_picture(out, x, a->channels, a->height, a->width);
        text_add(out, "<figcaption>");
        add_reward(out, s);
        text_add(out, "</figcaption></figure>\n");
    }
    text_add(out, "</div>");
}

static void add_texts(struct text *out, const struct album *a, const struct coding *c)
{
    int64_t scored = 0;
    char *line = mem_alloc(a->width + 1, 1);
    while (scored < a->n && isfinite(a->score[scored].reward))
        scored++;
    const struct {
        const char *name;
        int64_t from, to;
    } part[] = {
        {"best", 0, scored < 10 ? scored : 10},
        {"middle", scored / 2 - 2, scored / 2 + 3},
        {"worst", scored - 5, scored},
        {"without", scored, scored + 5 < a->n ? scored + 5 : a->n},
    };
    text_add(out, "<table class=\"texts\"><tr><th>Reward</th><th>Place</th><th>Text</th>"
                  "</tr>\n");
    int64_t next = 0;
    for (size_t k = 0; k < sizeof part / sizeof *part; k++)
        for (int64_t i = part[k].from > next ? part[k].from : next; i < part[k].to; i++) {
            coding_decode_text(c, a->sample + a->score[i].at * a->channels * a->width,
                               a->width, line);
            text_add(out, "<tr%s><td>", i == part[k].from && k > 0 ? " class=\"cut\"" : "");
            add_reward(out, &a->score[i]);
            text_add(out, "</td><td>%s %lld</td><td><code>", part[k].name,
                     (long long)i + 1);
            report_escape(out, line);
            text_add(out, "</code></td></tr>\n");
            next = i + 1;
        }
    text_add(out, "</table>");
    mem_free(line);
}

static void add_album(struct text *out, struct album *a, int64_t iteration,
                      const struct coding *c)
{
    const bool text = c->kind == CODING_TEXT && a->height == 1 &&
                      a->channels == (int64_t)strlen(c->alphabet);
    const bool series = c->kind == CODING_SERIES;
    int64_t shown = text || a->n < MAX_SHOWN ? a->n : MAX_SHOWN;
    if (series)
        coding_decode(c, a->sample, a->n * a->channels * a->height * a->width);
    text_add(out, "<div class=\"album\"><h3>Iteration %lld <span>policy version %lld, ",
             (long long)iteration, (long long)a->version);
    if (text)
        text_add(out, "%lld samples by reward</span></h3>", (long long)a->n);
    else
        text_add(out, "%lld of %lld samples, best first</span></h3>", (long long)shown,
                 (long long)a->n);
    if (text)
        add_texts(out, a, c);
    else
        add_figures(out, a, series);
    text_add(out, "</div>\n");
}

void report_samples(struct text *out, const char *rundir)
{
    char **name = NULL, *dir = rundir_path(rundir, "rollout");
    int64_t n = 0, shown[2] = {-1, -1}, albums = 0;
    const struct coding coding = report_coding(rundir);
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
                add_album(out, &a, iteration, &coding);
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

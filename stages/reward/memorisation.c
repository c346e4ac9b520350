/* The search is nearest.c's; here is what a run makes of it. */
#include "stages/reward/memorisation.h"

#include "io/sys/mem.h"
#include "stages/reward/nearest.h"
#include "stages/reward/reference.h"

#include <math.h>

struct scorer {
    struct nearest *rows;
    double cap;
};

static void close_scorer(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    nearest_destroy(s->rows);
    mem_free(s);
}

static int open_scorer(const struct reward_scene *scene, void **ctx)
{
    const struct config *c = scene->config;
    struct dataset d;
    if (reference_read(scene, "reward.reference", config_text(c, "reward.reference"),
                       config_int(c, "reward.reference_rows"), &d) != 0)
        return -1;
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->rows = nearest_create(d.sample, d.n, d.channels * d.height * d.width);
    s->cap = config_real(c, "reward.distance_cap");
    dataset_free(&d);
    *ctx = s;
    return 0;
}

static int score(void *ctx, const struct reward_batch *b)
{
    const struct scorer *s = ctx;
    const int64_t size = b->channels * b->height * b->width;
    struct nearest_hit *hit = mem_alloc(b->n, sizeof *hit);
    nearest_find(s->rows, b->sample, b->n, hit);
    for (int64_t i = 0; i < b->n; i++) {
        bool good = hit[i].row >= 0;
        double d = hit[i].first;
        b->status[i] = good ? REWARD_OK : REWARD_NON_FINITE;
        b->score[i] = good ? fmin(d, s->cap) : (double)NAN;
        if (b->gradient == NULL)
            continue;
        const float *x = b->sample + i * size;
        const float *r = good ? nearest_row(s->rows, hit[i].row) : x;
        bool flat = !good || !(d < s->cap) || d == 0;
        for (int64_t k = 0; k < size; k++)
            b->gradient[i * size + k] =
                flat ? 0 : (float)(((double)x[k] - (double)r[k]) / ((double)size * d));
    }
    mem_free(hit);
    return 0;
}

const struct reward memorisation = {
    .name = "memorisation",
    .help =
        "root mean square distance to the nearest sample of reward.reference, at most "
        "reward.distance_cap",
    .units = "1",
    .deterministic = 1,
    .differentiable = 1,
    .own_thread = 1,
    .open = open_scorer,
    .close = close_scorer,
    .score = score,
};

/* Noise is a function of the sample's number in the run alone, so it does not depend on
 * which rank asks. */
#include "stages/reward/table.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/reward/lookup.h"

#include <math.h>

struct scorer {
    struct lookup *table;
    const struct coding *coding;
    char *text; /* [width + 1] */
    double noise;
    uint64_t seed;
};

static void close_table(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    lookup_close(s->table);
    mem_free(s->text);
    mem_free(s);
}

static int open_table(const struct reward_scene *scene, void **ctx)
{
    if (scene->coding == NULL || scene->coding->kind != CODING_TEXT)
        return err_set(ERR_USAGE, "reward.name: table scores texts, and this network's "
                                  "samples are none (its config.json has no alphabet)");
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->coding = scene->coding;
    s->seed = scene->seed;
    s->text = mem_alloc(scene->width + 1, 1);
    s->noise = config_real(scene->config, "reward.noise");
    s->table =
        lookup_open("reward.table", config_text(scene->config, "reward.table"), 1);
    if (s->table == NULL) {
        close_table(s);
        return -1;
    }
    *ctx = s;
    return 0;
}

static int score(void *ctx, const struct reward_batch *b)
{
    struct scorer *s = ctx;
    for (int64_t i = 0; i < b->n; i++) {
        int64_t number = b->first + i;
        coding_decode_text(s->coding, b->sample + i * b->channels * b->width, b->width,
                           s->text);
        int64_t row = lookup_find(s->table, s->text);
        b->score[i] = (double)NAN;
        b->status[i] = row < 0 ? REWARD_INFEASIBLE : REWARD_OK;
        if (b->status[i] != REWARD_OK)
            continue;
        float z = 0;
        if (s->noise > 0)
            rng_normal(rng_key(s->seed, RNG_QUERY, b->iteration, number, 0, 0), &z, 1);
        b->score[i] = *lookup_values(s->table, row) + s->noise * (double)z;
    }
    return 0;
}

static int traits(const struct config *c, struct reward_traits *t)
{
    t->deterministic = config_real(c, "reward.noise") == 0;
    return 0;
}

const struct reward table = {
    .name = "table",
    .help = "text: its number in reward.table; a text that is not there is infeasible",
    .units = "1",
    .traits = traits,
    .open = open_table,
    .close = close_table,
    .score = score,
};

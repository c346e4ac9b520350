/* The model is fitted when the first batch comes: many ranks open rewards, few score.
 */
#include "stages/reward/molecule.h"

#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/reward/property.h"

#include <math.h>

struct scorer {
    const struct coding *coding;
    char *text;           /* [width + 1] */
    struct lookup *table; /* until the model is fitted */
    struct property *model;
    int64_t rows;
};

static void close_scorer(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    lookup_close(s->table);
    property_free(s->model);
    mem_free(s->text);
    mem_free(s);
}

static int open_valid(const struct reward_scene *scene, void **ctx)
{
    if (scene->coding == NULL || scene->coding->kind != CODING_TEXT)
        return err_set(
            ERR_USAGE,
            "reward.name: molecule rewards score texts, and this network's samples "
            "are none (its config.json has no alphabet)");
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->coding = scene->coding;
    s->text = mem_alloc(scene->width + 1, 1);
    *ctx = s;
    return 0;
}

static int open_property(const struct reward_scene *scene, void **ctx)
{
    if (open_valid(scene, ctx) != 0)
        return -1;
    struct scorer *s = *ctx;
    s->rows = config_int(scene->config, "reward.fit_rows");
    s->table =
        lookup_open("reward.table", config_text(scene->config, "reward.table"), 1);
    if (s->table != NULL)
        return 0;
    close_scorer(s);
    *ctx = NULL;
    return -1;
}

static int fit(struct scorer *s)
{
    if (s->model != NULL)
        return 0;
    s->model = property_fit(s->table, s->rows);
    if (s->model == NULL)
        return err_add("reward.table");
    lookup_close(s->table);
    s->table = NULL;
    struct property_fit_quality q = property_quality(s->model);
    log_info(
        "molecule_property: fitted on %lld molecules, R2 %.3f; %.3f on %lld held out",
        (long long)q.rows, q.fitted, q.held_out, (long long)q.held_out_rows);
    return 0;
}

static const char *parse(struct scorer *s, const struct reward_batch *b, int64_t i,
                         struct molecule *m)
{
    coding_decode_text(s->coding, b->sample + i * b->channels * b->width, b->width,
                       s->text);
    return smiles_parse(s->text, m);
}

static int score_valid(void *ctx, const struct reward_batch *b)
{
    struct molecule m;
    for (int64_t i = 0; i < b->n; i++) {
        b->score[i] = parse(ctx, b, i, &m) == NULL ? 1 : 0;
        b->status[i] = REWARD_OK;
    }
    return 0;
}

static int score_property(void *ctx, const struct reward_batch *b)
{
    struct scorer *s = ctx;
    struct molecule m;
    if (fit(s) != 0)
        return -1;
    for (int64_t i = 0; i < b->n; i++) {
        bool valid = parse(s, b, i, &m) == NULL;
        b->score[i] = valid ? property_of(s->model, &m) : (double)NAN;
        b->status[i] = valid ? REWARD_OK : REWARD_INFEASIBLE;
    }
    return 0;
}

const struct reward molecule_valid = {
    .name = "molecule_valid",
    .help = "text: 1 where it is a molecule's SMILES string, else 0",
    .units = "1",
    .deterministic = 1,
    .open = open_valid,
    .close = close_scorer,
    .score = score_valid,
};

const struct reward molecule_property = {
    .name = "molecule_property",
    .help = "text: a molecule's property by a linear model of reward.table; a text "
            "that is no "
            "molecule is infeasible",
    .units = "1",
    .deterministic = 1,
    .open = open_property,
    .close = close_scorer,
    .score = score_property,
};

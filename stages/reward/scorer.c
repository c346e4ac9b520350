/* Scorers. */
#include "stages/reward/scorer.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/reward/memory.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

struct component {
    struct scorer_part p;
    const struct config *config; /* the whole, or the component's view of it */
    struct reward own;           /* what p.reward points to: settled */
    double infeasible; /* what an infeasible sample's score counts as; NaN: nothing */
    void *ctx;
    struct memory *memory; /* NULL: nothing is kept */
};

struct scorer {
    int64_t parts, element; /* element: numbers of a sample */
    int64_t retries;
    bool mixes;
    struct component *part;
};

const struct reward mixture = {
    .name = "mixture",
    .help = "the weighted sum of the rewards under `components`",
    .units = "1",
};

/* Index of the component of this name, or -1. */
static int64_t find_part(const struct config *c, const char *wanted)
{
    for (int64_t i = 0; i < config_parts(c); i++) {
        const char *name;
        config_part(c, i, &name);
        if (strcmp(name, wanted) == 0)
            return i;
    }
    return -1;
}

/* Of what takes part in a mixture: reward files have columns reward_NAME. */
static int check_name(const char *name)
{
    static const char *const taken[] = {"guard", "gradient", "mixture"};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(name, taken[i]) == 0)
            return err_set(ERR_USAGE, "components.%s: this name has another meaning in reward "
                                      "files: choose another", name);
    return 0;
}

/* A component says what it is, and nothing that has no effect. */
static int check_keys(const struct config *view, const char *name)
{
    static const char *const common[] = {"reward.guard", "reward.mixing", "reward.retries",
                                         "reward.on_failure", "reward.max_failed_fraction",
                                         "reward.cache", "reward.budget", "reward.grace"};
    for (size_t i = 0; i < sizeof common / sizeof *common; i++)
        if (config_part_sets(view, common[i]))
            return err_set(ERR_USAGE, "components.%s: %s belongs to the run, not to a "
                                      "component: set it in the section reward",
                           name, common[i]);
    if (!config_part_sets(view, "reward.name"))
        return err_set(ERR_USAGE, "components.%s: name is missing: the reward that it asks",
                       name);
    return 0;
}

static int set_part(struct component *k, const struct config *whole,
                    const struct config *view, const char *name, const char *reward)
{
    k->config = view;
    if (view != whole && check_keys(view, name) != 0)
        return -1;
    const struct reward *r = reward_find(reward);
    k->p = (struct scorer_part){.name = name,
                                .reward = &k->own,
                                .weight = config_real(view, "reward.weight"),
                                .offset = config_real(view, "reward.offset"),
                                .scale = config_real(view, "reward.scale")};
    k->infeasible = config_is(view, "reward.infeasible_score", "none")
                        ? (double)NAN
                        : config_real(view, "reward.infeasible_score");
    const char *section = view == whole ? "" : "components.";
    if (r == NULL) /* of the whole: whoever asked says which key it was */
        return view == whole ? -1 : err_add("%s%s", section, name);
    if (r == &mixture)
        return err_set(ERR_USAGE, "%s%s: names mixture, and takes one of the other rewards",
                       section, name);
    return reward_settle(r, view, &k->own) == 0 ? 0 : err_add("%s%s", section, name);
}

/* One component or reward as it says it, whatever its weight elsewhere. */
static int64_t list_named(const struct config *c, const char *wanted, struct component *k)
{
    const char *name = wanted;
    int64_t at = find_part(c, wanted);
    const struct config *view = at >= 0 ? config_part(c, at, &name) : c;
    const char *reward = at >= 0 ? config_text(view, "reward.name") : wanted;
    if (set_part(k, c, view, name, reward) != 0)
        return -1;
    if (at < 0)
        k->p.name = k->p.reward->name;
    k->p.weight = k->p.scale = 1;
    k->p.offset = 0;
    k->infeasible = NAN;
    return 1;
}

/* All components but the guard. */
static int64_t list_mixture(const struct config *c, struct component *k)
{
    const int64_t guard = find_part(c, config_text(c, "reward.guard"));
    const char *name;
    int64_t n = 0;
    bool counts = false;
    if (config_is(c, "reward.guard", mixture.name))
        return err_set(ERR_USAGE, "reward.guard: mixture is the reward itself: name a "
                                  "component or another reward");
    for (int64_t i = 0; i < config_parts(c); i++) {
        const struct config *view = config_part(c, i, &name);
        if (i == guard)
            continue;
        if (check_name(name) != 0 ||
            set_part(&k[n], c, view, name, config_text(view, "reward.name")) != 0)
            return -1;
        counts |= k[n++].p.weight != 0;
    }
    if (counts)
        return n;
    return err_set(ERR_USAGE, "reward.name: mixture needs components with a weight: name them "
                              "under `components`, as in components.size.name="
                              "jpeg_compressibility");
}

/* What a name stands for, up to CONFIG_PARTS_MAX components; their number, or -1. */
static int64_t list_parts(const struct config *c, const char *name, struct component *k)
{
    const char *run = config_text(c, "reward.name");
    if (strcmp(name != NULL ? name : run, mixture.name) == 0)
        return list_mixture(c, k);
    if (name != NULL)
        return list_named(c, name, k);
    const struct reward *r = reward_find(run);
    if (r == NULL)
        return err_add("reward.name");
    if (config_parts(c) > (find_part(c, config_text(c, "reward.guard")) >= 0))
        return err_set(ERR_USAGE, "components: reward.name is %s, so they would not be asked: "
                                  "set reward.name=mixture",
                       r->name);
    if (config_real(c, "reward.weight") == 0)
        return err_set(ERR_USAGE, "reward.weight: 0 leaves nothing to learn from");
    return set_part(k, c, c, r->name, r->name) == 0 ? 1 : -1;
}

static void close_scorer(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    for (int64_t k = 0; k < s->parts; k++) {
        memory_close(s->part[k].memory);
        if (s->part[k].p.reward->close != NULL)
            s->part[k].p.reward->close(s->part[k].ctx);
    }
    mem_free(s->part);
    mem_free(s);
}

static int open_part(struct component *k, const struct reward_scene *scene)
{
    const struct reward *r = k->p.reward;
    struct reward_scene own = *scene;
    own.config = k->config;
    own.name = k->p.name;
    if (r->open != NULL && r->open(&own, &k->ctx) != 0)
        return -1;
    if (r->remote && own.memory != NULL)
        k->memory = memory_open(own.memory, r, k->ctx, &own, k->own.deterministic);
    return 0;
}

static int open_scorer(const struct reward_scene *scene, void **ctx)
{
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->part = mem_alloc(CONFIG_PARTS_MAX, sizeof *s->part);
    s->element = scene->channels * scene->height * scene->width;
    s->retries = config_int(scene->config, "reward.retries");
    int64_t n = list_parts(scene->config, scene->name, s->part);
    int rc = n < 0 ? -1 : 0;
    s->mixes = strcmp(scene->name != NULL ? scene->name
                                          : config_text(scene->config, "reward.name"),
                      mixture.name) == 0;
    for (; s->parts < n && rc == 0; s->parts++) {
        rc = open_part(&s->part[s->parts], scene);
        if (rc != 0)
            err_add("%s%s", s->mixes ? "components." : "reward ",
                    s->part[s->parts].p.name);
    }
    if (rc != 0) {
        close_scorer(s);
        return -1;
    }
    *ctx = s;
    return 0;
}

static bool lost(const struct component *k, const struct reward_part *p, int64_t i)
{
    bool counts = p->status[i] == REWARD_OK ||
                  (p->status[i] == REWARD_INFEASIBLE && isfinite(k->infeasible));
    return k->p.weight != 0 && !counts;
}

/* A score that is no number is a status; lost samples have gradient 0. */
static void clean(const struct reward_batch *b, int64_t element)
{
    for (int64_t i = 0; i < b->n; i++) {
        float worst = 0;
        if (b->skip != NULL && b->skip[i])
            continue;
        for (int64_t j = 0; b->gradient != NULL && j < element; j++)
            worst += b->gradient[i * element + j] * 0.0f; /* NaN from infinity and NaN */
        if (b->status[i] == REWARD_OK && (!isfinite(b->score[i]) || worst != 0))
            b->status[i] = REWARD_NON_FINITE;
        if (b->status[i] == REWARD_OK)
            continue;
        b->score[i] = NAN;
        if (b->gradient != NULL)
            memset(b->gradient + i * element, 0, (size_t)element * sizeof *b->gradient);
    }
}

/* A reward that is not remote scores all: what is to be left as it is comes back. */
static int ask_local(const struct scorer *s, struct component *k, const struct reward_batch *b)
{
    const int64_t d = s->element;
    struct reward_batch all = *b;
    all.score = mem_alloc(b->n, sizeof *all.score);
    all.status = mem_alloc(b->n, 1);
    all.gradient = b->gradient != NULL ? mem_alloc(b->n * d, sizeof *all.gradient) : NULL;
    int rc = k->p.reward->score(k->ctx, &all);
    for (int64_t i = 0; i < b->n; i++) {
        if (b->skip[i])
            continue;
        b->score[i] = all.score[i];
        b->status[i] = all.status[i];
        if (b->gradient != NULL)
            memcpy(b->gradient + i * d, all.gradient + i * d, (size_t)d * sizeof *b->gradient);
    }
    mem_free(all.score);
    mem_free(all.status);
    mem_free(all.gradient);
    return rc;
}

static int ask(const struct scorer *s, struct component *k, const struct reward_batch *b)
{
    if (k->memory != NULL && b->gradient == NULL)
        return memory_score(k->memory, b);
    if (!k->p.reward->remote && memchr(b->skip, 1, (size_t)b->n) != NULL)
        return ask_local(s, k, b);
    return k->p.reward->score(k->ctx, b);
}

/* One component's scores, with retries. skip [n] is scratch that says what not to ask. */
static int score_part(const struct scorer *s, struct component *k,
                      const struct reward_batch *b, uint8_t *skip)
{
    int rc = 0;
    for (int64_t i = 0; i < b->n; i++) {
        if (skip[i])
            continue;
        b->score[i] = NAN; /* what a reward leaves out is no score of 0 */
        b->status[i] = REWARD_FAILED;
    }
    for (int64_t again = 0; again <= s->retries && rc == 0; again++) {
        int64_t wanted = 0;
        for (int64_t i = 0; i < b->n; i++) {
            bool failed = b->status[i] == REWARD_FAILED || b->status[i] == REWARD_TIMED_OUT;
            skip[i] |= again > 0 && !failed;
            wanted += !skip[i];
        }
        if (wanted == 0)
            break;
        rc = ask(s, k, b);
        if (rc == 0)
            clean(b, s->element);
    }
    return rc == 0 ? 0 : err_add("reward %s", k->p.name);
}

/* Adds a component to the whole's scores. first: it is the first that counts. */
static void add(const struct scorer *s, const struct component *k,
                const struct reward_batch *whole, const struct reward_part *p,
                const float *gradient, bool first)
{
    const double w = k->p.weight;
    for (int64_t i = 0; i < whole->n; i++) {
        if (whole->skip != NULL && whole->skip[i])
            continue;
        const bool priced = p->status[i] == REWARD_INFEASIBLE && isfinite(k->infeasible);
        double v = w * ((priced ? k->infeasible : p->score[i]) - k->p.offset) / k->p.scale;
        if (first || whole->status[i] == REWARD_OK)
            whole->status[i] = priced ? REWARD_OK : p->status[i];
        whole->score[i] = first ? v : whole->score[i] + v;
        for (int64_t j = i * s->element; gradient != NULL && j < (i + 1) * s->element; j++) {
            float g = (float)(w / k->p.scale * (double)gradient[j]);
            whole->gradient[j] = first ? g : whole->gradient[j] + g;
        }
    }
}

static int score(void *ctx, const struct reward_batch *b)
{
    const struct scorer *s = ctx;
    const int64_t n = b->n;
    bool first = true;
    int rc = 0;
    struct reward_part *part = b->part != NULL ? b->part : scorer_parts_create(s, n);
    uint8_t *skip = mem_alloc(n, 1), *gone = mem_alloc(n, 1);
    float *gradient = b->gradient != NULL ? mem_alloc(n * s->element, sizeof *gradient) : NULL;
    for (int64_t k = 0; k < s->parts && rc == 0; k++) {
        struct component *c = &s->part[k];
        struct reward_batch one = *b;
        one.score = part[k].score;
        one.status = part[k].status;
        one.part = NULL;
        one.gradient = c->p.weight != 0 ? gradient : NULL;
        one.skip = skip;
        for (int64_t i = 0; i < n; i++) {
            skip[i] = b->skip != NULL && b->skip[i];
            if (!skip[i] && gone[i] && c->p.reward->remote) {
                one.score[i] = NAN;
                one.status[i] = REWARD_NOT_ASKED;
                skip[i] = 1;
            }
        }
        rc = score_part(s, c, &one, skip);
        for (int64_t i = 0; i < n; i++)
            gone[i] |= lost(c, &part[k], i);
        if (rc == 0 && c->p.weight != 0) {
            add(s, c, b, &part[k], one.gradient, first);
            first = false;
        }
    }
    if (rc == 0)
        clean(b, s->element);
    if (b->part == NULL)
        scorer_parts_free(part, s);
    mem_free(skip);
    mem_free(gone);
    mem_free(gradient);
    return rc;
}

int scorer_describe(const struct config *c, const char *name, struct reward *out)
{
    struct component *part = mem_alloc(CONFIG_PARTS_MAX, sizeof *part);
    int64_t n = list_parts(c, name, part);
    bool deterministic = true, differentiable = true, remote = false, own_thread = false;
    for (int64_t k = 0; k < n; k++) {
        const struct reward *r = part[k].p.reward;
        own_thread |= r->own_thread != 0;
        if (part[k].p.weight == 0 && n > 1)
            continue;
        deterministic &= r->deterministic != 0;
        differentiable &= r->differentiable != 0;
        remote |= r->remote != 0;
    }
    if (n > 0) {
        const bool mixes = strcmp(name != NULL ? name : config_text(c, "reward.name"),
                                  mixture.name) == 0;
        *out = mixes ? mixture : *part[0].p.reward;
        out->name = mixes ? mixture.name : part[0].p.name;
        out->deterministic = deterministic;
        out->differentiable = differentiable;
        out->remote = remote;
        out->own_thread = own_thread;
        out->identify = NULL;
        out->open = open_scorer;
        out->close = close_scorer;
        out->score = score;
    }
    mem_free(part);
    return n > 0 ? 0 : -1;
}

int64_t scorer_parts(const void *ctx)
{
    const struct scorer *s = ctx;
    return s == NULL ? 0 : s->parts;
}

bool scorer_mixes(const void *ctx)
{
    const struct scorer *s = ctx;
    return s != NULL && s->mixes;
}

const struct scorer_part *scorer_part(const void *ctx, int64_t k)
{
    const struct scorer *s = ctx;
    ERR_BUG_IF(k < 0 || k >= s->parts);
    return &s->part[k].p;
}

void scorer_identity(const void *ctx, char hex[DIGEST_HEX])
{
    const struct scorer *s = ctx;
    struct digest *d = digest_create();
    bool any = false;
    for (int64_t k = 0; k < s->parts; k++) {
        const struct scorer_part *p = &s->part[k].p;
        if (p->reward->identify == NULL)
            continue;
        any = true;
        digest_add_text(d, p->name);
        p->reward->identify(s->part[k].ctx, d);
    }
    digest_finish(d, hex);
    if (!any)
        hex[0] = '\0';
}

struct reward_part *scorer_parts_create(const void *ctx, int64_t n)
{
    const int64_t parts = scorer_parts(ctx);
    struct reward_part *p = mem_alloc(parts, sizeof *p);
    for (int64_t k = 0; k < parts; k++) {
        p[k].score = mem_alloc(n, sizeof *p[k].score);
        p[k].status = mem_alloc(n, 1);
        for (int64_t i = 0; i < n; i++) {
            p[k].score[i] = NAN;
            p[k].status[i] = REWARD_NOT_ASKED;
        }
    }
    return p;
}

void scorer_parts_free(struct reward_part *p, const void *ctx)
{
    for (int64_t k = 0; p != NULL && k < scorer_parts(ctx); k++) {
        mem_free(p[k].score);
        mem_free(p[k].status);
    }
    mem_free(p);
}

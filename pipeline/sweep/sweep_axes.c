/* Members from axes or a list: what the file says, not yet held against the schema. */
#include "pipeline/sweep/sweep_axes.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* One key and what it may be. */
struct axis {
    char *key;
    char **value; /* [values] */
    int64_t values, line;
    bool range, log;
    double from, to;
    int64_t points; /* of a grid over the range */
};

struct plan {
    struct sweep *s;
    const char *path;
    struct axis axis[SWEEP_KEYS];
    int axes;
};

int sweep_refuse(const char *path, int64_t line, const char *what, const char *name)
{
    return err_set(ERR_USAGE, "%s:%lld: %s: %s", path, (long long)line, name, what);
}

char *sweep_text(const char *path, const struct config_node *n, const char *key)
{
    struct text t = {0};
    if (n->kind == CONFIG_NODE_TEXT)
        return mem_text(n->text);
    text_add(&t, "[");
    for (int64_t i = 0; i < n->children; i++) {
        if (n->kind == CONFIG_NODE_MAP || n->child[i].kind != CONFIG_NODE_TEXT) {
            text_free(&t);
            sweep_refuse(path, n->line,
                         "a value must be a word, a number or a list of numbers", key);
            return NULL;
        }
        text_add(&t, "%s%s", i > 0 ? ", " : "", n->child[i].text);
    }
    text_add(&t, "]");
    return t.s;
}

static int take_range(struct plan *p, struct axis *a, const struct config_node *n)
{
    static const char *const names[] = {"from", "to", "points", "scale"};
    const struct config_node *v[4];
    int64_t known = 0;
    for (int k = 0; k < 4; k++) {
        v[k] = config_tree_get(n, names[k]);
        known += v[k] != NULL;
        if (v[k] != NULL && v[k]->kind != CONFIG_NODE_TEXT)
            return sweep_refuse(p->path, v[k]->line, "a number is expected", names[k]);
    }
    if (known != n->children)
        return sweep_refuse(p->path, n->line, "a range has from, to, points, scale",
                            a->key);
    a->range = true;
    a->log = v[3] != NULL && strcmp(v[3]->text, "log") == 0;
    if (v[0] == NULL || v[1] == NULL || !text_to_f64(v[0]->text, &a->from) ||
        !text_to_f64(v[1]->text, &a->to) || !isfinite(a->from) || !isfinite(a->to) ||
        a->from >= a->to)
        return sweep_refuse(p->path, n->line, "a range needs numbers: from < to",
                            a->key);
    if (v[3] != NULL && !a->log && strcmp(v[3]->text, "linear") != 0)
        return sweep_refuse(p->path, v[3]->line, "scale is linear or log", a->key);
    if (a->log && a->from <= 0)
        return sweep_refuse(p->path, n->line, "scale: log needs from > 0", a->key);
    if (v[2] != NULL && (!text_to_i64(v[2]->text, &a->points) || a->points < 2 ||
                         a->points > SWEEP_MEMBERS))
        return sweep_refuse(p->path, v[2]->line, "points is a whole number from 2 on",
                            a->key);
    return 0;
}

static int take_values(struct plan *p, struct axis *a, const struct config_node *n)
{
    bool list = n->kind == CONFIG_NODE_LIST;
    a->values = list ? n->children : 1;
    if (a->values == 0)
        return sweep_refuse(p->path, n->line, "the axis has no values", a->key);
    a->value = mem_alloc(a->values, sizeof *a->value);
    for (int64_t i = 0; i < a->values; i++)
        if ((a->value[i] = sweep_text(p->path, list ? &n->child[i] : n, a->key)) ==
            NULL)
            return -1;
    return 0;
}

/* section.key: [..], or section: {key: [..]} */
static int take_axes(struct plan *p, const struct config_node *map, const char *section)
{
    if (map->kind != CONFIG_NODE_MAP)
        return sweep_refuse(p->path, map->line,
                            "'section.key: [values]' lines must follow",
                            section != NULL ? section : "axes");
    for (int64_t i = 0; i < map->children; i++) {
        const struct config_node *n = &map->child[i];
        bool range =
            n->kind == CONFIG_NODE_MAP &&
            (config_tree_get(n, "from") != NULL || config_tree_get(n, "to") != NULL);
        char *key =
            section == NULL ? mem_text(n->name) : text_new("%s.%s", section, n->name);
        if (n->kind == CONFIG_NODE_MAP && !range) {
            int rc = take_axes(p, n, key);
            mem_free(key);
            if (rc != 0)
                return -1;
            continue;
        }
        struct axis *a = &p->axis[p->axes];
        if (p->axes == SWEEP_KEYS) {
            mem_free(key);
            return sweep_refuse(p->path, n->line, "too many axes, 64 are possible",
                                n->name);
        }
        *a = (struct axis){.key = key, .line = n->line};
        p->axes++;
        if ((range ? take_range(p, a, n) : take_values(p, a, n)) != 0)
            return -1;
    }
    return 0;
}

/* A range's value at u in [0, 1]. */
static char *point(const struct axis *a, double u)
{
    const struct config_key *k = sweep_find_key(a->key);
    double v =
        a->log ? a->from * pow(a->to / a->from, u) : a->from + (a->to - a->from) * u;
    if (k != NULL && k->type == CONFIG_INT)
        return text_new("%.0f", round(v));
    return text_new("%.6g", v);
}

static struct sweep_member *new_member(struct sweep *s)
{
    if ((s->members & (s->members - 1)) == 0) /* a power of two, or 0 */
        s->member = mem_resize(s->member, s->members,
                               s->members == 0 ? 1 : s->members * 2, sizeof *s->member);
    struct sweep_member *m = &s->member[s->members++];
    *m = (struct sweep_member){.id = ""};
    m->value = mem_alloc(s->keys, sizeof *m->value);
    return m;
}

/* Every combination; the last axis turns fastest. */
static int make_grid(struct plan *p)
{
    int64_t n = 1;
    for (int a = 0; a < p->axes; a++) {
        struct axis *x = &p->axis[a];
        if (x->range && x->points == 0)
            return sweep_refuse(p->path, x->line, "a grid needs the range's points",
                                x->key);
        int64_t size = x->range ? x->points : x->values;
        if (n > SWEEP_MEMBERS / size)
            return sweep_refuse(p->path, x->line, "more than 100000 members", x->key);
        n *= size;
    }
    for (int64_t i = 0; i < n; i++) {
        struct sweep_member *m = new_member(p->s);
        int64_t rest = i;
        for (int a = p->axes - 1; a >= 0; a--) {
            struct axis *x = &p->axis[a];
            int64_t size = x->range ? x->points : x->values, at = rest % size;
            rest /= size;
            m->value[a] = x->range ? point(x, (double)at / (double)(size - 1))
                                   : mem_text(x->value[at]);
        }
    }
    return 0;
}

/* Draw i of an axis depends on the seed, its name and i alone. */
static void make_random(struct plan *p, int64_t samples, int64_t seed)
{
    for (int64_t i = 0; i < samples; i++) {
        struct sweep_member *m = new_member(p->s);
        for (int a = 0; a < p->axes; a++) {
            struct axis *x = &p->axis[a];
            uint64_t key = rng_name_key(x->key, (uint64_t)seed);
            m->value[a] = x->range ? point(x, rng_uniform(key, i))
                                   : mem_text(x->value[rng_below(key, i, x->values)]);
        }
    }
}

static int64_t key_at(struct plan *p, const char *key)
{
    for (int64_t k = 0; k < p->s->keys; k++)
        if (strcmp(p->s->key[k], key) == 0)
            return k;
    if (p->s->keys == SWEEP_KEYS)
        return -1;
    p->s->key[p->s->keys] = mem_text(key);
    return p->s->keys++;
}

/* Entries of members: maps of section.key; pass 0 finds the keys. */
static int make_list(struct plan *p, const struct config_node *list)
{
    if (list->kind != CONFIG_NODE_LIST || list->children == 0)
        return sweep_refuse(p->path, list->line,
                            "'- {section.key: value, ...}' lines must follow",
                            "members");
    for (int pass = 0; pass < 2; pass++)
        for (int64_t i = 0; i < list->children; i++) {
            const struct config_node *n = &list->child[i];
            if (n->kind != CONFIG_NODE_MAP)
                return sweep_refuse(p->path, n->line,
                                    "a member is a map {section.key: value}",
                                    "members");
            struct sweep_member *m = pass == 1 ? new_member(p->s) : NULL;
            for (int64_t e = 0; e < n->children; e++) {
                int64_t k = key_at(p, n->child[e].name);
                if (k < 0)
                    return sweep_refuse(p->path, n->line,
                                        "too many keys, 64 are possible", "members");
                if (m != NULL && (m->value[k] = sweep_text(p->path, &n->child[e],
                                                           p->s->key[k])) == NULL)
                    return -1;
            }
        }
    return 0;
}

static int make_members(struct plan *p, const struct config_node *root)
{
    struct sweep *s = p->s;
    const struct config_node *axes = config_tree_get(root, "axes"),
                             *list = config_tree_get(root, "members");
    int64_t samples = config_int(s->settings, "sweep.samples");
    const char *kind = config_text(s->settings, "sweep.kind");
    bool halving = strcmp(kind, "halving") == 0;
    bool listed =
        strcmp(kind, "list") == 0 || (halving && list != NULL && axes == NULL);
    s->key = mem_alloc(SWEEP_KEYS, sizeof *s->key);
    if (listed ? list == NULL || axes != NULL : axes == NULL || list != NULL)
        return err_set(ERR_USAGE, "%s: sweep.kind=%s wants the section %s, and no %s",
                       p->path, kind, listed ? "members" : "axes",
                       listed ? "axes" : "members");
    if (listed)
        return make_list(p, list);
    if (take_axes(p, axes, NULL) != 0)
        return -1;
    if (p->axes == 0)
        return sweep_refuse(p->path, axes->line, "no axis is given", "axes");
    for (int a = 0; a < p->axes; a++)
        if (key_at(p, p->axis[a].key) != a)
            return sweep_refuse(p->path, p->axis[a].line, "is given twice",
                                p->axis[a].key);
    bool drawn = strcmp(kind, "random") == 0 || (halving && samples > 0);
    if (drawn && samples == 0)
        return err_set(ERR_USAGE,
                       "%s: sweep.samples must say how many members are drawn",
                       p->path);
    if (!drawn)
        return make_grid(p);
    make_random(p, samples, config_int(s->settings, "sweep.seed"));
    return 0;
}

int sweep_make(struct sweep *s, const struct config_node *root, const char *path,
               int64_t line[SWEEP_KEYS])
{
    struct plan p = {.path = path, .s = s};
    int rc = make_members(&p, root);
    for (int a = 0; a < p.axes; a++) {
        line[a] = p.axis[a].line;
        for (int64_t i = 0; p.axis[a].value != NULL && i < p.axis[a].values; i++)
            mem_free(p.axis[a].value[i]);
        mem_free(p.axis[a].value);
        mem_free(p.axis[a].key);
    }
    return rc;
}

/* Members of a sweep: held against the schema and the base, named, freed of twins. */
#include "pipeline/sweep/sweep.h"

#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/schema.h"
#include "pipeline/sweep/sweep_axes.h"
#include "pipeline/sweep/sweep_parts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
const struct config_key sweep_settings[] = {
    {"sweep.config", CONFIG_TEXT, "", 0, 0, NULL, true, "configuration that the members change"},
    {"sweep.dir", CONFIG_TEXT, "", 0, 0, NULL, false, "folder for members and results"},
    {"sweep.kind", CONFIG_CHOICE, "grid", 0, 0, "grid|random|list|halving", true,
     "grid: all combinations of the axes; random: samples draws from them; list: members; "
     "halving: any of these, of which the best go on"},
    {"sweep.samples", CONFIG_INT, "0", 0, SWEEP_MEMBERS, NULL, true,
     "random, halving: how many members are drawn; halving: 0: the grid, or members"},
    {"sweep.seed", CONFIG_INT, "0", 0, 9007199254740992.0, NULL, true, "random: key of the draws"},
    {"sweep.eta", CONFIG_INT, "3", 2, 1000, NULL, true,
     "halving: one in so many goes on, with so many times the iterations"},
    {"sweep.min_iterations", CONFIG_INT, "2", 1, 1e9, NULL, true,
     "halving: least iterations of the first rung; the last one has run.iterations"},
    {"sweep.metric", CONFIG_CHOICE, "reward_mean", 0, 0, "reward_mean|guard_mean", true,
     "what makes a member better"},
    {"sweep.ranks", CONFIG_INT, "1", 1, 100000, NULL, false, "MPI ranks of a member"},
    {"sweep.at_once", CONFIG_INT, "auto", 1, 100000, "auto", false,
     "members that run at a time; auto: as many as the cores (several nodes: tasks) carry, and "
     "up to three per core where members of one thread leave cores idle"},
    {"sweep.launch", CONFIG_TEXT, "auto", 0, 0, NULL, false,
     "words before a member's program; auto: none for one rank on one node, else --launcher with "
     "the member's ranks: srun inside a Slurm job, mpirun elsewhere; none"},
    {"sweep.array_tasks", CONFIG_INT, "auto", 1, SWEEP_MEMBERS, "auto", false,
     "--array: tasks of the array; auto: ten members each, below the site's MaxArraySize"},
    {"sweep.array_at_once", CONFIG_INT, "0", 0, SWEEP_MEMBERS, NULL, false,
     "--array: tasks that Slurm runs at a time; 0: no limit"},
    {.key = NULL},
};
/* clang-format on */

const struct config_key *sweep_find_key(const char *key)
{
    for (const struct config_key *k = schema; k->key != NULL; k++)
        if (strcmp(k->key, key) == 0)
            return k;
    return NULL;
}

struct plan {
    struct sweep *s;
    const char *path;
    int64_t line[SWEEP_KEYS]; /* of the keys' axes */
};

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The name: a digest of the parameters and the run's seed. */
static void name_member(const struct sweep *s, struct sweep_member *m)
{
    char *line[SWEEP_KEYS + 1], hex[DIGEST_HEX];
    int64_t n = 0;
    struct digest *d = digest_create();
    for (int64_t k = 0; k < s->keys; k++)
        if (m->value[k] != NULL && strcmp(s->key[k], "run.seed") != 0)
            line[n++] = text_new("%s=%s", s->key[k], m->value[k]);
    line[n++] = text_new("run.seed=%lld", (long long)m->seed);
    qsort(line, (size_t)n, sizeof *line, by_text);
    for (int64_t i = 0; i < n; i++) {
        digest_add_text(d, line[i]);
        mem_free(line[i]);
    }
    digest_finish(d, hex);
    snprintf(m->id, sizeof m->id, "%.*s", SWEEP_ID, hex);
}

/* The member's values in a configuration, which settles their spelling. */
static int assign(const struct plan *p, struct sweep_member *m, struct config *c)
{
    const struct sweep *s = p->s;
    for (int64_t k = 0; k < s->keys; k++) {
        if (m->value[k] == NULL)
            continue;
        if (strcmp(s->key[k], "run.dir") == 0 ||
            strcmp(s->key[k], "run.max_walltime") == 0)
            return err_set(ERR_USAGE, "%s: %s is the sweep's own and no axis", p->path,
                           s->key[k]);
        char *word = text_new("%s=%s", s->key[k], m->value[k]), where[400];
        snprintf(where, sizeof where, "%s", p->path);
        if (p->line[k] > 0)
            snprintf(where, sizeof where, "%s:%lld", p->path, (long long)p->line[k]);
        int rc = config_assign(c, word, where);
        mem_free(word);
        if (rc != 0)
            return -1;
        if (sweep_find_key(s->key[k]) != NULL) {
            mem_free(m->value[k]);
            m->value[k] = mem_text(config_text(c, s->key[k]));
        }
    }
    return 0;
}

/* A member's folder may hold a run of an earlier state of the sweep's base. */
static int check_old(const struct sweep_member *m, const struct config *c)
{
    char *path = text_new("%s/run/config.yaml", m->dir);
    int rc = 0;
    if (file_exists(path)) {
        struct config *old = config_create(schema);
        rc = config_read(old, path);
        const char *key = rc == 0 ? config_difference(old, c) : NULL;
        if (key != NULL)
            rc = err_set(ERR_USAGE,
                         "%s: this member was run with another %s; choose another "
                         "sweep.dir, or restore the value",
                         path, key);
        config_destroy(old);
    }
    mem_free(path);
    return rc;
}

static int settle_member(const struct plan *p, struct sweep_member *m)
{
    const struct sweep *s = p->s;
    struct config *c = config_create(schema);
    int rc = config_read(c, s->base);
    for (int64_t i = 0; i < s->overrides && rc == 0; i++)
        rc = config_override(c, s->override[i]);
    if (rc == 0)
        rc = assign(p, m, c);
    if (rc == 0 && config_is(c, "groups.threads", "auto"))
        rc = config_assign(c, "groups.threads=1", p->path);
    if (rc == 0) {
        m->seed = config_int(c, "run.seed");
        m->iterations = config_int(c, "run.iterations");
        m->threads = config_int(c, "groups.threads");
        name_member(s, m);
        m->dir = text_new("%s/members/%s", s->dir, m->id);
        rc = check_old(m, c);
    }
    config_destroy(c);
    return rc;
}

static int by_id(const void *a, const void *b)
{
    const struct sweep_member *x = *(struct sweep_member *const *)a,
                              *y = *(struct sweep_member *const *)b;
    int c = strcmp(x->id, y->id);
    return c != 0 ? c : x < y ? -1 : x > y;
}

void sweep_free_member(const struct sweep *s, struct sweep_member *m)
{
    for (int64_t k = 0; k < s->keys; k++)
        mem_free(m->value[k]);
    mem_free(m->value);
    mem_free(m->dir);
    *m = (struct sweep_member){.id = ""};
}

/* Keeps the first of equal members. */
static void drop_twins(struct sweep *s)
{
    struct sweep_member **order = mem_alloc(s->members, sizeof *order);
    int64_t kept = 0;
    for (int64_t i = 0; i < s->members; i++)
        order[i] = &s->member[i];
    qsort(order, (size_t)s->members, sizeof *order, by_id);
    for (int64_t i = s->members - 1; i > 0; i--)
        if (strcmp(order[i]->id, order[i - 1]->id) == 0)
            sweep_free_member(s, order[i]);
    mem_free(order);
    for (int64_t i = 0; i < s->members; i++)
        if (s->member[i].value != NULL)
            s->member[kept++] = s->member[i];
    s->twins = s->members - kept;
    s->members = kept;
}

/* As many rungs as members and iterations allow. */
static int make_rungs(const struct plan *p)
{
    struct sweep *s = p->s;
    int64_t eta = config_int(s->settings, "sweep.eta"), divisor = 1,
            least = config_int(s->settings, "sweep.min_iterations"),
            last = s->member[0].iterations, n = 1;
    if (!config_is(s->settings, "sweep.kind", "halving"))
        return 0;
    for (int64_t k = 0; k < s->keys; k++)
        if (strcmp(s->key[k], "run.iterations") == 0)
            return err_set(ERR_USAGE, "%s: halving sets run.iterations itself",
                           p->path);
    for (int64_t f = eta; n < SWEEP_RUNGS && f <= s->members && last / f >= least;
         f *= eta)
        n++;
    s->rungs = n;
    for (int64_t k = 0; k < n; k++, divisor *= eta) {
        s->count[k] = s->members / divisor;
        s->iterations[n - 1 - k] = last / divisor;
    }
    return 0;
}

static int take_settings(struct plan *p, const struct config_node *root)
{
    static const char *const names[] = {"sweep", "axes", "members"};
    for (int64_t i = 0; i < root->children; i++) {
        const struct config_node *n = &root->child[i];
        if (strcmp(n->name, names[0]) != 0 && strcmp(n->name, names[1]) != 0 &&
            strcmp(n->name, names[2]) != 0)
            return err_set(ERR_USAGE,
                           "%s:%lld: unknown section '%.60s'; a sweep file has "
                           "sweep, axes, members",
                           p->path, (long long)n->line, n->name);
        if (strcmp(n->name, "sweep") != 0)
            continue;
        if (n->kind != CONFIG_NODE_MAP)
            return sweep_refuse(p->path, n->line,
                                "indented 'key: value' lines must follow", "sweep");
        for (int64_t e = 0; e < n->children; e++) {
            char where[400],
                *text = sweep_text(p->path, &n->child[e], n->child[e].name);
            if (text == NULL)
                return -1;
            snprintf(where, sizeof where, "%s:%lld", p->path,
                     (long long)n->child[e].line);
            char *word = text_new("sweep.%s=%s", n->child[e].name, text);
            int rc = config_assign(p->s->settings, word, where);
            mem_free(word);
            mem_free(text);
            if (rc != 0)
                return -1;
        }
    }
    return 0;
}

static int take_words(struct plan *p, int n, char *const *words)
{
    struct sweep *s = p->s;
    s->override = mem_alloc(n + 1, sizeof *s->override);
    for (int i = 0; i < n; i++) {
        if (strncmp(words[i], "sweep.", 6) != 0)
            s->override[s->overrides++] = mem_text(words[i]);
        else if (config_override(s->settings, words[i]) != 0)
            return -1;
    }
    s->dir = mem_text(config_text(s->settings, "sweep.dir"));
    s->base = mem_text(config_text(s->settings, "sweep.config"));
    snprintf(s->metric, sizeof s->metric, "%s",
             config_text(s->settings, "sweep.metric"));
    if (s->dir[0] == '\0' || s->base[0] == '\0')
        return err_set(ERR_USAGE, "%s: sweep.%s is not set: %s", p->path,
                       s->dir[0] == '\0' ? "dir" : "config",
                       s->dir[0] == '\0'
                           ? "name the folder of the sweep"
                           : "name the configuration that members change");
    return 0;
}

struct sweep *sweep_plan(const char *path, int n, char *const *words)
{
    struct plan p = {.path = path, .s = mem_alloc(1, sizeof *p.s)};
    struct config_node *root = config_tree_read(path);
    struct sweep *s = p.s;
    *s = (struct sweep){.settings = config_create(sweep_settings)};
    int rc = root == NULL ? -1 : 0;
    if (rc == 0)
        rc = take_settings(&p, root);
    if (rc == 0)
        rc = take_words(&p, n, words);
    if (rc == 0)
        rc = sweep_make(s, root, path, p.line);
    for (int64_t i = 0; i < s->members && rc == 0; i++)
        rc = settle_member(&p, &s->member[i]);
    if (rc == 0) {
        drop_twins(s);
        rc = make_rungs(&p);
    }
    config_tree_destroy(root);
    if (rc == 0)
        return s;
    sweep_destroy(s);
    return NULL;
}

void sweep_destroy(struct sweep *s)
{
    if (s == NULL)
        return;
    for (int64_t i = 0; i < s->members; i++)
        if (s->member[i].value != NULL)
            sweep_free_member(s, &s->member[i]);
    for (int64_t k = 0; k < s->keys; k++)
        mem_free(s->key[k]);
    for (int64_t i = 0; i < s->overrides; i++)
        mem_free(s->override[i]);
    mem_free(s->member);
    mem_free(s->key);
    mem_free(s->override);
    mem_free(s->dir);
    mem_free(s->base);
    config_destroy(s->settings);
    mem_free(s);
}

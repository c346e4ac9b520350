/* Units of scoring. */
#include "pipeline/measure/score_units.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <string.h>

/* "i000004/s00017.h5": the run directory's name without the stage. */
static void name_unit(struct score_unit *u)
{
    char rel[96];
    snprintf(u->file, sizeof u->file, "%s",
             strchr(rundir_reward(rel, u->iteration, u->number), '/') + 1);
}

static struct score_unit *add(struct score_unit **unit, int64_t *n)
{
    *unit = mem_resize(*unit, *n, *n + 1, sizeof **unit);
    return &(*unit)[(*n)++];
}

/* The digits between a name's first letter and `end`; -1 where it is no such name. */
static int64_t number_in(const char *name, const char *end)
{
    char *digits = text_new("%.*s", (int)(strlen(name) - strlen(end) - 1), name + 1);
    int64_t v;
    bool good = text_to_i64(digits, &v) && v >= 0;
    mem_free(digits);
    return good ? v : -1;
}

static int add_iteration(const char *dir, int64_t iteration, struct score_unit **unit,
                         int64_t *n)
{
    char **name = NULL;
    int64_t files = 0;
    if (file_list(dir, "s", ".h5", &name, &files) != 0)
        return -1;
    for (int64_t i = 0; i < files; i++) {
        int64_t number = number_in(name[i], ".h5");
        if (number < 0)
            continue;
        struct score_unit *u = add(unit, n);
        u->iteration = iteration;
        u->number = number;
        name_unit(u);
    }
    file_list_free(name, files);
    return 0;
}

int score_units_of_run(const char *run, struct score_unit **unit, int64_t *n)
{
    char **name = NULL, *dir = rundir_path(run, "rollout");
    int64_t iterations = 0;
    *unit = NULL;
    *n = 0;
    int rc = file_list(dir, "i", "", &name, &iterations);
    for (int64_t i = 0; i < iterations && rc == 0; i++) {
        int64_t iteration = number_in(name[i], "");
        char *sub = text_new("%s/%s", dir, name[i]);
        if (iteration >= 0)
            rc = add_iteration(sub, iteration, unit, n);
        mem_free(sub);
    }
    if (rc == 0 && *n == 0)
        rc = err_set(ERR_INPUT,
                     "%s: holds no rollouts (run.keep_shards says how many "
                     "iterations keep theirs)",
                     run);
    file_list_free(name, iterations);
    mem_free(dir);
    return rc;
}

int score_units_of_given(const struct given *g, int64_t size, struct score_unit **unit,
                         int64_t *n)
{
    *unit = NULL;
    *n = 0;
    for (int64_t first = 0; first < g->n; first += size) {
        struct score_unit *u = add(unit, n);
        u->number = *n - 1;
        u->first = first;
        u->n = g->n - first < size ? g->n - first : size;
        name_unit(u);
    }
    return *n > 0 ? 0 : err_set(ERR_INPUT, "there are no samples");
}

/* A unit's samples. */
struct load {
    struct reward_rows rows;
    float *sample;
    int64_t *label, *index;
    struct shard_parent parent;
    char run_id[48], content[DIGEST_HEX];
};

/* A run's: the digest of the rollouts is in their file's head, so that samples which
 * are scored already need not be read (rows false). */
static int load_run(const struct task *t, const struct score_place *p,
                    const struct score_unit *u, bool rows, struct load *l)
{
    int64_t dim[SHARD_MAX_ND] = {0};
    rundir_rollout(l->parent.path, u->iteration, u->number);
    char *path = rundir_path(p->source, l->parent.path);
    struct shard *in = shard_open(path, SHARD_ROLLOUT);
    mem_free(path);
    if (in == NULL)
        return -1;
    snprintf(l->parent.content, DIGEST_HEX, "%s", shard_content(in));
    snprintf(l->run_id, sizeof l->run_id, "%s", shard_head(in)->run_id);
    l->rows = (struct reward_rows){.version = shard_head(in)->policy_version,
                                   .parent = &l->parent};
    if (rows)
        l->sample = shard_get(in, "final_sample", COLUMN_F32, 4,
                              (int64_t[]){-1, t->channels, t->height, t->width}, dim);
    l->rows.n = dim[0];
    if (l->sample != NULL)
        l->label = shard_get(in, "prompt_id", COLUMN_I64, 1, dim, NULL);
    if (l->label != NULL)
        l->index = shard_get(in, "sample_index", COLUMN_I64, 1, dim, NULL);
    shard_close(in);
    return !rows || l->index != NULL ? 0 : -1;
}

static int load_given(const struct score_place *p, const struct score_unit *u,
                      struct load *l)
{
    const struct given *g = p->given;
    l->sample = mem_alloc(u->n * g->d, sizeof *l->sample);
    l->label = mem_alloc(u->n, sizeof *l->label);
    l->index = mem_alloc(u->n, sizeof *l->index);
    for (int64_t i = 0; i < u->n; i++) {
        l->index[i] = u->first + i;
        l->label[i] = g->labelled ? g->dataset.label[u->first + i] : 0;
    }
    if (given_rows(g, u->first, u->n, l->sample) != 0)
        return -1;
    struct digest *d = digest_create();
    digest_add(d, l->sample, u->n * g->d * (int64_t)sizeof *l->sample);
    digest_add(d, l->label, u->n * (int64_t)sizeof *l->label);
    digest_finish(d, l->content);
    l->rows = (struct reward_rows){
        .n = u->n, .version = -1, .source = p->source, .source_content = l->content};
    return 0;
}

static bool same(const char *a, const char *b)
{
    return a != NULL && strcmp(a, b) == 0;
}

/* 1: the file is there and stands; 0: score; -1. */
static int stands(const struct task *t, const struct score_place *p,
                  const struct load *l, const char *path)
{
    if (!file_exists(path))
        return 0;
    struct shard *s = shard_open(path, SHARD_REWARD);
    if (s == NULL)
        return err_add("remove it to score these samples again");
    const struct shard_head *h = shard_head(s);
    bool source =
        p->given != NULL
            ? same(shard_attribute(s, "source_content"), l->content)
            : h->parents == 1 && same(h->parent[0].content, l->parent.content);
    bool settings = same(h->config_digest, t->config_digest) &&
                    same(shard_attribute(s, "reward_name"), t->reward->name);
    const char *said = shard_attribute(s, "scorer");
    bool scorer = same(said != NULL ? said : "", p->identity);
    int64_t failed = p->retry ? reward_unanswered(s) : 0;
    shard_close(s);
    if (failed < 0)
        return -1;
    if (source && settings && scorer)
        return failed == 0;
    return err_set(ERR_USAGE,
                   "%s: holds scores %s: name another --out, or remove it", path,
                   !source     ? "of other samples"
                   : !settings ? "of other settings"
                               : "of another service or program (address, question, "
                                 "command, or the content of a file in it)");
}

int score_unit(struct task *t, const struct score_place *p, const struct score_unit *u)
{
    char path[4096];
    struct load l = {0};
    int rc = p->given != NULL ? load_given(p, u, &l) : load_run(t, p, u, false, &l);
    int there = rc == 0 ? stands(t, p, &l, task_path(t, u->file, path)) : -1;
    if (there == 0 && p->given == NULL)
        rc = load_run(t, p, u, true, &l);
    if (there == 0 && rc == 0) {
        l.rows.identity = p->identity;
        l.rows.iteration = u->iteration;
        l.rows.number = u->number;
        l.rows.sample = l.sample;
        l.rows.label = l.label;
        l.rows.index = l.index;
        snprintf(t->run_id, sizeof t->run_id, "%s", l.run_id);
        rc = reward_rows(t, &l.rows, path);
    }
    mem_free(l.sample);
    mem_free(l.label);
    mem_free(l.index);
    return there < 0 || rc != 0 ? -1 : !there;
}

int score_unit_read(struct task *t, const struct score_unit *u, struct score_column *c)
{
    int64_t dim[SHARD_MAX_ND];
    struct shard *s = task_open(t, u->file, SHARD_REWARD);
    if (s == NULL)
        return -1;
    double *score = shard_get(s, "reward", COLUMN_F64, 1, NULL, dim);
    int64_t n = score != NULL ? dim[0] : 0;
    c->score = mem_resize(c->score, c->n, c->n + n, sizeof *c->score);
    c->status = mem_resize(c->status, c->n, c->n + n, 1);
    c->index = mem_resize(c->index, c->n, c->n + n, sizeof *c->index);
    c->unit = mem_resize(c->unit, c->n, c->n + n, sizeof *c->unit);
    int rc = score == NULL ? -1 : 0;
    for (int64_t i = 0; i < n; i++) {
        c->score[c->n + i] = score[i];
        c->unit[c->n + i] = c->units;
    }
    if (rc == 0)
        rc = shard_get_rows(s, "status", COLUMN_U8, 0, n, c->status + c->n);
    if (rc == 0)
        rc = shard_get_rows(s, "sample_index", COLUMN_I64, 0, n, c->index + c->n);
    c->n += n;
    c->units++;
    mem_free(score);
    shard_close(s);
    return rc;
}

void score_column_free(struct score_column *c)
{
    mem_free(c->score);
    mem_free(c->status);
    mem_free(c->index);
    mem_free(c->unit);
    *c = (struct score_column){0};
}

int score_units_csv(const char *path, const struct score_unit *unit, int64_t n,
                    const struct score_column *c, const char *const *name)
{
    struct text t = {0};
    text_add(&t, "iteration,shard,sample,%sscore,status\n",
             name != NULL ? "file," : "");
    for (int64_t i = 0; i < c->n; i++) {
        const struct score_unit *u = &unit[c->unit[i]];
        ERR_BUG_IF(c->unit[i] >= n);
        text_add(&t, "%lld,%lld,%lld,", (long long)u->iteration, (long long)u->number,
                 (long long)c->index[i]);
        if (name != NULL)
            text_add(&t, "%s,", name[c->index[i]]);
        if (c->status[i] == REWARD_OK)
            text_add(&t, "%.17g", c->score[i]);
        text_add(&t, ",%s\n", reward_status_name((enum reward_status)c->status[i]));
    }
    int rc = file_write(path, t.s, t.len);
    text_free(&t);
    return rc;
}

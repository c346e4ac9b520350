/* Verification. A run directory is read once into a table of heads (every file is
 * opened, its checksums and digest recomputed); the relations between files are then
 * checked in the table: names against heads, lineage, parents, completeness. */
#include "pipeline/verify.h"

#include "io/index.h"
#include "io/json.h"
#include "io/origin.h"
#include "io/rundir.h"
#include "io/safetensors.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PATH = 96, JSON_MOST = 64 << 20, DEPTH = 3 };

/* One file of a run directory. */
struct entry {
    char path[PATH];
    enum shard_kind kind;
    int64_t iteration, number; /* from the name; a policy's iteration is its version */
    bool good;                 /* its head could be read */
    struct shard_head head;    /* parents owned */
    char content[DIGEST_HEX];
};

struct table {
    const char *dir;
    struct entry *entry; /* sorted by path once it is complete */
    int64_t n, cap;
    int64_t newest; /* policy version, -1: none */
    struct origin origin;
    struct verify_report *report;
};

static void add(struct verify_report *r, bool damage, const char *path, const char *fmt,
                ...) __attribute__((format(printf, 4, 5)));
static void add(struct verify_report *r, bool damage, const char *path, const char *fmt,
                ...)
{
    char what[1024];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    bool known = false;
    for (int64_t i = 0; i < r->findings && damage && !known; i++)
        known = r->finding[i].damage && strcmp(r->finding[i].path, path) == 0;
    if (r->findings == r->cap) {
        r->finding =
            mem_resize(r->finding, r->cap, r->cap * 2 + 16, sizeof *r->finding);
        r->cap = r->cap * 2 + 16;
    }
    r->finding[r->findings++] =
        (struct verify_finding){mem_text(path), mem_text(what), damage};
    r->damaged += damage && !known;
}

void verify_free(struct verify_report *r)
{
    for (int64_t i = 0; i < r->findings; i++) {
        mem_free(r->finding[i].path);
        mem_free(r->finding[i].what);
    }
    mem_free(r->finding);
    *r = (struct verify_report){0};
}

/* Adds the pending error without the path that it begins with. */
static void add_error(struct verify_report *r, const char *path, const char *full)
{
    const char *t = err_text();
    size_t n = strlen(full);
    if (strncmp(t, full, n) == 0 && t[n] == ':')
        t += n + 1 + (t[n + 1] == ' ');
    add(r, true, path, "%s", t);
    err_clear();
}

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

/* "PREFIX123SUFFIX" -> 123. */
static bool number_of(const char *name, char prefix, const char *suffix, int64_t *out)
{
    char digits[24];
    size_t n = strlen(name), m = strlen(suffix);
    if (name[0] != prefix || n < m + 2 || n - m - 1 >= sizeof digits ||
        !ends(name, suffix))
        return false;
    snprintf(digits, sizeof digits, "%.*s", (int)(n - m - 1), name + 1);
    return digits[0] != '-' && text_to_i64(digits, out);
}

/* Kind and numbers from a path below the run directory. */
static bool parse(const char *path, struct entry *e)
{
    char first[PATH];
    const char *slash = strchr(path, '/');
    *e = (struct entry){.number = -1};
    if (slash == NULL || strlen(path) >= PATH)
        return false;
    snprintf(e->path, sizeof e->path, "%s", path);
    if (strncmp(path, "policy/", 7) == 0) {
        e->kind = SHARD_POLICY;
        return number_of(slash + 1, 'v', ".h5", &e->iteration);
    }
    if (strncmp(path, "advantage/", 10) == 0) {
        e->kind = SHARD_ADVANTAGE;
        return number_of(slash + 1, 'i', ".h5", &e->iteration);
    }
    e->kind = strncmp(path, "rollout/", 8) == 0 ? SHARD_ROLLOUT : SHARD_REWARD;
    if (e->kind == SHARD_REWARD && strncmp(path, "reward/", 7) != 0)
        return false;
    const char *second = strchr(slash + 1, '/');
    if (second == NULL)
        return false;
    snprintf(first, sizeof first, "%.*s", (int)(second - slash - 1), slash + 1);
    return number_of(first, 'i', "", &e->iteration) &&
           number_of(second + 1, 's', ".h5", &e->number);
}

static void check_name(struct table *t, const struct entry *e)
{
    const struct shard_head *h = &e->head;
    bool same = h->kind == e->kind;
    if (e->kind == SHARD_POLICY)
        same = same && h->policy_version == e->iteration;
    else
        same = same && h->iteration == e->iteration;
    if (e->kind == SHARD_ROLLOUT || e->kind == SHARD_REWARD)
        same = same && h->number == e->number;
    if (!same)
        add(t->report, true, e->path,
            "is a %s file of iteration %lld, number %lld, version %lld: not what its "
            "name "
            "says",
            shard_kind_name(h->kind), (long long)h->iteration, (long long)h->number,
            (long long)h->policy_version);
}

static void read_entry(struct table *t, const char *relative)
{
    struct entry e;
    char hex[DIGEST_HEX], *path = rundir_path(t->dir, relative);
    t->report->files++;
    if (!parse(relative, &e)) {
        add(t->report, false, relative, "is not a name that a run writes");
        t->report->files--;
        mem_free(path);
        return;
    }
    struct shard *s = shard_open(path, -1);
    if (s == NULL) {
        add_error(t->report, relative, path);
    } else {
        e.good = true;
        e.head = *shard_head(s);
        e.head.parent = mem_alloc(e.head.parents, sizeof *e.head.parent);
        memcpy(e.head.parent, shard_head(s)->parent,
               (size_t)e.head.parents * sizeof *e.head.parent);
        memcpy(e.content, shard_content(s), sizeof e.content);
        if (shard_recompute(s, hex) != 0)
            add_error(t->report, relative, path);
        else if (strcmp(hex, e.content) != 0)
            add(t->report, true, relative,
                "the values do not belong to the stored "
                "content_sha256; the file was altered");
        check_name(t, &e);
        shard_close(s);
    }
    if (t->n == t->cap) {
        t->entry = mem_resize(t->entry, t->cap, t->cap * 2 + 64, sizeof *t->entry);
        t->cap = t->cap * 2 + 64;
    }
    t->entry[t->n++] = e;
    mem_free(path);
}

/* Reads every .h5 below DIR/relative; names temporary files. */
static void read_tree(struct table *t, const char *relative, int depth)
{
    char **name, *dir = rundir_path(t->dir, relative);
    int64_t n;
    if (file_list(dir, "", "", &name, &n) != 0)
        add_error(t->report, relative, dir);
    for (int64_t i = 0; i < n; i++) {
        char *sub = rundir_path(relative, name[i]), *full = rundir_path(dir, name[i]);
        if (strstr(name[i], ".tmp.") != NULL)
            add(t->report, false, sub, "is left over from a writer that was killed");
        else if (file_is_dir(full) && depth > 0)
            read_tree(t, sub, depth - 1);
        else if (ends(name[i], ".h5"))
            read_entry(t, sub);
        mem_free(full);
        mem_free(sub);
    }
    file_list_free(name, n);
    mem_free(dir);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct entry *)a)->path, ((const struct entry *)b)->path);
}

static const struct entry *find(const struct table *t, const char *path)
{
    struct entry key;
    snprintf(key.path, sizeof key.path, "%s", path);
    return t->n == 0 ? NULL
                     : bsearch(&key, t->entry, (size_t)t->n, sizeof *t->entry, by_path);
}

/* Whether any shard of that kind and iteration is left. */
static int64_t shards_left(const struct table *t, enum shard_kind kind,
                           int64_t iteration)
{
    int64_t n = 0;
    for (int64_t i = 0; i < t->n; i++)
        n += t->entry[i].kind == kind && t->entry[i].iteration == iteration;
    return n;
}

/* Retention removes an iteration's shards of one kind together, and only once the
 * policy that was made of them exists; policies only when a newer one exists. */
static bool retained_away(const struct table *t, const struct entry *missing)
{
    if (missing->iteration >= t->newest)
        return false;
    if (missing->kind == SHARD_ROLLOUT || missing->kind == SHARD_REWARD)
        return shards_left(t, missing->kind, missing->iteration) == 0;
    return true;
}

/* In a replay: whether a file is one of the run that is replayed. */
static bool replayed(const struct table *t, const struct entry *e)
{
    return t->origin.run_id[0] != '\0' &&
           (e->kind == SHARD_ROLLOUT || e->kind == SHARD_REWARD ||
            (e->kind == SHARD_POLICY && e->iteration == 0));
}

static void check_parents(struct table *t, const struct entry *e)
{
    for (int64_t i = 0; i < e->head.parents; i++) {
        const struct shard_parent *p = &e->head.parent[i];
        struct entry named;
        const struct entry *found = find(t, p->path);
        if (replayed(t, e) && strncmp(p->path, "policy/", 7) == 0)
            continue; /* of the other run */
        if (found != NULL && found->good && strcmp(found->content, p->content) != 0)
            add(t->report, true, e->path,
                "was made from another %s than the one that is there now (digest "
                "%.12s, "
                "now %.12s)",
                p->path, p->content, found->content);
        else if (found == NULL && !parse(p->path, &named))
            add(t->report, true, e->path, "names the parent '%s', which no run writes",
                p->path);
        else if (found == NULL && !retained_away(t, &named))
            add(t->report, true, e->path, "its parent %s is missing", p->path);
    }
}

static bool has_parent(const struct entry *e, const char *path)
{
    for (int64_t i = 0; i < e->head.parents; i++)
        if (strcmp(e->head.parent[i].path, path) == 0)
            return true;
    return false;
}

static void check_lineage(struct table *t, const struct entry *e,
                          const struct entry *first)
{
    char need[PATH];
    if (replayed(t, e)) {
        if (strcmp(e->head.run_id, t->origin.source_run_id) != 0 ||
            strcmp(e->head.config_digest, t->origin.source_digest) != 0)
            add(t->report, true, e->path,
                "belongs to the run '%s', the replayed one is '%s' (replay.json)",
                e->head.run_id, t->origin.source_run_id);
        return;
    }
    if (strcmp(e->head.run_id, first->head.run_id) != 0)
        add(t->report, true, e->path, "belongs to the run '%s', %s to '%s'",
            e->head.run_id, first->path, first->head.run_id);
    if (strcmp(e->head.config_digest, first->head.config_digest) != 0)
        add(t->report, true, e->path,
            "was made with another configuration than %s (digests %.12s, %.12s)",
            first->path, e->head.config_digest, first->head.config_digest);
    if (e->kind != SHARD_POLICY || e->iteration == 0)
        return;
    if (!has_parent(e, rundir_policy(need, e->iteration - 1)))
        add(t->report, true, e->path, "does not name %s as its parent", need);
    if (!has_parent(e, rundir_advantage(need, e->iteration - 1)))
        add(t->report, true, e->path, "does not name %s as its parent", need);
}

/* Says once that a file is missing, however many others need it. */
static void missing(struct table *t, const char *path, const struct entry *needed_by)
{
    const struct verify_report *r = t->report;
    for (int64_t i = 0; i < r->findings; i++)
        if (r->finding[i].damage && strcmp(r->finding[i].path, path) == 0)
            return;
    add(t->report, true, path, "is missing although %s is there", needed_by->path);
}

/* An iteration that the newest policy was made after: reward k for rollout k, none
 * missing in between, and its advantage file. */
static void check_complete(struct table *t, const struct entry *e)
{
    char other[PATH];
    bool rollout = e->kind == SHARD_ROLLOUT;
    enum shard_kind pair = rollout ? SHARD_REWARD : SHARD_ROLLOUT;
    if ((!rollout && e->kind != SHARD_REWARD) || e->iteration >= t->newest)
        return;
    if (rollout)
        rundir_reward(other, e->iteration, e->number);
    else
        rundir_rollout(other, e->iteration, e->number);
    bool pair_kept = rollout || shards_left(t, pair, e->iteration) > 0;
    if (pair_kept && find(t, other) == NULL)
        missing(t, other, e);
    if (e->number > 0) {
        if (rollout)
            rundir_rollout(other, e->iteration, e->number - 1);
        else
            rundir_reward(other, e->iteration, e->number - 1);
        if (find(t, other) == NULL)
            missing(t, other, e);
    } else if (find(t, rundir_advantage(other, e->iteration)) == NULL) {
        missing(t, other, e);
    }
}

static void check_index(struct table *t)
{
    struct text problems = {0};
    int64_t bad = 0;
    char *path = rundir_path(t->dir, "index.h5");
    if (file_exists(path))
        t->report->files++;
    if (index_check(t->dir, &problems, &bad) != 0)
        add_error(t->report, "index.h5", path);
    for (char *line = problems.s, *end; line != NULL && *line != '\0'; line = end + 1) {
        end = strchr(line, '\n');
        *end = '\0';
        add(t->report, true, "index.h5", "%s", line);
    }
    text_free(&problems);
    mem_free(path);
}

static void verify_run(const char *dir, struct verify_report *r)
{
    static const char *const sub[] = {"policy", "rollout", "reward", "advantage"};
    struct table t = {.dir = dir, .newest = -1, .report = r};
    if (origin_read(dir, &t.origin) != 0)
        add(r, true, "replay.json", "%s", err_text());
    char **name;
    int64_t n;
    const struct entry *first = NULL;
    if (file_list(dir, "", "", &name, &n) == 0)
        for (int64_t i = 0; i < n; i++)
            if (strstr(name[i], ".tmp.") != NULL)
                add(r, false, name[i], "is left over from a writer that was killed");
    file_list_free(name, n);
    for (size_t i = 0; i < sizeof sub / sizeof *sub; i++)
        read_tree(&t, sub[i], 1);
    if (t.n > 1)
        qsort(t.entry, (size_t)t.n, sizeof *t.entry, by_path);
    for (int64_t i = 0; i < t.n; i++) {
        const struct entry *e = &t.entry[i];
        if (e->kind == SHARD_POLICY && e->iteration > t.newest)
            t.newest = e->iteration;
        if (e->good && !replayed(&t, e) &&
            (first == NULL || (first->kind != SHARD_POLICY && e->kind == SHARD_POLICY)))
            first = e;
    }
    for (int64_t i = 0; i < t.n; i++) {
        const struct entry *e = &t.entry[i];
        check_complete(&t, e);
        if (!e->good)
            continue;
        check_lineage(&t, e, first);
        check_parents(&t, e);
    }
    check_index(&t);
    for (int64_t i = 0; i < t.n; i++)
        mem_free(t.entry[i].good ? t.entry[i].head.parent : NULL);
    mem_free(t.entry);
}

/* A single file by its suffix; false when it is of no kind that is checked. */
static bool verify_file(const char *path, const char *label, struct verify_report *r)
{
    int rc = 0;
    if (ends(path, ".safetensors")) {
        struct st_file *f = st_open(path);
        rc = f == NULL ? -1 : 0;
        st_close(f);
    } else if (ends(path, ".json")) {
        struct json *j = json_read(path, JSON_MOST);
        rc = j == NULL ? -1 : 0;
        json_free(j);
    } else if (ends(path, ".h5")) {
        rc = shard_verify(path);
    } else {
        return false;
    }
    r->files++;
    if (rc != 0)
        add_error(r, label, path);
    return true;
}

static void verify_folder(const char *dir, const char *label, int depth,
                          struct verify_report *r)
{
    char **name;
    int64_t n;
    if (file_list(dir, "", "", &name, &n) != 0)
        add_error(r, label, dir);
    for (int64_t i = 0; i < n; i++) {
        char *full = rundir_path(dir, name[i]);
        char *sub = label[0] == '\0' ? mem_text(name[i]) : rundir_path(label, name[i]);
        if (strstr(name[i], ".tmp.") != NULL)
            add(r, false, sub, "is left over from a writer that was killed");
        else if (!file_is_dir(full))
            verify_file(full, sub, r);
        else if (depth > 0)
            verify_folder(full, sub, depth - 1, r);
        mem_free(full);
        mem_free(sub);
    }
    file_list_free(name, n);
}

bool verify_is_run(const char *path)
{
    char *a = rundir_path(path, "policy"), *b = rundir_path(path, "rollout");
    bool yes = file_is_dir(a) && file_is_dir(b);
    mem_free(a);
    mem_free(b);
    return yes;
}

int verify_path(const char *path, struct verify_report *report)
{
    if (!file_exists(path))
        return err_set(ERR_INPUT, "%s: does not exist", path);
    if (verify_is_run(path))
        verify_run(path, report);
    else if (file_is_dir(path))
        verify_folder(path, "", DEPTH, report);
    else if (!verify_file(path, path, report))
        return err_set(ERR_INPUT,
                       "%s: only .h5, .safetensors and .json files can be "
                       "verified",
                       path);
    if (report->files == 0 && report->damaged == 0 && !verify_is_run(path))
        return err_set(ERR_INPUT, "%s: holds neither a run nor a model", path);
    return 0;
}

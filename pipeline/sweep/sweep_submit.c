/* A sweep in the queue: one job whose ranks the members share, or a throttled array of
 * few tasks with many members each, below the limit that sites set on the size of
 * arrays. The job reads copies of the sweep file and of the base configuration. */
#include "pipeline/sweep/sweep_submit.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/child.h"
#include "pipeline/plan/plan_memory.h"
#include "pipeline/schema.h"
#include "pipeline/submit/submit.h"
#include "pipeline/sweep/sweep_parts.h"
#include "pipeline/sweep/sweep_places.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { EACH = 10, MAX_ARRAY = 1001, TRIED = 8, SWEEP_FILE = 1 << 24 };

/* The site's MaxArraySize; Slurm's default where it cannot be asked. */
static int64_t max_array(void)
{
    static char scontrol[] = "scontrol", show[] = "show", what[] = "config";
    static const char name[] = "MaxArraySize";
    char *const argv[] = {scontrol, show, what, NULL};
    const struct text nothing = {0};
    struct text said = {0};
    int64_t n = MAX_ARRAY;
    const char *p = child_filter(argv, &nothing, &said) ? strstr(said.s, name) : NULL;
    if (p != NULL && (p = strchr(p, '=')) != NULL) {
        p += strspn(p, "= ");
        char *digits = text_new("%.*s", (int)strspn(p, "0123456789"), p);
        if (!text_to_i64(digits, &n) || n < 2)
            n = MAX_ARRAY;
        mem_free(digits);
    }
    text_free(&said);
    return n;
}

static int count_tasks(const struct sweep *s, bool ask, int64_t *tasks)
{
    const int64_t most = ask ? max_array() : MAX_ARRAY;
    const bool automatic = config_is(s->settings, "sweep.array_tasks", "auto");
    *tasks = automatic ? (s->members + EACH - 1) / EACH
                       : config_int(s->settings, "sweep.array_tasks");
    if (automatic && *tasks > most)
        *tasks = most;
    if (*tasks > s->members)
        *tasks = s->members;
    return *tasks <= most
               ? 0
               : err_set(ERR_USAGE,
                         "sweep.array_tasks = %lld: the site's arrays have at most "
                         "%lld tasks (MaxArraySize)",
                         (long long)*tasks, (long long)most);
}

static bool part_is_done(const struct sweep *s, int64_t part, int64_t parts)
{
    for (int64_t i = part; i < s->members; i += parts)
        if (!sweep_is_done(&s->member[i], s->member[i].iterations))
            return false;
    return true;
}

/* "0-3,7%2": tasks with members that are not finished; empty where all are. */
static void list_tasks(const struct sweep *s, int64_t tasks, struct text *out)
{
    int64_t at_once = config_int(s->settings, "sweep.array_at_once");
    for (int64_t a = 0; a < tasks; a++) {
        int64_t b = a;
        if (part_is_done(s, a, tasks))
            continue;
        while (b + 1 < tasks && !part_is_done(s, b + 1, tasks))
            b++;
        text_add(out, "%s%lld", out->len > 0 ? "," : "", (long long)a);
        if (b > a)
            text_add(out, "-%lld", (long long)b);
        a = b;
    }
    if (at_once > 0 && out->len > 0)
        text_add(out, "%%%lld", (long long)at_once);
}

static struct config *configure(const struct sweep *s, const struct sweep_member *m)
{
    struct config *c = config_create(schema);
    int rc = config_read(c, s->base);
    for (int64_t i = 0; i < s->overrides && rc == 0; i++)
        rc = config_override(c, s->override[i]);
    for (int64_t k = 0; k < s->keys && rc == 0; k++) {
        char *word =
            m->value[k] != NULL ? text_new("%s=%s", s->key[k], m->value[k]) : NULL;
        rc = word != NULL ? config_override(c, word) : 0;
        mem_free(word);
    }
    if (rc == 0)
        return c;
    config_destroy(c);
    return NULL;
}

/* Memory of a rank: the largest of some members from all over the sweep. A member that
 * will fail has none. */
static double rank_memory(const struct sweep *s)
{
    int64_t ranks = config_int(s->settings, "sweep.ranks"),
            step = (s->members + TRIED - 1) / TRIED;
    double bytes = 0;
    for (int64_t i = 0; i < s->members; i += step) {
        struct plan_memory m;
        struct config *c = configure(s, &s->member[i]);
        if (c != NULL && plan_memory_of(c, ranks, 1, &m) == 0)
            bytes = fmax(bytes, m.rank);
        config_destroy(c);
        err_clear();
    }
    return bytes;
}

/* Ranks that may be at work for each rank of the job: members without a launcher fill
 * cores that others leave idle. */
static double crowd(const struct submit *job, const struct sweep *s)
{
    int64_t ranks = config_int(s->settings, "sweep.ranks"), places = job->ranks / ranks,
            at_once = places,
            most = job->tasks > 0 ? plan_parts(s->members, job->tasks) : s->members;
    if (!config_is(s->settings, "sweep.at_once", "auto"))
        at_once = config_int(s->settings, "sweep.at_once");
    else if (ranks == 1 && s->member[0].threads == 1 && job->nodes <= 1)
        at_once = SWEEP_SPREAD * places;
    at_once = at_once < most ? at_once : most;
    return fmax(1, (double)(at_once * ranks) / (double)job->ranks);
}

static void set_memory(struct submit *job, const struct sweep *s)
{
    double bytes = rank_memory(s) * crowd(job, s);
    job->memory.rank = submit_margin(bytes, 1);
    if (job->nodes > 0 && bytes > 0)
        job->memory.node =
            job->memory.rank * (double)plan_parts(job->ranks, job->nodes);
}

static int copy(const char *from, const struct submit *job, const char *name)
{
    char *data = NULL, *to = text_new("%s/slurm/%s", job->dir, name);
    char *folder = text_new("%s/slurm", job->dir);
    int64_t len = 0;
    int rc = strcmp(from, to) == 0 ? 0 : file_make_dirs(folder);
    if (rc == 0 && strcmp(from, to) != 0)
        rc = file_read(from, SWEEP_FILE, &data, &len) != 0 ||
                     file_write(to, data, len) != 0
                 ? -1
                 : 0;
    mem_free(folder);
    mem_free(data);
    mem_free(to);
    return rc;
}

/* The command of the job, to be freed by free_words. */
static char **command(const struct sweep *s, const struct submit *job, const char *file,
                      const char *base)
{
    char **word = mem_alloc(s->overrides + s->keys + 32, sizeof *word);
    int64_t n = 0;
    word[n++] = mem_text("sweep");
    word[n++] = text_new("%s/slurm/%s", job->dir, file);
    for (int64_t i = 0; i < s->overrides; i++)
        word[n++] = mem_text(s->override[i]);
    for (const struct config_key *k = sweep_settings; k->key != NULL; k++)
        if (strcmp(config_origin(s->settings, k->key), "command line") == 0 &&
            strcmp(k->key, "sweep.config") != 0 && strcmp(k->key, "sweep.dir") != 0)
            word[n++] = text_new("%s=%s", k->key, config_text(s->settings, k->key));
    word[n++] = text_new("sweep.config=%s/slurm/%s", job->dir, base);
    word[n++] = text_new("sweep.dir=%s", job->dir);
    struct text launcher = {0};
    for (char **w = job->launcher; *w != NULL; w++)
        text_add(&launcher, "%s%s", launcher.len > 0 ? " " : "", *w);
    word[n++] = text_new("--launcher=%s", launcher.s);
    text_free(&launcher);
    return word;
}

static void free_words(char **word)
{
    for (char **w = word; *w != NULL; w++)
        mem_free(*w);
    mem_free(word);
}

static int send(struct submit *job, const struct sweep *s, const char *path, bool dry)
{
    int rc = dry ? 0 : submit_queue(job);
    char *file = submit_file(job, "sweep", "yaml"),
         *base = submit_file(job, "base", "yaml");
    char **word = command(s, job, file, base);
    job->word = word;
    if (dry) {
        struct text t = {0};
        submit_script(job, GROUP_ROLLOUT, &t);
        fputs(t.s, stdout);
        text_free(&t);
    } else if (rc == 0) {
        rc = sweep_save(s) != 0 || copy(path, job, file) != 0 ||
                     copy(s->base, job, base) != 0 || submit_send(job) != 0
                 ? -1
                 : 0;
    }
    free_words(word);
    mem_free(base);
    mem_free(file);
    return rc;
}

static int submit(struct submit *job, const struct sweep *s, const char *path,
                  bool array)
{
    const bool dry = config_bool(job->options, "dry-run");
    struct text indices = {0};
    if (array && count_tasks(s, !dry, &job->tasks) != 0)
        return -1;
    list_tasks(s, array ? job->tasks : 1, &indices);
    int rc = 0;
    if (indices.len == 0 && s->rungs == 0) {
        printf("all %lld members are finished: nothing to submit\n",
               (long long)s->members);
    } else {
        job->indices = array ? indices.s : NULL;
        set_memory(job, s);
        rc = send(job, s, path, dry);
    }
    text_free(&indices);
    return rc;
}

/* The directory may become another one: a relative one goes to the site's scratch.
 * Members are looked for there. */
static struct sweep *plan_there(const char *path, const char *dir, int n,
                                char *const *words)
{
    char **more = mem_alloc(n + 1, sizeof *more);
    if (n > 0)
        memcpy(more, words, (size_t)n * sizeof *more);
    more[n] = text_new("sweep.dir=%s", dir);
    struct sweep *there = sweep_plan(path, n + 1, more);
    mem_free(more[n]);
    mem_free(more);
    return there;
}

static int open_site(struct submit *job, const struct sweep *s, bool array,
                     const struct config *options, struct config *site)
{
    const struct submit_sweep w = {.dir = s->dir,
                                   .ranks = config_int(s->settings, "sweep.ranks"),
                                   .threads = s->members > 0 ? s->member[0].threads : 1,
                                   .array = array};
    if (array && s->rungs > 0)
        return err_set(ERR_USAGE,
                       "halving compares all members with each other: submit it "
                       "without --array, as one job, which resumes");
    if (submit_read_site(site, options) != 0)
        return -1;
    return submit_open_sweep(job, &w, options, site);
}

int sweep_submit(const char *path, int n, char *const *words, bool array,
                 const struct config *options)
{
    struct config *site = config_create(submit_site);
    struct submit job = {0};
    struct sweep *s = sweep_plan(path, n, words), *there = NULL;
    int rc = s == NULL ? -1 : open_site(&job, s, array, options, site);
    if (rc == 0)
        there = plan_there(path, job.dir, n, words);
    if (rc == 0)
        rc = there == NULL ? -1 : submit(&job, there, path, array);
    sweep_destroy(there);
    sweep_destroy(s);
    submit_close(&job);
    config_destroy(site);
    return rc;
}

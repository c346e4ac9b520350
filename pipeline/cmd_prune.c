/* sluice prune: removes shards of old iterations. */
#include "pipeline/cmd.h"

#include "io/config.h"
#include "io/index.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/arguments.h"
#include "pipeline/iterations.h"
#include "pipeline/run/retention.h"
#include "scheduler/layout.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

static const char usage[] =
    "usage: sluice prune RUNDIR --keep-iterations LIST [--dry-run]\n\n"
    "Removes the rollout, reward and advantage files of all iterations that LIST does "
    "not\n"
    "name: A:B (both included; either may be absent), A, last:N, every:N (0, N, 2 N, "
    "...),\n"
    "with commas between. Whatever LIST says, the files stay that the run needs to go "
    "on:\n"
    "those of the iteration that made the newest undamaged policy, and of later ones.\n"
    "Policies stay (run.keep_policies), index.h5 is written again. Refuses where a job "
    "is at\n"
    "work.\n\n";

/* clang-format off */
static const struct config_key options[] = {
    {"keep-iterations", CONFIG_TEXT, "", 0, 0, NULL, true, "iterations that stay, as above"},
    {"dry-run", CONFIG_BOOL, "false", 0, 0, NULL, true, "only say what would go"},
    {.key = NULL},
};
/* clang-format on */

struct prune {
    const char *dir, *list;
    bool dry;
    int64_t newest, needed; /* undamaged policy; first iteration that must stay */
    int64_t last;           /* iteration with files */
    int64_t iterations, files, bytes;
};

/* The locks of the stages: held until the program ends, so that no job begins
 * meanwhile. */
static int lock(const char *dir)
{
    for (int g = 0; g < GROUPS; g++) {
        char *path = text_new("%s/log/%s.lock", dir, group_name((enum group)g));
        int fd = open(path, O_RDWR | O_CLOEXEC), rc = 0;
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
            rc = err_set(ERR_ENV,
                         "%s: a job is at work in this directory; prune when it has "
                         "ended, or let run.keep_shards do it",
                         path);
        mem_free(path);
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* The newest policy whose every value is as it was written: a run goes on from there.
 */
static int find_newest(struct prune *p)
{
    int64_t *version, n;
    char rel[96];
    if (rundir_policies(p->dir, &version, &n) != 0)
        return -1;
    p->newest = -1;
    for (int64_t i = n - 1; i >= 0 && p->newest < 0; i--) {
        char *path = rundir_path(p->dir, rundir_policy(rel, version[i]));
        if (shard_verify(path) == 0)
            p->newest = version[i];
        else
            fprintf(stderr, "sluice prune: %s; the policy before it counts\n",
                    err_text());
        err_clear();
        mem_free(path);
    }
    mem_free(version);
    if (p->newest < 0)
        return err_set(ERR_INPUT,
                       "%s: holds no undamaged policy, so nothing can be spared",
                       p->dir);
    p->needed = retention_first_needed(p->newest);
    return 0;
}

/* Whether LIST names iteration i. */
static int named(const struct prune *p, int64_t i, bool *keep)
{
    *keep = false;
    for (const char *at = p->list; *at != '\0';
         at += strcspn(at, ","), at += *at == ',') {
        char *word = text_new("%.*s", (int)strcspn(at, ","), at);
        int64_t a = 0, b = 0;
        int rc = 0;
        if (strncmp(word, "last:", 5) == 0 && text_to_i64(word + 5, &a) && a >= 0)
            *keep |= i > p->last - a;
        else if (strncmp(word, "every:", 6) == 0 && text_to_i64(word + 6, &a) && a > 0)
            *keep |= i % a == 0;
        else if ((rc = iterations_parse("--keep-iterations", word, &a, &b)) == 0)
            *keep |= i >= a && i <= b;
        mem_free(word);
        if (rc != 0)
            return -1;
    }
    return 0;
}

/* Files and bytes of an iteration, and one more than the number of its last shard. */
static int measure(const struct prune *p, int64_t i, int64_t *files, int64_t *bytes,
                   int64_t *shards)
{
    char rel[96], *advantage = rundir_path(p->dir, rundir_advantage(rel, i));
    int rc = 0;
    *files = file_exists(advantage);
    *bytes = *files > 0 ? file_size(advantage) : 0;
    *shards = 0;
    mem_free(advantage);
    for (int k = 0; k < 2 && rc == 0; k++) {
        char **name, *dir = text_new("%s/%s/i%06lld", p->dir,
                                     k == 0 ? "rollout" : "reward", (long long)i);
        int64_t n = 0;
        rc = file_list(dir, "s", ".h5", &name, &n);
        for (int64_t s = 0; s < n && rc == 0; s++) {
            char *path = rundir_path(dir, name[s]);
            int64_t number = strtoll(name[s] + 1, NULL, 10) + 1;
            *shards = number > *shards && number < 1 << 24 ? number : *shards;
            *bytes += file_size(path);
            mem_free(path);
        }
        *files += n;
        file_list_free(name, n);
        mem_free(dir);
    }
    return rc;
}

static int find_last(struct prune *p)
{
    static const char *const kinds[] = {"rollout", "reward", "advantage"};
    int rc = 0;
    p->last = -1;
    for (int k = 0; k < 3 && rc == 0; k++) {
        char **name, *dir = rundir_path(p->dir, kinds[k]);
        int64_t n;
        rc = file_list(dir, "i", "", &name, &n);
        for (int64_t i = 0; i < n && rc == 0; i++) {
            int64_t number = strtoll(name[i] + 1, NULL, 10);
            p->last = number > p->last ? number : p->last;
        }
        file_list_free(name, n);
        mem_free(dir);
    }
    return rc;
}

static int prune(struct prune *p)
{
    bool keep;
    if (lock(p->dir) != 0 || find_newest(p) != 0 || find_last(p) != 0)
        return -1;
    for (int64_t i = 0; i <= p->last; i++) {
        int64_t files, bytes, shards;
        if (named(p, i, &keep) != 0 || measure(p, i, &files, &bytes, &shards) != 0)
            return -1;
        if (files == 0)
            continue;
        if (keep || i >= p->needed) {
            if (!keep && p->dry)
                printf("iteration %lld: stays, the run needs it\n", (long long)i);
            continue;
        }
        if (p->dry)
            printf("iteration %lld: %lld files, %.1f MB\n", (long long)i,
                   (long long)files, (double)bytes / 1e6);
        else
            retention_drop_iteration(p->dir, shards, i);
        p->iterations++;
        p->files += files;
        p->bytes += bytes;
    }
    char *index = rundir_path(p->dir, "index.h5");
    int rc = !p->dry && p->files > 0 && file_exists(index) ? index_write(p->dir) : 0;
    mem_free(index);
    return rc;
}

static int read_words(int argc, char **argv, struct config *c, struct prune *p)
{
    char **word = mem_alloc(argc, sizeof *word);
    int n, rc = arguments_words(c, options, argc, argv, word, &n);
    if (rc == 0 && n > 1)
        rc = err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", word[1]);
    p->dir = n > 0 ? word[0] : NULL;
    mem_free(word);
    if (rc != 0)
        return -1;
    p->list = config_text(c, "keep-iterations");
    p->dry = config_bool(c, "dry-run");
    if (p->dir == NULL || p->list[0] == '\0')
        return err_set(ERR_USAGE,
                       "name a run directory and --keep-iterations; see --help");
    bool keep;
    return named(p, 0, &keep); /* the list must be well-formed before anything goes */
}

int cmd_prune(int argc, char **argv)
{
    struct config *c = config_create(options);
    struct prune p = {.dir = NULL};
    int code = 0;
    if (arguments_help(argc, argv, usage, options, NULL))
        goto done;
    if (read_words(argc, argv, c, &p) != 0 || prune(&p) != 0)
        code = cmd_fail("prune");
    else
        printf("%s %lld files of %lld iterations, %.1f MB\n",
               p.dry ? "would remove" : "removed", (long long)p.files,
               (long long)p.iterations, (double)p.bytes / 1e6);
done:
    config_destroy(c);
    return code;
}

/* sluice selftest: what a new machine does with a run's parts. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/job.h"
#include "pipeline/schema.h"
#include "pipeline/selftest/selftest.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char help[] =
    "usage: sluice selftest [OPTIONS]\n"
    "       mpirun -np N sluice selftest ...      srun --mpi=pmix sluice selftest "
    "...\n\n"
    "Tries out what a run needs of this machine, with any number of ranks, in about a\n"
    "minute: arithmetic, speed, messages, HDF5 files and locks on this file system,\n"
    "signals and resuming. Start it as runs will be started. A line for each check: "
    "ok,\n"
    "slow (works, with what could be better), FAILED (with what to do); then a "
    "verdict.\n"
    "Everything is written below a folder of its own in --dir and removed.\n\n";

static const char codes[] =
    "\nexit codes: 0 ok or slow, 2 usage; else of the first check that FAILED: 3 no "
    "such\n"
    "folder, 4 MPI or environment, 5 files, 6 arithmetic, 8 no end of a check\n";

/* clang-format off */
static const struct config_key options[] = {
    {"dir", CONFIG_TEXT, ".", 0, 0, NULL, true,
     "where runs will lie: the file system to try"},
    {"quick", CONFIG_BOOL, "false", 0, 0, NULL, true, "less of everything: some seconds"},
    {"json", CONFIG_BOOL, "false", 0, 0, NULL, true, "the result as JSON"},
    {.key = NULL},
};
/* clang-format on */

/* A folder that nobody else has, the same on all ranks. Collective. */
static int make_folder(struct selftest *t, const char *parent)
{
    char host[256] = "";
    int rc = 0;
    if (t->all->rank == 0) {
        gethostname(host, sizeof host - 1);
        snprintf(t->dir, sizeof t->dir, "%.2600s/sluice-selftest.%.200s.%ld", parent,
                 host, (long)getpid());
        if (mkdir(t->dir, 0777) != 0) {
            rc = err_set_errno("cannot make a folder", t->dir);
            t->dir[0] = '\0';
        }
    }
    if (comm_agree(t->all, rc) != 0)
        return -1;
    return comm_bcast(t->all, t->dir, sizeof t->dir, 0);
}

struct asked {
    struct selftest test;
    const char *parent;
    bool leads; /* this process is rank 0 */
};

static int work(void *ctx, const struct comm *all)
{
    struct asked *a = ctx;
    struct selftest *t = &a->test;
    t->all = all;
    a->leads = all->rank == 0;
    selftest_arithmetic(t);
    selftest_throughput(t);
    selftest_mpi(t);
    if (make_folder(t, a->parent) != 0)
        selftest_fail(t, "files",
                      "choose a folder that all nodes can write with --dir");
    else
        selftest_files(t);
    comm_barrier(all);
    t->all = NULL;
    return 0;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *w)
{
    (void)st;
    (void)type;
    (void)w;
    return remove(path);
}

static int conclude(struct selftest *t)
{
    if (t->dir[0] != '\0' && t->line[t->lines - 1].status != SELFTEST_FAILED)
        selftest_resume(t);
    selftest_verdict(t);
    if (t->dir[0] != '\0' && nftw(t->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0)
        fprintf(stderr, "sluice selftest: %s: cannot be removed: %s\n", t->dir,
                strerror(errno));
    return selftest_code(t);
}

int cmd_selftest(int argc, char **argv)
{
    struct config *o = config_create(options), *c = NULL;
    char **word = mem_alloc(argc, sizeof *word);
    int n, rc, code = 0;
    if (arguments_help(argc, argv, help, options, codes))
        goto done;
    rc = arguments_words(o, options, argc, argv, word, &n);
    if (rc == 0 && n > 0)
        rc = err_set(ERR_USAGE, "unexpected '%s'; see `sluice selftest --help`", word[0]);
    c = rc == 0 ? schema_load(0, NULL) : NULL;
    if (c != NULL) /* selftest_watch has the alarm, with words of its own */
        rc = config_override(c, "run.start_timeout=0");
    if (rc != 0 || c == NULL) {
        code = cmd_fail("selftest");
        goto done;
    }
    struct asked a = {.test = {.quick = config_bool(o, "quick"),
                               .json = config_bool(o, "json"),
                               .compute = compute_of(c)},
                      .parent = config_text(o, "dir")};
    selftest_watch("MPI_Init", 180);
    code = job_run("selftest", c, work, &a);
    if (code == 0 && a.leads)
        code = conclude(&a.test);
done:
    config_destroy(c);
    config_destroy(o);
    mem_free(word);
    return code;
}

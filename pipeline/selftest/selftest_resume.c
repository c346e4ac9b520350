/* Two tiny runs as children: one uninterrupted, one stopped by SIGUSR1 and started
 * again. Children must not find the launcher's variables, or their MPI_Init would look
 * for it. */
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/child.h"
#include "pipeline/selftest/selftest.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

extern char **environ;

enum { ITERATIONS = 4, STOP_AT = 2, PATIENCE_S = 90 };

static const char scheduler[] =
    "{\"_class_name\": \"DDIMScheduler\", \"num_train_timesteps\": 1000, "
    "\"beta_start\": 0.0001, \"beta_end\": 0.02, \"beta_schedule\": \"linear\", "
    "\"prediction_type\": \"epsilon\", \"clip_sample\": true, \"steps_offset\": 0, "
    "\"set_alpha_to_one\": true, \"timestep_spacing\": \"leading\"}";

/* What mpirun and srun tell their processes; settings of the user stay. */
static bool is_launchers(const char *variable)
{
    static const char *const start[] = {
        "OMPI_COMM_",     "OMPI_UNIVERSE",  "OMPI_FIRST",    "OMPI_NUM_APP",
        "OMPI_APP",       "OMPI_FILE",      "OMPI_COMMAND",  "OMPI_ARGV",
        "OMPI_MCA_ess",   "OMPI_MCA_orte",  "OMPI_MCA_pmix", "OMPI_MCA_shmem",
        "OMPI_MCA_mpi_o", "OMPI_MCA_initi", "PMIX_",         "PMI_",
        "PMI2_",          "PRTE_",          "ORTE_",         "MPI_LOCAL",
        "HYDRA_",         "SLURM_",         "FLUX_",         "PALS_"};
    for (size_t i = 0; i < sizeof start / sizeof *start; i++)
        if (strncmp(variable, start[i], strlen(start[i])) == 0)
            return true;
    return false;
}

static void forget_launcher(void)
{
    for (int i = 0; environ[i] != NULL;) {
        char name[256];
        size_t n = strcspn(environ[i], "=");
        if (n >= sizeof name || !is_launchers(environ[i])) {
            i++;
            continue;
        }
        memcpy(name, environ[i], n);
        name[n] = '\0';
        unsetenv(name); /* moves the rest down */
    }
}

/* Starts `sluice run` over DIR/NAME; its id or -1. */
static pid_t begin(const struct selftest *t, const char *name, int iterations)
{
    char *log = text_new("%s/%s.log", t->dir, name);
    char *words[] = {text_new("/proc/self/exe"),
                     text_new("run"),
                     text_new("run.dir=%s/%s", t->dir, name),
                     text_new("model.path=%s/model", t->dir),
                     text_new("run.iterations=%d", iterations),
                     text_new("run.keep_policies=0"),
                     text_new("model.micro_batch=4"),
                     text_new("sampler.steps=4"),
                     text_new("rollout.samples=8"),
                     text_new("rollout.shard_samples=4"),
                     text_new("update.batch=4"),
                     text_new("update.inner_epochs=2"),
                     NULL};
    pid_t pid = child_start(words, log);
    for (int i = 0; words[i] != NULL; i++)
        mem_free(words[i]);
    mem_free(log);
    return pid;
}

/* Waits until the child ends or, where wanted, a file exists; stops it after
 * PATIENCE_S. True when the file exists. *code: of a child that ended, else -1. */
static bool await(pid_t pid, const char *file, int *code)
{
    double start = clock_s();
    *code = -1;
    while (!child_ended(pid, code)) {
        if (file != NULL && file_exists(file))
            return true;
        if (clock_s() - start > PATIENCE_S) {
            kill(pid, SIGKILL);
            *code = child_wait(pid);
            return false;
        }
        nanosleep(&(struct timespec){0, 5000000}, NULL);
    }
    return false;
}

static int say_why(const struct selftest *t, const char *name, const char *what,
                   int code)
{
    char *log = text_new("%s/%s.log", t->dir, name), *text = NULL;
    int64_t len = 0;
    if (file_read(log, 1 << 20, &text, &len) != 0)
        err_clear();
    while (len > 0 && text[len - 1] == '\n')
        text[--len] = '\0';
    const char *line = text == NULL ? NULL : strrchr(text, '\n');
    err_set(code > 0 && code <= ERR_STALL ? (enum err_code)code : ERR_ENV,
            "%s: exit code %d: %.400s", what, code,
            line != NULL   ? line + 1
            : text != NULL ? text
                           : "nothing in its log");
    mem_free(text);
    mem_free(log);
    return -1;
}

/* One run from start to end, or what is left of it. */
static int whole(const struct selftest *t, const char *name)
{
    int code;
    pid_t pid = begin(t, name, ITERATIONS);
    if (pid < 0)
        return -1;
    await(pid, NULL, &code);
    return code == 0 ? 0 : say_why(t, name, "a tiny run did not end well", code);
}

static int stopped(const struct selftest *t, const char *name)
{
    char at[96];
    char *dir = text_new("%s/%s", t->dir, name);
    char *policy = rundir_path(dir, rundir_policy(at, STOP_AT));
    int code;
    pid_t pid = begin(t, name, 1000000);
    int rc = pid < 0 ? -1 : 0;
    if (rc == 0 && await(pid, policy, &code)) {
        kill(pid, SIGUSR1);
        await(pid, NULL, &code);
        if (code != ERR_STOPPED)
            rc = say_why(t, name, "SIGUSR1 did not stop a run with exit code 75", code);
    } else if (rc == 0) {
        rc = say_why(t, name, "a tiny run did not get going", code);
    }
    mem_free(policy);
    mem_free(dir);
    return rc;
}

/* The digests of both runs' files are equal: policies follow from everything else. */
static int same(const struct selftest *t)
{
    char at[96];
    int rc = 0;
    for (int v = 1; v <= ITERATIONS && rc == 0; v++) {
        char *a = text_new("%s/whole/%s", t->dir, rundir_policy(at, v)),
             *b = text_new("%s/stopped/%s", t->dir, rundir_policy(at, v));
        struct shard *one = shard_open(a, SHARD_POLICY),
                     *two = one == NULL ? NULL : shard_open(b, SHARD_POLICY);
        if (two == NULL)
            rc = -1;
        else if (strcmp(shard_content(one), shard_content(two)) != 0)
            rc = err_set(
                ERR_NUMERIC,
                "policy %d of a resumed run differs from that of a run that was "
                "not stopped",
                v);
        shard_close(one);
        shard_close(two);
        mem_free(a);
        mem_free(b);
    }
    return rc;
}

void selftest_resume(struct selftest *t)
{
    char *folder = text_new("%s/model", t->dir);
    double start = clock_s();
    struct model *m = selftest_network(8, 8);
    selftest_watch("resume", 0);
    forget_launcher();
    int rc = m == NULL ? -1 : model_export(m, NULL, scheduler, folder);
    if (rc == 0)
        rc = whole(t, "whole");
    if (rc == 0)
        rc = stopped(t, "stopped");
    if (rc == 0)
        rc = whole(t, "stopped");
    if (rc == 0)
        rc = same(t);
    model_destroy(m);
    mem_free(folder);
    if (rc != 0)
        selftest_fail(t, "resume",
                      "run `sluice run` by hand with a small configuration; see "
                      "slurm/README.md about signals");
    else
        selftest_say(
            t, SELFTEST_OK, "resume",
            "a run of %d iterations stopped by SIGUSR1 (exit 75) and resumed: the "
            "same bits as without; %.1f s for three starts",
            ITERATIONS, clock_s() - start);
}

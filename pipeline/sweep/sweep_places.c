/* How a sweep's members are started here, and how many fit: by what Slurm says of the
 * job, elsewhere by the cores that this process may use. */
#include "pipeline/sweep/sweep_places.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int64_t environment(const char *name)
{
    const char *v = getenv(name);
    int64_t n;
    return v != NULL && text_to_i64(v, &n) ? n : 0;
}

static bool in_path(const char *program)
{
    const char *p = getenv("PATH");
    bool found = false;
    while (p != NULL && *p != '\0' && !found) {
        size_t n = strcspn(p, ":");
        char *full = text_new("%.*s/%s", (int)n, p, program);
        found = access(full, X_OK) == 0;
        mem_free(full);
        p += n + (p[n] == ':');
    }
    return found;
}

static int64_t threads_of(const struct sweep *s)
{
    return s->members > 0 ? s->member[0].threads : 1;
}

/* Several ranks, or one on one of several nodes. */
static int by_launcher(const struct sweep *s, const char *given, char *out, size_t len)
{
    const bool slurm = getenv("SLURM_JOB_ID") != NULL && in_path("srun");
    int64_t ranks = config_int(s->settings, "sweep.ranks"),
            nodes = environment("SLURM_JOB_NUM_NODES");
    if (given[0] == '\0')
        given = slurm ? "srun --mpi=pmix" : "mpirun";
    size_t first = strcspn(given, " ");
    if (ranks == 1 && (!slurm || nodes <= 1))
        return 0;
    if (first >= 4 && strncmp(given + first - 4, "srun", 4) == 0) {
        /* --mem=0: steps share the job's memory. A member's exit code is its own. */
        snprintf(out, len,
                 "%.256s --kill-on-bad-exit=0 --exact --mem=0 -n %lld -c %lld", given,
                 (long long)ranks, (long long)threads_of(s));
        return 0;
    }
    if (nodes > 1)
        return err_set(
            ERR_USAGE,
            "%.100s would start all members on the first of %lld nodes: use srun, "
            "or a job array (--submit --array)",
            given, (long long)nodes);
    snprintf(out, len, "%.256s -np %lld", given, (long long)ranks);
    return 0;
}

int sweep_launch(const struct sweep *s, const char *launcher, char *out, size_t len)
{
    const char *launch = config_text(s->settings, "sweep.launch");
    out[0] = '\0';
    if (strcmp(launch, "auto") == 0)
        return by_launcher(s, launcher, out, len);
    snprintf(out, len, "%s", strcmp(launch, "none") == 0 ? "" : launch);
    return 0;
}

int64_t sweep_places(const struct sweep *s)
{
    int64_t ranks = config_int(s->settings, "sweep.ranks"), threads = threads_of(s);
    int64_t tasks = environment("SLURM_NTASKS"),
            each = environment("SLURM_CPUS_PER_TASK"),
            nodes = environment("SLURM_JOB_NUM_NODES");
    cpu_set_t mine;
    CPU_ZERO(&mine);
    sched_getaffinity(0, sizeof mine, &mine);
    int64_t cores = CPU_COUNT(&mine);
    if (tasks > 0) {
        int64_t job = tasks * (each > 0 ? each : threads);
        cores = nodes > 1 || job < cores ? job : cores;
    }
    int64_t places = cores / (ranks * threads);
    return places > 0 ? places : 1;
}

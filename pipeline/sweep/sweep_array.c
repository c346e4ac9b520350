/* The batch script of a sweep as a throttled job array: few tasks with many members
 * each, below the limit that sites set on the size of arrays. */
#include "pipeline/sweep/sweep_parts.h"

#include "io/sys/err.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { EACH = 10, MAX_ARRAY = 1000 }; /* Slurm's default MaxArraySize is 1001 */

/* A word for the shell. */
static void print_quoted(const char *s)
{
    putchar('\'');
    for (; *s != '\0'; s++)
        if (*s == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*s);
    putchar('\'');
}

int sweep_array(const struct sweep *s, int argc, char **argv)
{
    const struct config *c = s->settings;
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0)
        return err_set(ERR_ENV, "this program's path cannot be found");
    self[n] = '\0';
    if (s->rungs > 0)
        return err_set(ERR_USAGE,
                       "halving compares all members with each other: run it as "
                       "one job, which resumes, and not as an array");
    int64_t tasks = config_is(c, "sweep.array_tasks", "auto")
                        ? (s->members + EACH - 1) / EACH
                        : config_int(c, "sweep.array_tasks");
    int64_t at_once = config_int(c, "sweep.array_at_once");
    if (config_is(c, "sweep.array_tasks", "auto") && tasks > MAX_ARRAY)
        tasks = MAX_ARRAY;
    if (tasks > s->members)
        tasks = s->members;
    printf("#!/bin/bash\n"
           "# %lld members in %lld tasks. Partition, account and time: options of "
           "sbatch, or\n"
           "# lines here. A task that is requeued goes on.\n"
           "# At the end, or before: sluice sweep collect DIR\n"
           "#SBATCH --job-name=sluice-sweep\n#SBATCH --array=0-%lld",
           (long long)s->members, (long long)tasks, (long long)tasks - 1);
    if (at_once > 0)
        printf("%%%lld", (long long)at_once);
    printf(
        "\n#SBATCH --ntasks=%lld\n#SBATCH --cpus-per-task=%lld\n"
        "#SBATCH --signal=B:USR1@120\n#SBATCH --open-mode=append\n#SBATCH --requeue\n"
        "#SBATCH --output=%s/array-%%A_%%a.out\n",
        (long long)config_int(c, "sweep.ranks"), (long long)s->member[0].threads,
        s->dir);
    printf("exec ");
    print_quoted(self);
    printf(" sweep");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--array-script") == 0)
            continue;
        putchar(' ');
        print_quoted(argv[i]);
    }
    printf(" --part \"$SLURM_ARRAY_TASK_ID/%lld\"\n", (long long)tasks);
    return 0;
}

/* What `sluice submit` and a site file may say, and where the site file is. */
#include "pipeline/submit/submit.h"

#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ANY 0, 0, NULL, true

/* clang-format off */
const struct config_key submit_options[] = {
    {"nodes", CONFIG_INT, "0", 0, 1e6, NULL, true, "nodes; 0: as Slurm sees fit"},
    {"ranks", CONFIG_INT, "0", 0, 1e6, NULL, true,
     "MPI ranks, --ntasks of the job; 0: the sum of groups.*, where all are numbers"},
    {"ntasks", CONFIG_INT, "0", 0, 1e6, NULL, true, "the same"},
    {"cpus-per-rank", CONFIG_INT, "0", 0, 4096, NULL, true, "cores of a rank; 0: groups.threads"},
    {"mem", CONFIG_TEXT, "", ANY, "memory per node, as 64G; 0: all of it; empty: what `sluice plan` estimates, and a quarter"},
    {"time", CONFIG_TEXT, "", ANY,
     "time limit: 4h, 90m, 12:00:00, 1-00:00:00; empty: the partition's"},
    {"signal", CONFIG_DURATION, "0", 0, 65535, NULL, true,
     "how long before the limit the run is asked to stop; 0: the site's"},
    {"requeue-max", CONFIG_INT, "-1", -1, 1e6, NULL, true,
     "how often a job goes back into the queue; -1: the site's"},
    {"name", CONFIG_TEXT, "", ANY, "the job's name; empty: the run directory's"},
    {"partition", CONFIG_TEXT, "", ANY, "partition; empty: the site's"},
    {"account", CONFIG_TEXT, "", ANY, "account; empty: the site's"},
    {"qos", CONFIG_TEXT, "", ANY, "quality of service; empty: the site's"},
    {"after", CONFIG_TEXT, "", ANY,
     "begin after these jobs have ended well: 1234 or 1234:1235; afterany:1234: however they end"},
    {"launcher", CONFIG_TEXT, "", ANY,
     "words before the program, such as \"srun --mpi=pmix\" or mpirun; empty: the site's"},
    {"container", CONFIG_TEXT, "", ANY, "image that holds the program"},
    {"program", CONFIG_TEXT, "", ANY,
     "the program; empty: this one, or sluice in a container's PATH"},
    {"het", CONFIG_TEXT, "", ANY,
     "groups on partitions of their own, one heterogeneous job: rollout=16:cpu,update=8:big; "
     "ranks:partition, the partition may be left out; groups not named have 1 rank beside the "
     "one before them; with --chain stages: of each stage's job"},
    {"chain", CONFIG_CHOICE, "none", 0, 0, "none|stages|blocks", true,
     "jobs one after another: a job for each stage of each iteration, or for --block iterations"},
    {"block", CONFIG_INT, "1", 1, 1e9, NULL, true, "iterations of a job, --chain blocks"},
    {"site", CONFIG_TEXT, "", ANY,
     "site file; empty: $SLUICE_SITE, PREFIX/share/sluice/site.yaml, slurm/site.yaml"},
    {"dry-run", CONFIG_BOOL, "false", ANY, "print the script and do nothing"},
    {.key = NULL},
};

const struct config_key submit_site[] = {
    {"launcher", CONFIG_TEXT, "srun --mpi=pmix", ANY, "words before the program"},
    {"modules", CONFIG_TEXT, "", ANY, "modules to load"},
    {"environment", CONFIG_TEXT, "", ANY, "NAME=VALUE ..., for the job"},
    {"setup", CONFIG_TEXT, "", ANY, "a line of shell that goes into the script as it is"},
    {"account", CONFIG_TEXT, "", ANY, "default of --account"},
    {"partition", CONFIG_TEXT, "", ANY, "default of --partition"},
    {"qos", CONFIG_TEXT, "", ANY, "default of --qos"},
    {"sbatch", CONFIG_TEXT, "", ANY, "further options of sbatch: --name=value ..."},
    {"scratch", CONFIG_TEXT, "", ANY,
     "where run directories with a relative name go; $NAME: what that variable holds"},
    {"container", CONFIG_TEXT, "apptainer exec", ANY, "words before the image"},
    {"signal", CONFIG_DURATION, "300", 1, 65535, NULL, true, "default of --signal"},
    {"requeue_max", CONFIG_INT, "100", 0, 1e6, NULL, true, "default of --requeue-max"},
    {.key = NULL},
};
/* clang-format on */

/* PREFIX/bin/sluice -> PREFIX/share/sluice/site.yaml, or slurm/site.yaml of a source folder
 * whose build folder holds the program. */
static char *site_beside(const char *name)
{
    char self[4096] = "";
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    char *slash = n > 0 ? strrchr(self, '/') : NULL;
    if (slash == NULL)
        return NULL;
    *slash = '\0';
    char *path = text_new("%s/../%s", self, name);
    if (file_exists(path))
        return path;
    mem_free(path);
    return NULL;
}

int submit_read_site(struct config *site, const struct config *options)
{
    const char *given = config_text(options, "site");
    if (given[0] == '\0' && getenv("SLUICE_SITE") != NULL)
        given = getenv("SLUICE_SITE");
    char *path = given[0] != '\0' ? mem_text(given) : site_beside("share/sluice/site.yaml");
    if (path == NULL)
        path = site_beside("slurm/site.yaml");
    int rc = path == NULL ? 0 : config_read(site, path);
    mem_free(path);
    return rc;
}

int submit_keys(const struct config_key *table)
{
    int n = 0;
    while (table[n].key != NULL)
        n++;
    return n;
}

const char *submit_chosen(const struct submit *s, const char *key)
{
    const char *value = config_text(s->options, key);
    return value[0] != '\0' ? value : config_text(s->site, key);
}

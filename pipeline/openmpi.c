/* By variables of the environment, as Open MPI's parameters are set. */
#include "pipeline/openmpi.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdlib.h>

static const char BASE[] = "OMPI_MCA_orte_tmpdir_base";

static bool any_set(const char *const *name)
{
    while (*name != NULL && getenv(*name) == NULL)
        name++;
    return *name != NULL;
}

void openmpi_lone_rank(void)
{
    static const char *const launched[] = {
        "OMPI_COMM_WORLD_SIZE", "PMIX_NAMESPACE", "PMI_RANK", "PMI_FD",
        "SLURM_STEP_ID",        "SLURM_STEPID",   NULL,
    };
    if (any_set(launched))
        return;
    setenv("OMPI_MCA_ess_singleton_isolated", "1", 0);
    setenv("OMPI_MCA_orte_create_session_dirs", "0", 0);
}

void openmpi_folders_create(struct openmpi_folders *f, const char *name)
{
    /* Open MPI refuses the first beside one of the others. */
    static const char *const given[] = {
        BASE, "OMPI_MCA_orte_local_tmpdir_base", "OMPI_MCA_orte_remote_tmpdir_base", NULL};
    *f = (struct openmpi_folders){.used = false};
    if (any_set(given))
        return;
    f->used = scratch_create(&f->scratch, name) == 0;
    if (!f->used)
        err_clear();
}

void openmpi_folders_use(const struct openmpi_folders *f, int64_t number)
{
    if (!f->used)
        return;
    char *path = text_new("%s/%lld", f->scratch.path, (long long)number);
    setenv(BASE, path, 1);
    mem_free(path);
}

void openmpi_folders_remove(struct openmpi_folders *f)
{
    if (!f->used)
        return;
    unsetenv(BASE);
    scratch_remove(&f->scratch);
    f->used = false;
}

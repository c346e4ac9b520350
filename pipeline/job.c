/* From a command to MPI and back. */
#include "pipeline/job.h"

#include "io/spawn.h"
#include "io/sys/err.h"
#include "pipeline/cmd.h"
#include "pipeline/compute.h"
#include "pipeline/openmpi.h"
#include "pipeline/placement.h"
#include "pipeline/spawner.h"
#include "pipeline/run/start_limit.h"
#include "stages/linalg/petsc.h"

#include <mpi.h>

static int settle(struct config *c, const struct comm *all)
{
    struct place place;
    int rc = placement_threads(c, all->rank);
    if (rc == 0)
        rc = compute_settle(c, all);
    if (rc == 0)
        placement_apply(c, false, all->rank, &place);
    return comm_agree(all, rc);
}

int job_run(const char *name, struct config *c,
            int (*work)(void *ctx, const struct comm *all), void *ctx)
{
    if (spawner_begin(c) != 0)
        return cmd_fail(name);
    openmpi_lone_rank();
    start_limit_begin(c);
    if (MPI_Init(NULL, NULL) != MPI_SUCCESS)
        return ERR_ENV;
    start_limit_end();
    MPI_Comm group; /* never the world itself, never one with a topology */
    MPI_Comm_split(MPI_COMM_WORLD, 0, 0, &group);
    MPI_Comm_set_errhandler(group, MPI_ERRORS_RETURN);
    struct comm all = {.mpi = group};
    MPI_Comm_rank(group, &all.rank);
    MPI_Comm_size(group, &all.size);
    int rc = settle(c, &all) != 0 ? -1 : work(ctx, &all);
    int code = rc == 0 || all.rank != 0 ? 0 : (int)err_code(); /* one rank speaks */
    if (rc != 0 && all.rank == 0)
        cmd_fail(name);
    spawn_end();
    petsc_end();
    MPI_Comm_free(&group);
    MPI_Finalize();
    return code;
}

/* Begin and end of a test program of several ranks. */
#ifndef SLUICE_TESTS_RANKS_H
#define SLUICE_TESTS_RANKS_H

#include "io/sys/comm.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <mpi.h>

static inline struct comm ranks_begin(int *argc, char ***argv)
{
    MPI_Init(argc, argv);
    struct comm c = {.mpi = MPI_COMM_WORLD};
    MPI_Comm_rank(c.mpi, &c.rank);
    MPI_Comm_size(c.mpi, &c.size);
    return c;
}

/* Rank 0 says whether any rank has memory left and ends the plan. Returns the exit code. */
static inline int ranks_end(const struct comm *c)
{
    int failed = 0;
    int64_t live = mem_live();
    if (comm_sum_i64(c, &live, 1) != 0)
        ERR_BUG("%s", err_text());
    if (c->rank == 0) {
        tap_ok(live == 0, "no memory is left");
        failed = tap_done();
    }
    MPI_Finalize();
    return failed;
}

#endif

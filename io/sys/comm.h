/* What the ranks of one group do together: votes, polled waits, gathering.
 *
 * A rank that blocks in a receive slows its neighbours 3-9 times, so every wait here
 * polls with back-off and calls the communicator's idle hook, through which a rank keeps
 * serving leases while it waits. */
#ifndef SLUICE_IO_SYS_COMM_H
#define SLUICE_IO_SYS_COMM_H

#include <mpi.h>
#include <stdint.h>

/* Called between polls; may be NULL. A non-zero return ends the wait with that error
 * pending (the job is then lost: the caller must abort it). */
typedef int (*comm_idle_f)(void *ctx);

/* A group's communicator: made by MPI_Comm_split, never with a topology. Plain data. */
struct comm {
    MPI_Comm mpi;
    int rank, size;
    comm_idle_f idle;
    void *idle_ctx;
};

/* Vote. Every rank passes its own rc (0 or -1 with a pending error); when any failed,
 * all return -1 with the code and text of the lowest failing rank pending, prefixed by
 * that rank. Collective on c. */
int comm_agree(const struct comm *c, int rc);

/* Everyone gets n bytes of root's. Collective on c. */
int comm_bcast(const struct comm *c, void *p, int64_t n, int root);

/* all[count[0]+..+count[size-1]] <- everyone's mine[count[rank]] items of item bytes, in
 * rank order. Collective on c. */
int comm_gather_all(const struct comm *c, const void *mine, const int64_t *count,
                    size_t item, void *all);

/* send holds the parts for rank 0, 1, ... one after another, send_n[r] floats for rank r;
 * recv receives the parts from rank 0, 1, ... likewise. Collective on c. */
int comm_exchange(const struct comm *c, const float *send, const int64_t *send_n,
                  float *recv, const int64_t *recv_n);

/* In-place sum of integers; in-place maximum of doubles. Collective on c. */
int comm_sum_i64(const struct comm *c, int64_t *v, int64_t n);
int comm_max_f64(const struct comm *c, double *v, int64_t n);

/* Collective on c. */
int comm_barrier(const struct comm *c);

/* Waits for a request, polling. */
int comm_wait(const struct comm *c, MPI_Request *request);

/* A communicator of this process alone (MPI_COMM_SELF semantics, but usable before and
 * without MPI_Init: size 1, all operations are copies). */
struct comm comm_self(void);

#endif

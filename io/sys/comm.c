/* Collectives as non-blocking operations that are polled. Messages are cut into pieces
 * below 2^28 bytes, because counts are int and large messages have a history of
 * overflows. A communicator of size 1 never touches MPI. */
#include "io/sys/comm.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define PIECE (INT64_C(1) << 28)

static int check(const struct comm *c, int rc, const char *what)
{
    if (rc == MPI_SUCCESS)
        return 0;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    MPI_Error_string(rc, text, &n);
    /* One rank alone cannot leave a collective: the world is broken. */
    fprintf(stderr, "sluice: %s: %s\n", what, text);
    MPI_Abort(c->mpi, ERR_ENV);
    return err_set(ERR_ENV, "%s: %s", what, text);
}

struct comm comm_self(void)
{
    return (struct comm){.mpi = MPI_COMM_NULL, .rank = 0, .size = 1};
}

int comm_wait(const struct comm *c, MPI_Request *request)
{
    long ns = 20000;
    for (int spin = 0;; spin++) {
        int done = 0;
        if (check(c, MPI_Test(request, &done, MPI_STATUS_IGNORE), "MPI_Test") != 0)
            return -1;
        if (done)
            return 0;
        if (c->idle != NULL && c->idle(c->idle_ctx) != 0)
            return -1;
        if (spin < 50)
            continue;
        nanosleep(&(struct timespec){0, ns}, NULL);
        if (ns < 2000000)
            ns += ns / 4;
    }
}

static int64_t piece_of(int64_t left, int64_t item)
{
    int64_t most = PIECE / item > 0 ? PIECE / item : 1;
    return left < most ? left : most;
}

int comm_bcast(const struct comm *c, void *p, int64_t n, int root)
{
    if (c->size == 1)
        return 0;
    for (char *at = p; n > 0;) {
        int64_t k = piece_of(n, 1);
        MPI_Request r;
        if (check(c, MPI_Ibcast(at, (int)k, MPI_BYTE, root, c->mpi, &r), "MPI_Ibcast") ||
            comm_wait(c, &r))
            return -1;
        at += k;
        n -= k;
    }
    return 0;
}

int comm_agree(const struct comm *c, int rc)
{
    struct {
        int code;
        char text[2048];
    } e = {0};
    if (c->size == 1)
        return rc == 0 ? 0 : -1;
    if (rc != 0) { /* now: what runs while we wait may meet errors of its own */
        e.code = (int)err_code();
        snprintf(e.text, sizeof e.text, "%s", err_text());
    }
    int lowest = rc == 0 ? c->size : c->rank, mine = lowest;
    MPI_Request r;
    if (check(c, MPI_Iallreduce(&mine, &lowest, 1, MPI_INT, MPI_MIN, c->mpi, &r),
              "MPI_Iallreduce") ||
        comm_wait(c, &r))
        return -1;
    if (lowest == c->size)
        return 0;
    if (comm_bcast(c, &e, sizeof e, lowest) != 0)
        return -1;
    return lowest == c->rank
               ? err_set((enum err_code)e.code, "%s", e.text)
               : err_set((enum err_code)e.code, "group rank %d: %s", lowest, e.text);
}

int comm_gather_all(const struct comm *c, const void *mine, const int64_t *count,
                    size_t item, void *all)
{
    int64_t at = 0;
    for (int r = 0; r < c->size; r++) {
        char *slot = (char *)all + (size_t)at * item;
        if (r == c->rank && count[r] > 0)
            memmove(slot, mine, (size_t)count[r] * item);
        if (comm_bcast(c, slot, count[r] * (int64_t)item, r) != 0)
            return -1;
        at += count[r];
    }
    return 0;
}

int comm_exchange(const struct comm *c, const float *send, const int64_t *send_n,
                  float *recv, const int64_t *recv_n)
{
    int64_t most = 0, nreq = 0;
    for (int r = 0; r < c->size; r++)
        most += send_n[r] / (PIECE / 4) + recv_n[r] / (PIECE / 4) + 2;
    MPI_Request *req = mem_alloc(most, sizeof(MPI_Request));
    int rc = 0;
    for (int r = 0; r < c->size && rc == 0; r++) {
        if (r == c->rank) {
            memcpy(recv, send, (size_t)send_n[r] * sizeof *send);
        } else {
            for (int64_t at = 0; at < recv_n[r] && rc == 0;) {
                int64_t k = piece_of(recv_n[r] - at, 4);
                rc = check(c, MPI_Irecv(recv + at, (int)k, MPI_FLOAT, r, 7, c->mpi,
                                     &req[nreq++]),
                           "MPI_Irecv");
                at += k;
            }
            for (int64_t at = 0; at < send_n[r] && rc == 0;) {
                int64_t k = piece_of(send_n[r] - at, 4);
                rc = check(c, MPI_Isend(send + at, (int)k, MPI_FLOAT, r, 7, c->mpi,
                                     &req[nreq++]),
                           "MPI_Isend");
                at += k;
            }
        }
        recv += recv_n[r];
        send += send_n[r];
    }
    for (int64_t i = 0; i < nreq && rc == 0; i++)
        rc = comm_wait(c, &req[i]);
    mem_free(req);
    return rc;
}

int comm_sum_i64(const struct comm *c, int64_t *v, int64_t n)
{
    MPI_Request r;
    if (c->size == 1)
        return 0;
    if (check(c, MPI_Iallreduce(MPI_IN_PLACE, v, (int)n, MPI_INT64_T, MPI_SUM, c->mpi, &r),
              "MPI_Iallreduce"))
        return -1;
    return comm_wait(c, &r);
}

int comm_max_f64(const struct comm *c, double *v, int64_t n)
{
    MPI_Request r;
    if (c->size == 1)
        return 0;
    if (check(c, MPI_Iallreduce(MPI_IN_PLACE, v, (int)n, MPI_DOUBLE, MPI_MAX, c->mpi, &r),
              "MPI_Iallreduce"))
        return -1;
    return comm_wait(c, &r);
}

int comm_barrier(const struct comm *c)
{
    MPI_Request r;
    if (c->size == 1)
        return 0;
    if (check(c, MPI_Ibarrier(c->mpi, &r), "MPI_Ibarrier"))
        return -1;
    return comm_wait(c, &r);
}

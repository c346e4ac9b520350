/* Messages as runs send them: exchange of gradients, letters of leases, blocks of
 * weights. */
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/selftest/selftest.h"
#include "scheduler/mailbox.h"
#include "stages/metric/summary.h"

#include <sched.h>
#include <stdio.h>
#include <time.h>

enum { PINGS = 20, SLOW_PING_US = 500, SLOW_MB_S = 200 };

static float value(int from, int to, int64_t i)
{
    return (float)((from * 31 + to * 17 + i) % 8191);
}

/* n numbers from each to each, `turns` times; *seconds: of one. The result is checked.
 */
static int exchange(const struct comm *all, int64_t n, int turns, double *seconds)
{
    int64_t *count = mem_alloc(all->size, sizeof *count), bad = 0;
    float *out = mem_alloc(all->size * n, sizeof *out),
          *in = mem_alloc(all->size * n, sizeof *in);
    for (int r = 0; r < all->size; r++) {
        count[r] = n;
        for (int64_t i = 0; i < n; i++)
            out[r * n + i] = value(all->rank, r, i);
    }
    int rc = comm_exchange(all, out, count, in, count); /* opens the connections */
    comm_barrier(all);
    double start = clock_s();
    for (int k = 0; k < turns && rc == 0; k++)
        rc = comm_exchange(all, out, count, in, count);
    *seconds = (clock_s() - start) / turns;
    for (int r = 0; r < all->size; r++)
        for (int64_t i = 0; i < n; i++)
            bad += in[r * n + i] != value(r, all->rank, i);
    if (rc == 0 && bad > 0)
        rc = err_set(ERR_ENV, "%lld of %lld numbers arrived changed", (long long)bad,
                     (long long)(all->size * n));
    mem_free(in);
    mem_free(out);
    mem_free(count);
    return rc;
}

/* The next letter for a role; who waits lets others compute. */
static void next(struct mailbox *m, bool coordinator, bool patient, struct letter *l,
                 int *from)
{
    while (!mailbox_take(m, coordinator, l, from)) {
        if (patient)
            nanosleep(&(struct timespec){0, 50000}, NULL);
        else
            sched_yield();
    }
}

/* There and back between rank 0 and every rank in turn; on rank 0 the worst median, in
 * microseconds, and whose. */
static void ping(const struct comm *all, struct mailbox *m, double *worst, int *whose)
{
    struct letter l;
    double us[PINGS];
    int from;
    *worst = 0;
    *whose = 0;
    for (int r = 0; all->rank == 0 && r < all->size; r++) {
        for (int k = 0; k < PINGS; k++) {
            double start = clock_s();
            mailbox_send(m, r, &(struct letter){.kind = LETTER_PING});
            if (r == 0) {
                next(m, false, false, &l, &from);
                mailbox_send(m, 0, &(struct letter){.kind = LETTER_BEAT});
            }
            next(m, true, false, &l, &from);
            us[k] = 1e6 * (clock_s() - start);
        }
        summary_sort(us, PINGS);
        if (us[PINGS / 2] > *worst) {
            *worst = us[PINGS / 2];
            *whose = r;
        }
    }
    for (int k = 0; all->rank > 0 && k < PINGS; k++) {
        next(m, false, k == 0, &l, &from);
        mailbox_send(m, 0, &(struct letter){.kind = LETTER_BEAT});
    }
}

/* A block from rank 0 to the last rank, which is likely on another node. The receiver's
 * answer stops the clock. 0 or -1 on each. */
static int block(const struct comm *all, struct mailbox *m, int64_t n, double *mb_s)
{
    int last = all->size - 1, from, rc = 0;
    struct letter l;
    float *p = mem_alloc(n, sizeof *p);
    double start = clock_s();
    if (all->rank == 0) {
        for (int64_t i = 0; i < n; i++)
            p[i] = value(0, last, i);
        start = clock_s();
        mailbox_send_block(m, last, p, n);
        while (mailbox_block_busy(m, p))
            sched_yield();
        next(m, true, false, &l, &from);
        *mb_s = (double)n * 4e-6 / (clock_s() - start);
    } else if (all->rank == last) {
        mailbox_receive_block(m, 0, p, n);
        while (mailbox_block_busy(m, p))
            sched_yield();
        mailbox_send(m, 0, &(struct letter){.kind = LETTER_BEAT});
        for (int64_t i = 0; i < n && rc == 0; i++)
            if (p[i] != value(0, last, i))
                rc = err_set(ERR_ENV, "a block of weights arrived changed");
    }
    mem_free(p);
    return rc;
}

static const char remedy[] =
    "see that mpirun or srun is of the MPI library that this program was built with, "
    "and "
    "try another transport (Open MPI: --mca pml ob1 --mca btl tcp,self)";

static void letters(struct selftest *t)
{
    const struct comm *all = t->all;
    double us = 0, mb_s = 0;
    int whose = 0, rc = 0;
    struct mailbox *m = mailbox_create(all->mpi);
    ping(all, m, &us, &whose);
    if (all->size > 1)
        rc = block(all, m, t->quick ? 1 << 20 : 1 << 24, &mb_s);
    mailbox_destroy(m);
    if (comm_agree(all, rc) != 0) {
        selftest_fail(t, "letters", remedy);
        return;
    }
    bool slow = us > SLOW_PING_US || (all->size > 1 && mb_s < SLOW_MB_S);
    char weights[64] = "";
    if (all->size > 1)
        snprintf(weights, sizeof weights, "; weights to rank %d at %.0f MB/s",
                 all->size - 1, mb_s);
    selftest_say(
        t, slow ? SELFTEST_SLOW : SELFTEST_OK, "letters",
        "there and back within %.0f us of every rank (rank %d is farthest)%s%s", us,
        whose, weights,
        slow ? "; see that ranks do not share cores and that MPI found the fast "
               "network (ompi_info, UCX_TLS)"
             : "");
}

void selftest_mpi(struct selftest *t)
{
    const struct comm *all = t->all;
    int64_t n = (1 << 20) / all->size;
    double seconds = 0;
    selftest_watch("exchange", 120);
    n = n < 1 ? 1 : n;
    if (comm_agree(all, exchange(all, n, t->quick ? 2 : 10, &seconds)) != 0) {
        selftest_fail(t, "exchange", remedy);
        return;
    }
    double slowest = seconds, mb = 4e-6 * (double)(n * (all->size - 1));
    comm_max_f64(all, &slowest, 1);
    if (all->size == 1) {
        selftest_say(t, SELFTEST_OK, "exchange",
                     "one rank; start this under mpirun or srun as you start runs");
    } else {
        bool slow = mb / slowest < SLOW_MB_S;
        selftest_say(
            t, slow ? SELFTEST_SLOW : SELFTEST_OK, "exchange",
            "all to all among %d ranks, %.1f MB each in %.1f ms: %.0f MB/s per "
            "rank%s",
            all->size, mb, 1000 * slowest, mb / slowest,
            slow ? "; gradients travel so: fewer update ranks, or the fast network "
                   "(ompi_info, UCX_TLS)"
                 : "");
    }
    selftest_watch("letters", 120);
    letters(t);
}

/* ranks: 1 2 3 5 */
/* Letters and blocks between all ranks: order, late receivers, and blocks that nobody
 * takes before the end. Rank 0 prints. */
#include "io/sys/mem.h"
#include "scheduler/mailbox.h"
#include "tests/tap.h"

#include <time.h>

enum { SMALL = 100, LARGE = (1 << 20) * 2 + 17, VERSIONS = 6 };

static int64_t length(int version)
{
    return version % 2 == 0 ? SMALL : LARGE;
}

static float value(int version, int64_t i)
{
    return (float)(version * 1000 + i % 997);
}

static void rest(void)
{
    nanosleep(&(struct timespec){0, 50000}, NULL);
}

/* Rank 0 sends; the others take the letters late and in one go, then wait. */
static int64_t broadcast(struct mailbox *m, int rank, int size)
{
    float *v[VERSIONS];
    int64_t wrong = 0;
    for (int k = 0; k < VERSIONS; k++) {
        v[k] = mem_alloc(length(k), sizeof **v);
        for (int64_t i = 0; i < length(k); i++)
            v[k][i] = rank == 0 ? value(k, i) : -1;
    }
    for (int k = 0; rank == 0 && k < VERSIONS; k++)
        for (int r = 1; r < size; r++) {
            struct letter l = {.kind = LETTER_WEIGHTS, .lease = {.version = k}};
            mailbox_send(m, r, &l);
            mailbox_send_block(m, r, v[k], length(k));
        }
    for (int k = 0; rank > 0 && k < VERSIONS; k++) {
        struct letter l;
        int from = -1;
        while (!mailbox_take(m, false, &l, &from))
            rest();
        wrong += from != 0 || l.kind != LETTER_WEIGHTS || l.lease.version != k;
        mailbox_receive_block(m, from, v[k], length(k));
    }
    for (int k = 0; k < VERSIONS; k++) {
        while (mailbox_block_busy(m, v[k]))
            rest();
        for (int64_t i = 0; i < length(k); i++)
            wrong += v[k][i] != value(k, i);
        mem_free(v[k]);
    }
    return wrong;
}

int main(void)
{
    int rank, size;
    MPI_Init(NULL, NULL);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &size);
    struct mailbox *m = mailbox_create(MPI_COMM_WORLD);
    int64_t wrong = broadcast(m, rank, size);
    /* everybody sends to the next rank, and nobody expects it */
    float *lost = mem_alloc(LARGE, sizeof *lost);
    struct letter l = {.kind = LETTER_WEIGHTS};
    mailbox_send(m, (rank + 1) % size, &l);
    mailbox_send_block(m, (rank + 1) % size, lost, LARGE);
    mailbox_destroy(m);
    mem_free(lost);
    MPI_Allreduce(MPI_IN_PLACE, &wrong, 1, MPI_INT64_T, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0) {
        tap_ok(wrong == 0, "%d blocks to each of %d ranks, in order", VERSIONS, size - 1);
        tap_ok(1, "blocks that nobody takes keep nobody from leaving");
        tap_ok(mem_live() == 0, "nothing leaks");
    }
    MPI_Finalize();
    return rank == 0 ? tap_done() : 0;
}

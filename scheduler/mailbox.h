/* Letters between the coordinator and the workers: the only point-to-point messages of
 * the program besides comm_exchange. All calls return at once; nobody ever blocks on a letter. */
#ifndef SLUICE_SCHEDULER_MAILBOX_H
#define SLUICE_SCHEDULER_MAILBOX_H

#include "scheduler/ledger.h"

#include <mpi.h>

enum letter_kind {
    LETTER_LEASE, /* coordinator -> worker: do this */
    LETTER_DONE,  /* worker -> coordinator: code, text, values */
    LETTER_BEAT,  /* worker -> coordinator: I am alive; text = phase */
    LETTER_PING,  /* coordinator -> worker: I am alive */
    LETTER_STOP,  /* worker -> coordinator: a signal asks us to stop; text = which */
    LETTER_QUIT,  /* coordinator -> worker: the job ends with this code */
    LETTER_BYE,   /* worker -> coordinator: values = accounting; last letter */
};

#define LETTER_VALUES 24

/* Plain data, sent as it is (all ranks run one binary). */
struct letter {
    enum letter_kind kind;
    int code; /* enum err_code */
    struct lease lease;
    double value[LETTER_VALUES];
    char text[640];
};

struct mailbox;

/* Collective on world (it is duplicated). Aborts on MPI failure. */
struct mailbox *mailbox_create(MPI_Comm world);
/* Collective; waits until all letters sent were taken. */
void mailbox_destroy(struct mailbox *m);

/* Queues a letter for a rank (oneself too). */
void mailbox_send(struct mailbox *m, int to, const struct letter *l);
/* Takes the next letter, if any, in the order each sender sent them. from receives the
 * sender's rank. to_coordinator: letters for the coordinator's role on this rank, or
 * those for its worker role. */
bool mailbox_take(struct mailbox *m, bool to_coordinator, struct letter *l, int *from);

#endif

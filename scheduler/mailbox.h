/* Letters between the coordinator and the workers, and blocks of numbers between workers:
 * the only point-to-point messages of the program besides comm_exchange. All calls return
 * at once; nobody ever blocks on a letter or a block. */
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
    LETTER_RECALL, /* coordinator -> worker: give this lease back if it has not begun */
    LETTER_BACK,   /* worker -> coordinator: this lease did not begin */
    LETTER_LEAVE, /* coordinator -> worker: the job is to end: wait for no other program */
    LETTER_WEIGHTS, /* worker -> worker: a block follows: weights of lease.version */
};

#define LETTER_VALUES 288

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

/* Blocks: n numbers in pieces of at most 4 MiB, beside the letters. p must stay (and not
 * change) until it is no longer busy. Blocks between two ranks keep their order. Each block
 * sent needs one receive; what is left over at the end mailbox_destroy throws away. */
void mailbox_send_block(struct mailbox *m, int to, const float *p, int64_t n);
void mailbox_receive_block(struct mailbox *m, int from, float *p, int64_t n);
/* Whether a block in p is still on its way, in or out. */
bool mailbox_block_busy(struct mailbox *m, const float *p);

#endif

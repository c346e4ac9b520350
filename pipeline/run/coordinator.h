/* The coordinator: keeps the ledger, hands out leases, watches the clock, the STOP file and
 * silent ranks, writes the records. It lives on one rank beside that rank's own work, so
 * coordinator_step never blocks and never runs a stage; it is called from every wait and
 * between micro-batches. scheduler/PROTOCOL.md describes the exchange. */
#ifndef SLUICE_PIPELINE_COORDINATOR_H
#define SLUICE_PIPELINE_COORDINATOR_H

#include "io/config.h"
#include "pipeline/run/record.h"
#include "pipeline/run/timeline.h"
#include "scheduler/mailbox.h"

/* The last values of a letter that ends an update's lease are its steps; the first ones are
 * the metrics, the rank's memory, the lease's account and times. */
enum { LETTER_STEPS = LETTER_VALUES - sizeof(struct update_steps) / sizeof(double) };
_Static_assert(TIMELINE_VALUE + sizeof(struct timeline_lease) / sizeof(double) <= LETTER_STEPS,
               "a letter holds what a lease's end says");

struct coordinator;

struct coordinator_options {
    const struct task *task;
    const struct config *config;
    const struct layout *layout;
    struct mailbox *mailbox;
    struct ledger *ledger; /* filled by prepare_ledger; owned by the coordinator now */
    struct record *record; /* owned by the coordinator now */
    const char *hosts;     /* host name of each rank, 64 bytes each; borrowed */
    struct record_cores on;
};

struct coordinator *coordinator_create(const struct coordinator_options *o);
void coordinator_destroy(struct coordinator *c);

/* The moment that the time line counts from, of clock_s. Before the first step. */
void coordinator_begin(struct coordinator *c, double zero_s);

/* Takes letters, hands out leases, checks clocks. After the last farewell: writes the
 * accounting and the final status. */
void coordinator_step(struct coordinator *c);

/* Does the rank put its reward leases aside, for other work? So where another program
 * scores and the rank has other roles. */
bool coordinator_asides(const struct task *t, const struct layout *l, int rank);

/* All ranks have said farewell and everything is written. */
bool coordinator_closed(const struct coordinator *c);

#endif

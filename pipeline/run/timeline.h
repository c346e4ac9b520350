/* Who worked when, and who waited for whom: written by the coordinator into
 * log/timeline.jsonl (io/FORMAT.md), a line per iteration, from what the letters say. The
 * file has a bounded length: a full one becomes log/timeline.old.jsonl. */
#ifndef SLUICE_PIPELINE_TIMELINE_H
#define SLUICE_PIPELINE_TIMELINE_H

#include "pipeline/run/record.h"
#include "scheduler/ledger.h"

/* What a rank says of a lease that it ended, beside its account. Times are seconds since
 * the session began. All doubles: travels in letters. */
struct timeline_lease {
    double from_s, to_s;
    double aside; /* 1: beside the rank's other leases, not 0 */
    struct task_spans spans;
};

/* Where it lies in a letter's values. */
enum { TIMELINE_VALUE = METRICS + 1 + sizeof(struct record_account) / sizeof(double) };

struct timeline_options {
    const char *dir; /* run directory */
    const struct layout *layout;
    int64_t shards, max_staleness;
};

struct timeline;

/* Borrows what the options point to. Writes nothing yet. */
struct timeline *timeline_create(const struct timeline_options *o);
void timeline_destroy(struct timeline *t);

/* A rank ended a lease; per rank in the order in which it worked. What lies between this
 * one and the one before is time that it waited, charged to this lease's group and
 * iteration, and to the group whose work was due first of all that the lease needed. */
void timeline_lease(struct timeline *t, int rank, const struct lease *lease,
                    const struct record_account *a, const struct timeline_lease *w);
/* The work is done by all and sealed: from now_s on nobody waits for it. */
void timeline_sealed(struct timeline *t, const struct lease *lease, double now_s);
/* An iteration is complete: its waits, and its line, which may stay in memory for some
 * seconds. */
void timeline_iteration(struct timeline *t, int64_t iteration, double now_s,
                        struct record_waits waited[GROUPS]);
/* The session ends: lines of iterations that it leaves undone, and all its waits, those
 * after a rank's last lease included. */
void timeline_finish(struct timeline *t, double now_s, struct record_waits waited[GROUPS]);

#endif

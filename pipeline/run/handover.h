/* New weights travel from the update ranks to the rollout ranks by message, so that nobody
 * rereads a policy file that was made in this job. The file stays the durable path: for
 * the start, for `sluice stage`, and for a rank that missed a message. Nothing may use
 * the weights before the file is sealed; that is the lease's business (it carries the
 * file's digest). scheduler/PROTOCOL.md, section "Weights". */
#ifndef SLUICE_PIPELINE_HANDOVER_H
#define SLUICE_PIPELINE_HANDOVER_H

#include "scheduler/layout.h"
#include "scheduler/mailbox.h"
#include "stages/task.h"

struct handover;

/* Sets t->handover. Arguments are borrowed; last: the run's last iteration + 1. Memory: at
 * most 4 vectors of weights, allocated when first used. */
struct handover *handover_create(struct task *t, const struct layout *l,
                                 struct mailbox *m, int rank, int64_t iterations);
/* After mailbox_destroy. */
void handover_destroy(struct handover *h);

/* A letter LETTER_WEIGHTS arrived: takes the block that follows it. */
void handover_hear(struct handover *h, const struct letter *l, int from);

#endif

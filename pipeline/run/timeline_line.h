/* Pieces of a line of log/timeline.jsonl (io/FORMAT.md). For timeline.c. */
#ifndef SLUICE_PIPELINE_TIMELINE_LINE_H
#define SLUICE_PIPELINE_TIMELINE_LINE_H

#include "io/json.h"
#include "pipeline/run/timeline.h"

struct timeline_wait {
    int on; /* a group, or RECORD_LEASE */
    double from, to;
};

/* Whole microseconds. */
int64_t timeline_us(double s);
/* An object that stays open, for timeline_put_waits and json_out_end. */
void timeline_put_lease(struct json_out *o, int rank, const struct lease *l,
                        const struct record_account *a, const struct timeline_lease *w);
/* "waited" */
void timeline_put_waits(struct json_out *o, const struct timeline_wait *wait, int waits);
/* "groups": their ranks, and seconds of work and waits of all of them. */
void timeline_put_groups(struct json_out *o, const struct layout *l,
                         const double working[GROUPS],
                         const struct record_waits waited[GROUPS]);

#endif

/* What a run writes for people and machines: metrics.jsonl, status.json, provenance.json,
 * accounting.json, and the progress line. Only the coordinator's rank calls these. */
#ifndef SLUICE_PIPELINE_RECORD_H
#define SLUICE_PIPELINE_RECORD_H

#include "io/config.h"
#include "scheduler/layout.h"
#include "stages/task.h"

struct record;

/* Opens the records of t->dir; repairs a torn last line of metrics.jsonl and adds lines
 * for policies that were sealed but not yet recorded. newest: the newest policy. */
struct record *record_open(const struct task *t, const struct config *c, int64_t newest);
void record_close(struct record *r);

/* Seconds of rank time in one group: with leases, and what of it went where; and seconds in
 * which another program was asked, which are work only as long as the rank does nothing else
 * meanwhile. Plain data of doubles; travels in letters. */
struct record_account {
    double working_s, spent_s[TASK_TIMES], asked_s;
};
/* a += b */
void record_add(struct record_account *a, const struct record_account *b);

/* Seconds that ranks of one group waited before their leases, by the group whose work they
 * waited for; RECORD_LEASE: all they needed was there, but not yet the lease. */
enum { RECORD_LEASE = GROUPS, RECORD_WAITS };
struct record_waits {
    double on_s[RECORD_WAITS];
};
/* "rollout", ..., "lease" */
const char *record_wait_name(int on);

/* One iteration: from the end of the one before; by group from first lease to last seal
 * (NaN where unknown); and the rank time of its leases, whenever they ran. */
struct record_times {
    double iteration_s, group_s[GROUPS];
    struct record_account account[GROUPS];
    struct record_waits waited[GROUPS];
    int at_once; /* ranks that can compute at the same time */
    int64_t rss_bytes; /* of the largest rank */
};

/* What the ranks compute on. */
struct record_cores {
    int at_once; /* ranks that can compute at the same time */
    int cores;   /* of all nodes */
};

/* One finished iteration: a metrics line, status.json and a progress line on stdout. */
int record_iteration(struct record *r, int64_t iteration, const double metric[METRICS],
                     const struct update_steps *steps, const struct record_times *times);

/* A line {"event": ...} in metrics.jsonl. */
int record_event(struct record *r, const char *event, const char *detail);

/* status.json: state is "running", "finished", "stopped" or "failed". */
int record_status(struct record *r, const char *state, int code, const char *message,
                  int64_t version);
/* A sign of life: the same as "running", with what a rank is at. A file that cannot be
 * written is left as it was. */
void record_beat(struct record *r, int64_t version, const char *phase);

/* provenance.json: this session's command line, build, libraries, hosts, environment; the
 * same as one line of log/sessions.jsonl. */
struct record_where {
    int ranks;
    const char *hosts, *placement; /* of all ranks, as one text each */
};
int record_provenance(struct record *r, int argc, char **argv,
                      const struct record_where *where);

/* accounting.json, and the table in the log and on stdout. */
struct record_rank {
    double rss_bytes;
    double weights_from[WEIGHTS_FROM]; /* versions, by where they came from */
};
struct record_session {
    const struct record_account *account; /* [rank * GROUPS + g] */
    const struct record_rank *rank;       /* [world] */
    const struct record_waits *waited;    /* [GROUPS] */
    struct record_cores on;
    double wall_s;
};
int record_accounting(struct record *r, const struct layout *l,
                      const struct record_session *s);

#endif

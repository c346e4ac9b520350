/* Where the ranks' time went, who waited for whom, and what to change. */
#ifndef SLUICE_PIPELINE_REPORT_TIME_H
#define SLUICE_PIPELINE_REPORT_TIME_H

#include "pipeline/plan/plan_model.h"
#include "pipeline/run/record.h"
#include "pipeline/report/report_parts.h"

/* A group's rank time. Seconds. */
struct report_spent {
    double working;        /* with a lease; of it: */
    double network, io, communication, optimizer, vote, other;
    struct record_waits wait; /* without one, by what it waited for */
};
double report_waited(const struct report_spent *s); /* all of it */
/* a += b */
void report_spent_add(struct report_spent *a, const struct report_spent *b);

/* rank_time and rank_wait of metrics.jsonl. */
struct report_shares {
    int64_t n; /* iterations that have both */
    int64_t *iteration;                /* [n] ascending */
    struct report_spent (*at)[GROUPS]; /* [n] */
    struct report_spent sum[GROUPS];
    double iteration_s; /* median of t_iteration_s, NaN: none */
};
/* A missing or unreadable file gives n = 0. */
void report_shares_read(struct report_shares *s, const char *rundir);
/* The same sums of the last job, from accounting.json; false where it lacks them. */
bool report_shares_of_job(struct report_spent sum[GROUPS], const struct json *accounting);
void report_shares_free(struct report_shares *s);

/* A stretch of time; kind: enum task_time, or a wait's group. Seconds since the session
 * began. */
struct report_span {
    int kind;
    double from, to;
};
enum { REPORT_WAITS = 16 };

/* A lease of log/timeline.jsonl. */
struct report_lease {
    int rank;
    enum group group;
    bool aside;
    bool rest; /* no lease: what the rank waited for after its last one */
    int64_t iteration;
    double from, to;
    int spans, waits;
    struct report_span span[TASK_SPANS], wait[REPORT_WAITS];
};
struct report_extent {
    int64_t iteration;
    double from, to;
    bool complete;
    struct report_spent mean[GROUPS]; /* working and waits, of all ranks together */
};
/* The last iterations of the newest session. */
struct report_line {
    struct report_lease *lease; /* by rank and time */
    int64_t leases;
    struct report_extent extent[8]; /* ascending */
    int extents;
    int first[GROUPS], ranks[GROUPS]; /* of each group; 0 ranks: it is not there */
    int64_t left_out;                 /* leases that were not recorded */
};
/* At most so many iterations. No file, or none readable: extents = 0. */
void report_line_read(struct report_line *l, const char *rundir, int iterations);
void report_line_free(struct report_line *l);
/* Has a rank several roles? */
bool report_line_overlaps(const struct report_line *l);

/* Of a group's work, of waits for each, and what it is that a wait is for. */
extern const char *const report_colour[GROUPS], *const report_tint[RECORD_WAITS],
    *const report_awaited[RECORD_WAITS];

enum { REPORT_WIDTH = 1100, REPORT_LEFT = 132 }; /* of pictures; of their labels */
/* Opens a picture of that height, as wide as the page. */
void report_svg(struct text *out, double height, const char *about);
/* The picture of the last iterations; nothing where there is none. */
void report_lanes(struct text *out, const struct report_line *l);

/* What advice is made of. Numbers that are not known are NaN, counts 0. */
struct report_facts {
    const struct report_metrics *metrics;
    const struct report_shares *shares;
    bool apart; /* groups own their ranks */
    struct layout layout;
    bool planned; /* the next one is there */
    struct plan_proposal plan;
    bool large; /* too many ranks to try other layouts here */
    int64_t shards, shard_samples, micro_batch, micro_batches, optimizer_steps;
    int64_t max_staleness;
    bool http, exec;
    int64_t in_flight, workers;
    bool has_kl_budget;
    double zero_advantages; /* share of the last iteration's samples */
    int64_t zero_iteration;
};
/* Appends a list item for each thing to change; returns how many. */
int report_advice(struct text *out, const struct report_facts *f);

#endif

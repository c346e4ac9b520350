/* What the files of a sweep share: what became of a member, and the tables of all. */
#ifndef SLUICE_PIPELINE_SWEEP_PARTS_H
#define SLUICE_PIPELINE_SWEEP_PARTS_H

#include "pipeline/report/report_parts.h"
#include "pipeline/sweep/sweep.h"

/* Frees what a member holds. */
void sweep_free_member(const struct sweep *s, struct sweep_member *m);

enum sweep_state {
    SWEEP_WAITING,     /* never begun */
    SWEEP_RUNNING,     /* somebody holds its lock */
    SWEEP_INTERRUPTED, /* the sweep was killed */
    SWEEP_STOPPED,     /* exit 75 */
    SWEEP_FAILED,
    SWEEP_FINISHED
};
const char *sweep_state_name(enum sweep_state state);

/* Numbers are NaN where there are none. */
struct sweep_result {
    enum sweep_state state;
    int64_t code;       /* -1: none yet */
    int64_t iterations; /* recorded */
    int64_t rung;       /* halving: the last one that it has finished, -1: none */
    double last, best;  /* of the sweep's metric */
    double reward_last, reward_best, kl, kl_path, guard, wall_s, starts;
    char message[200]; /* of a failure */
    struct report_metrics metrics;
};

/* What lies in a member's folder now. Never fails: what cannot be read is absent. */
void sweep_result_read(const struct sweep *s, const struct sweep_member *m,
                       struct sweep_result *r);
void sweep_result_free(struct sweep_result *r);
/* Whether a run up to that many iterations is finished. */
bool sweep_is_done(const struct sweep_member *m, int64_t iterations);
/* Whether it stopped by a file STOP in its own run directory. */
bool sweep_stopped_alone(const struct sweep_member *m);
/* The metric after so many iterations, NaN where there is none. */
double sweep_metric_at(const struct sweep *s, const struct sweep_member *m,
                       int64_t iterations);

/* member.json, after a member's process has ended. wall_s is added to what it says,
 * starts likewise grows by one. ERR_IO. */
int sweep_result_write(const struct sweep *s, const struct sweep_member *m,
                       int64_t code, double wall_s);

/* "update.lr=0.001 run.seed=2" */
void sweep_describe(const struct sweep *s, const struct sweep_member *m,
                    struct text *t);

/* Results of all members; to be freed by sweep_results_free. */
struct sweep_result *sweep_results(const struct sweep *s);
void sweep_results_free(const struct sweep *s, struct sweep_result *r);

/* What failed and how many there are of each state; rows: a line for each member too.
 */
void sweep_print(const struct sweep *s, const struct sweep_result *r, bool rows);
/* table.csv and table.h5. ERR_IO. */
int sweep_tables(const struct sweep *s, const struct sweep_result *r);
/* report.html. ERR_IO. */
int sweep_report(const struct sweep *s, const struct sweep_result *r);

#endif

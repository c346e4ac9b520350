/* The units of scoring: which there are, scoring one, reading its file again. Nothing here is
 * collective. */
#ifndef SLUICE_PIPELINE_SCORE_UNITS_H
#define SLUICE_PIPELINE_SCORE_UNITS_H

#include "io/shard.h"
#include "pipeline/given.h"
#include "stages/task.h"

struct score_unit {
    int64_t iteration, number;
    int64_t first, n; /* rows of given samples */
    char file[64];    /* of its scores, below the folder for them */
};

/* All rollout shards of a run directory, in order; or blocks of `size` given samples. The
 * caller frees *unit with mem_free. ERR_INPUT: there are none. */
int score_units_of_run(const char *run, struct score_unit **unit, int64_t *n);
int score_units_of_given(const struct given *g, int64_t size, struct score_unit **unit,
                         int64_t *n);

struct score_place {
    const char *source;        /* run directory, or what given is from */
    const struct given *given; /* NULL: a run */
    const char *identity;      /* of t's scorer (scorer_identity) */
    bool retry;                /* score again what failed or timed out */
};

/* Scores a unit with t's reward into t->dir. 1: done; 0: it was there; -1: an error:
 * ERR_USAGE where what is there is of other samples or settings. */
int score_unit(struct task *t, const struct score_place *p, const struct score_unit *u);

struct score_column { /* of all units read so far */
    int64_t n;
    double *score;
    int64_t *index; /* number of the sample in its iteration; of given ones: row */
    int64_t *unit;  /* [n] which unit it is from */
    int64_t units;
    uint8_t *status;
};
int score_unit_read(struct task *t, const struct score_unit *u, struct score_column *c);
void score_column_free(struct score_column *c);

/* "iteration,shard,sample,score,status", and "file" where samples have names. ERR_IO. */
int score_units_csv(const char *path, const struct score_unit *unit, int64_t n,
                    const struct score_column *c, const char *const *name);

#endif

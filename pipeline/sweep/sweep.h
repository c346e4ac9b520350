/* Sweeps: many runs that differ in a few keys, several at a time inside one allocation.
 * A member's name follows from its parameters, so the same command finds what is there,
 * leaves out what is finished and goes on with the rest.
 *
 *   SWEEPDIR/sweep.json            parameters of all members
 *   SWEEPDIR/members/ID/run        run directory of a member
 *   SWEEPDIR/members/ID/log.txt    what it printed
 *   SWEEPDIR/members/ID/member.json  how it ended; lock: held while it runs
 *   SWEEPDIR/table.csv table.h5 report.html   at the end, and from `sluice sweep collect`
 *   SWEEPDIR/slurm log       script, copies and logs of jobs (sweep_submit.h) */
#ifndef SLUICE_PIPELINE_SWEEP_H
#define SLUICE_PIPELINE_SWEEP_H

#include "io/config.h"

enum { SWEEP_ID = 12, SWEEP_RUNGS = 24 };

struct sweep_member {
    char id[SWEEP_ID + 1];
    char **value; /* [keys] canonical spelling, NULL: the base's value */
    char *dir;
    int64_t iterations, threads, seed;
};

struct sweep {
    char *dir, *base; /* base: a configuration file */
    char **key;       /* [keys] */
    int64_t keys;
    char **override; /* [overrides] for all members */
    int64_t overrides;
    struct sweep_member *member; /* [members] */
    int64_t members, twins;      /* twins: left out, equal to earlier ones */
    struct config *settings;     /* section sweep of the file; NULL after sweep_load */
    char metric[24];
    /* Halving: rung k runs count[k] members up to iterations[k]; otherwise rungs = 0.
     */
    int64_t rungs, count[SWEEP_RUNGS], iterations[SWEEP_RUNGS];
};

/* The keys of section sweep. */
extern const struct config_key sweep_settings[];

/* Reads a sweep file; words are section.key=value, of which sweep.* are settings and
 * all others change the base configuration. Every member's configuration is checked,
 * also against what its run directory holds. NULL: ERR_USAGE, ERR_INPUT. */
struct sweep *sweep_plan(const char *path, int n, char *const *words);
/* Makes SWEEPDIR and writes sweep.json. ERR_IO. */
int sweep_save(const struct sweep *s);
/* What sweep_save wrote. NULL: ERR_INPUT. */
struct sweep *sweep_load(const char *dir);
void sweep_destroy(struct sweep *s);

struct sweep_options {
    int64_t part, parts;   /* only members whose number % parts == part */
    double max_walltime_s; /* 0: none */
    const char *launcher;  /* words before a program of several ranks; "": as Slurm has it */
};

/* Runs what is not finished. 0: all of it is finished; ERR_STOPPED: the same call goes
 * on; else the code of the first member that failed. */
int sweep_run(const struct sweep *s, const struct sweep_options *o);

#endif

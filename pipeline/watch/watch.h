/* `sluice watch`: the progress of runs, from their files alone. */
#ifndef SLUICE_PIPELINE_WATCH_WATCH_H
#define SLUICE_PIPELINE_WATCH_WATCH_H

#include <stdbool.h>
#include <stdint.h>

struct watch_options {
    char *const *dir; /* [dirs] run directories, or folders of sweeps */
    int64_t dirs;
    double interval_s;
    bool once; /* print one plain picture */
    bool wait; /* for directories that are not there yet */
};

/* On a terminal: draws until all runs have ended or the user leaves, then prints the
 * last picture. Elsewhere, or once: prints one picture without colours or cursor moves.
 * ERR_INPUT: a directory is neither a run's nor a sweep's. */
int watch_runs(const struct watch_options *o);

#endif

/* A sweep as a Slurm job, by the means of `sluice submit`. */
#ifndef SLUICE_PIPELINE_SWEEP_SUBMIT_H
#define SLUICE_PIPELINE_SWEEP_SUBMIT_H

#include "pipeline/sweep/sweep.h"

/* Plans the sweep as sweep_plan does. Writes SWEEPDIR/slurm: the script and copies of
 * the sweep file and of the base; hands the script to sbatch and prints the job's
 * number. With
 * --dry-run prints the script alone. array: tasks with members that are not finished,
 * at most as many as the site allows. Where all members are finished it says so and
 * does nothing. options: a table with all of submit_options. ERR_USAGE, ERR_INPUT,
 * ERR_IO, ERR_ENV. */
int sweep_submit(const char *path, int n, char *const *words, bool array,
                 const struct config *options);

#endif

/* The report: one self-contained HTML file about a run. */
#ifndef SLUICE_PIPELINE_REPORT_H
#define SLUICE_PIPELINE_REPORT_H

/* Reads what lies in rundir (metrics, accounting, provenance, configuration, some shards,
 * evenly chosen; each may be missing or cut short) and writes the report atomically to
 * out, NULL: rundir/report.html. Uses gnuplot, run as a child process, where there is
 * one; tables stand in for the plots otherwise. ERR_INPUT when rundir is no run
 * directory, ERR_IO. */
int report_write(const char *rundir, const char *out);

#endif

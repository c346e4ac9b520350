/* Checks of a machine by the program itself: what a run needs of processors, MPI, the
 * file system and signals, tried out with tiny things. */
#ifndef SLUICE_PIPELINE_SELFTEST_H
#define SLUICE_PIPELINE_SELFTEST_H

#include "io/json.h"
#include "io/sys/comm.h"
#include "pipeline/compute.h"
#include "stages/model/model.h"

enum selftest_status { SELFTEST_OK, SELFTEST_SLOW, SELFTEST_FAILED };

enum { SELFTEST_LINES = 16 };

/* A result. text: what was found, and for slow and FAILED what to do. */
struct selftest_line {
    char name[16];
    enum selftest_status status;
    int code; /* enum err_code, of FAILED */
    char text[1024];
};

/* Plain data; rank 0's counts. */
struct selftest {
    const struct comm *all;
    bool quick, json;
    char dir[3072]; /* a folder of its own, that the checks fill */
    struct compute compute;
    struct selftest_line line[SELFTEST_LINES];
    int lines;
};

/* Adds a line and, unless the result is JSON, prints it at once. */
void selftest_say(struct selftest *t, enum selftest_status status, const char *name,
                  const char *fmt, ...) __attribute__((format(printf, 4, 5)));
/* Adds FAILED with the pending error, which is cleared, and what to do. */
void selftest_fail(struct selftest *t, const char *name, const char *remedy);
/* Begins a check: a line on stderr and the end of the process (ERR_STALL) where it
 * takes longer than `seconds`; 0: none is running. */
void selftest_watch(const char *name, int seconds);
/* The exit code: 0, or that of the first FAILED. */
int selftest_code(const struct selftest *t);
/* The verdict, in words or with all lines as JSON, on stdout. */
void selftest_verdict(const struct selftest *t);

/* A U-Net for pictures of size x size; the caller destroys it. width: of the first
 * level; a second one has twice of it. */
struct model *selftest_network(int width, int size);

/* Kernels: a closed form, numbers kept from another build, plain loops against the fast
 * path, equal bits on all ranks. Collective on t->all. */
void selftest_arithmetic(struct selftest *t);
/* Evaluations of a small network per second: of rank 0 alone, then of all ranks at
 * once. Collective on t->all. */
void selftest_throughput(struct selftest *t);
/* Exchange of all with all; letters between rank 0 and each; a block. Collective on
 * t->all. */
void selftest_mpi(struct selftest *t);
/* Sealed files, who sees them when, atomic replacement, locks. Collective on t->all. */
void selftest_files(struct selftest *t);
/* A tiny run as a child, stopped by a signal and resumed, against one that was not.
 * Without MPI: after MPI_Finalize, on one process. */
void selftest_resume(struct selftest *t);

#endif

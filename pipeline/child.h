/* Programs that run as children of this one. Never while MPI is up. */
#ifndef SLUICE_PIPELINE_CHILD_H
#define SLUICE_PIPELINE_CHILD_H

#include "io/sys/text.h"

#include <sys/types.h>

/* Runs argv (NULL-terminated; argv[0] is looked up in PATH) with its output appended to the
 * file log, and waits. It gets SIGTERM where this program ends first. Its exit code; 128 + n where signal n ended it; -1 with ERR_ENV
 * where it could not be started. */
int child_run(char *const *argv, const char *log);
/* The same in parts. Its id, or -1 with ERR_ENV; whether it ended, with its exit code as
 * above (127: it could not be started); that code once it ends. Each child is asked for
 * its code until it is given once. */
pid_t child_start(char *const *argv, const char *log);
bool child_ended(pid_t pid, int *code);
int child_wait(pid_t pid);

enum { CHILD_NOT_STARTED = 127 }; /* the code of a program that is not there, as in shells */
/* One of many: in a process group of its own and with no signal held back. keep: a
 * descriptor that the child has too, closed or not at an exec; -1: none. 0 or -1. */
int child_launch(char *const *argv, const char *log, int keep, pid_t *pid);
/* A child that has ended since: its code as above, *pid its number; -1, without an error: no
 * further one has. */
int child_next(pid_t *pid);
/* The part of such a child: `sluice child PARENT PROGRAM ...` becomes PROGRAM. An exit code
 * where it cannot. */
int child_become(int argc, char **argv);

/* Feeds input to a program that reads all of it before it writes, as gnuplot does, and
 * takes what it writes. False, without an error, where that fails in any way. */
bool child_filter(char *const *argv, const struct text *input, struct text *output);

#endif

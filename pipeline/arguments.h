/* Command lines that several subcommands share. */
#ifndef SLUICE_PIPELINE_ARGUMENTS_H
#define SLUICE_PIPELINE_ARGUMENTS_H

#include "io/config.h"

/* `sluice NAME CONFIG [section.key=value ...] [--max-walltime TIME]`: the configuration, or
 * NULL where the command ends with *code: help was printed, or the error was. */
struct config *arguments_job(const char *name, const char *help, int argc, char **argv,
                             int *code);

/* The configuration of a run directory, DIR/config.yaml, with run.dir=DIR, no time limit and
 * then the overrides. NULL: ERR_INPUT, ERR_USAGE. */
struct config *arguments_directory(const char *dir, int n, char **overrides);

/* `sluice NAME PATH [--json]`: the path, or NULL as above. */
const char *arguments_path(const char *name, const char *help, int argc, char **argv,
                           int *code);
/* Whether --json is among the arguments. */
bool arguments_json(int argc, char **argv);

#endif

/* Command lines that several subcommands share. */
#ifndef SLUICE_PIPELINE_ARGUMENTS_H
#define SLUICE_PIPELINE_ARGUMENTS_H

#include "io/config.h"

/* `sluice NAME CONFIG [section.key=value ...] [--max-walltime TIME] [--quiet]`: the
 * configuration, or NULL where the command ends with *code: help was printed, or the error was. */
struct config *arguments_job(const char *name, const char *help, int argc, char **argv,
                             int *code);

/* The configuration of a run directory, DIR/config.yaml, with run.dir=DIR, no time limit, not
 * quiet, and then the overrides. NULL: ERR_INPUT, ERR_USAGE. */
struct config *arguments_directory(const char *dir, int n, char **overrides);

/* The run directory that a source is (or lies in: a policy file), to be freed with mem_free;
 * NULL where there is none. */
char *arguments_run_of(const char *source);
/* The configuration for a source: a CONFIG.yaml in rest[0], or that of the run directory
 * that the source lies in, or the defaults; then the overrides in rest. NULL as above. */
struct config *arguments_source(const char *source, int n, char **rest);

/* `sluice NAME PATH [--json]`: the path, or NULL as above. */
const char *arguments_path(const char *name, const char *help, int argc, char **argv,
                           int *code);
/* "--name value", "--name=value" of a command whose options are a table of keys; switches may
 * stand alone. *i is at the option and moves to the last argument used. ERR_USAGE. */
int arguments_option(struct config *c, const struct config_key *table, int argc,
                     char **argv, int *i);
/* The same for a whole command line: options into c, the other words into word[*n], which has
 * room for argc. ERR_USAGE. */
int arguments_words(struct config *c, const struct config_key *table, int argc,
                    char **argv, char **word, int *n);
/* An option's text, NULL where it is empty. Borrowed from c. */
const char *arguments_text(const struct config *c, const char *key);
/* The table for --help, on stdout. */
void arguments_option_help(const struct config_key *table);
/* Whether --help or -h is among the arguments; then the usage is printed, the table, and the
 * text behind it. table, after: NULL where there is none. */
bool arguments_help(int argc, char **argv, const char *usage,
                    const struct config_key *table, const char *after);
/* Whether --json is among the arguments. */
bool arguments_json(int argc, char **argv);

#endif

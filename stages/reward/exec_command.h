/* A command line: its words, and what identifies the program behind it. */
#ifndef SLUICE_STAGES_REWARD_EXEC_COMMAND_H
#define SLUICE_STAGES_REWARD_EXEC_COMMAND_H

#include "io/sys/digest.h"

/* Splits a line as a shell does, and nothing more: blanks between words, 'as it is', "with
 * \" and \\", \ before any character outside of quotes. Words end with a NULL; free with
 * exec_command_free. NULL with ERR_USAGE: no word, or a quote that does not end. */
char **exec_command_words(const char *line);
void exec_command_free(char **words);

/* Adds the words, and the content of every regular file that one of them names; the first
 * is looked up in PATH. Files beyond 256 MiB enter by size and time of change. */
void exec_command_identify(char *const *words, struct digest *d);

#endif

/* Words for shells and for lines of #SBATCH: whatever they hold, they stay one word. */
#ifndef SLUICE_PIPELINE_SUBMIT_QUOTE_H
#define SLUICE_PIPELINE_SUBMIT_QUOTE_H

#include "io/sys/text.h"

/* As it is where no shell would touch it, else in single quotes. */
void submit_quote(struct text *out, const char *word);
/* "--name=value" behind #SBATCH: sbatch reads quotes and backslashes there. */
void submit_quote_option(struct text *out, const char *value);
/* No control characters: a name with a line break would end a line of the script. ERR_USAGE
 * names what. */
int submit_check_line(const char *what, const char *value);
/* Letters, digits and _.,:+@%=[]*&|!()/- only, as in names of partitions and in lists of
 * features. ERR_USAGE names what. */
int submit_check_word(const char *what, const char *value);

#endif

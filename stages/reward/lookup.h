/* A csv file as a function of a text: rows are found by one column, numbers are read
 * from others. For rewards, labels and comparisons. Fields are without quotes. */
#ifndef SLUICE_STAGES_REWARD_LOOKUP_H
#define SLUICE_STAGES_REWARD_LOOKUP_H

#include <stdint.h>

struct lookup;

enum { LOOKUP_COLUMNS = 8 };

/* spec: FILE.csv:KEY:VALUE[:VALUE...] with `columns` (1..8) values, names of the first
 * line. `key` names the setting that holds spec, for errors. NULL: ERR_USAGE (spec),
 * ERR_INPUT (no such column; a value that is no finite number; one key twice with other
 * values). The caller closes it. */
struct lookup *lookup_open(const char *key, const char *spec, int64_t columns);
void lookup_close(struct lookup *l);
int64_t lookup_rows(const struct lookup *l);
/* The text of a row, and its values [columns]; row in 0..rows-1, in the file's order.
 */
const char *lookup_text(const struct lookup *l, int64_t row);
const double *lookup_values(const struct lookup *l, int64_t row);
/* The row of a text, -1 where there is none. */
int64_t lookup_find(const struct lookup *l, const char *text);

#endif

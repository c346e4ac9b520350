/* Lines and fields of csv text: commas between fields, no quotes, blank lines left out,
 * blanks at a field's end as well. */
#ifndef SLUICE_IO_CSV_H
#define SLUICE_IO_CSV_H

#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

enum { CSV_FIELD_MOST = 1 << 20 }; /* characters of a text */

/* A place in the text: plain data. The current line is [line, end), its number from 1.
 */
struct csv {
    const char *path, *line, *end;
    int64_t number;
    const char *rest, *all; /* lines to come */
    const char *at;         /* the field to come, NULL after the last one */
};

/* Part of the text. */
struct csv_field {
    const char *p;
    int64_t len;
};

/* Before the first line of text[len], which stays the caller's; path is for errors. */
void csv_begin(struct csv *c, const char *path, const unsigned char *text, int64_t len);
/* Goes to the next line that is not blank; false: there is none. */
bool csv_next(struct csv *c);
/* The line's next field; false: there is none. */
bool csv_field(struct csv *c, struct csv_field *f);
/* The line's field k, from 0, after which csv_field goes on. ERR_INPUT where there are
 * fewer. */
int csv_field_at(struct csv *c, int64_t k, struct csv_field *f);
/* *k <- the column of that name, where the line holds names. ERR_INPUT: none has it. */
int csv_column(struct csv *c, const char *name, int64_t *k);
/* A field as a whole and finite number; false where it is none. */
bool csv_number(const struct csv_field *f, double *out);
/* ERR_INPUT where the line has what a table of texts has not: quotes, bytes 0. */
int csv_check_texts(const struct csv *c);
/* A field's copy, to be freed. NULL, ERR_INPUT: it is too long. */
char *csv_text(const struct csv_field *f);
/* Adds "PATH:LINE", or before the first line PATH, to the trail of the pending error;
 * -1. */
int csv_where(const struct csv *c);

/* Appends a field to write, in quotes where it has a comma, a quote or the end of a line
 * (RFC 4180). csv_next and the like do not read such fields. */
void csv_put(struct text *out, const char *s);

#endif

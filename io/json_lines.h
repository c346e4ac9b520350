/* A file of one JSON object a line (metrics.jsonl, log/sessions.jsonl), tolerant of what a
 * kill or a foreign hand left there. Blank lines are passed over. A line that is no JSON
 * object or is longer than 16 MiB is skipped and counted, and so is a last line that was
 * cut; a last line that lacks only its newline is read. */
#ifndef SLUICE_IO_JSON_LINES_H
#define SLUICE_IO_JSON_LINES_H

#include "io/json.h"

#include <stdint.h>

struct json_lines;

/* NULL: ERR_INPUT (missing, no file, larger than 1 GiB), ERR_IO. */
struct json_lines *json_lines_open(const char *path);

/* The next object, which the caller frees with json_free; NULL: there is no more. Leaves no
 * pending error. */
struct json *json_lines_next(struct json_lines *l);

/* Lines skipped up to here. */
int64_t json_lines_unreadable(const struct json_lines *l);

void json_lines_close(struct json_lines *l);

#endif

/* metrics.jsonl as a table of numbers, tolerant of a run that was killed (a cut last
 * line) or restarted (an iteration twice: the later line counts). */
#ifndef SLUICE_PIPELINE_METRICS_LOG_H
#define SLUICE_PIPELINE_METRICS_LOG_H

#include <stdint.h>

struct metrics_log { /* plain data */
    char **name; /* [names] keys in order of appearance; nested ones joined by dots */
    int64_t names, rows;
    int64_t *iteration; /* [rows] ascending */
    double **value;     /* [rows] of [names]; NaN: absent or null */
    char **time;        /* [rows] UTC, ISO 8601; "" where the line has none */
    int64_t unreadable; /* lines that are no JSON object */
};

/* Reads a file; a missing one gives no rows. ERR_INPUT: larger than 1 GiB. */
int metrics_log_read(struct metrics_log *m, const char *path);
/* The value of a key in row `row`, NaN where there is none. */
double metrics_log_value(const struct metrics_log *m, int64_t row, const char *name);
/* The row of an iteration, -1: none. */
int64_t metrics_log_row(const struct metrics_log *m, int64_t iteration);
void metrics_log_free(struct metrics_log *m);

#endif

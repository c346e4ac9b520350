/* metrics.jsonl as a table of numbers, tolerant of a run that was killed (a cut last
 * line) or restarted (an iteration twice: the later line counts). */
#ifndef SLUICE_PIPELINE_METRICS_LOG_H
#define SLUICE_PIPELINE_METRICS_LOG_H

#include <stdint.h>

/* Lines of a larger iteration are unreadable: up to here a double holds it. */
#define METRICS_ITERATION_MOST ((int64_t)1 << 53)

struct metrics_log { /* plain data */
    char **name; /* [names] keys in order of appearance; nested ones joined by dots */
    int64_t names, rows;
    int64_t *iteration; /* [rows] ascending */
    double **value;     /* [rows] of [width[row]]; metrics_log_at reads them */
    int64_t *width;     /* [rows] */
    char **time;        /* [rows] UTC, ISO 8601; "" where the line has none */
    int64_t unreadable; /* lines that are no JSON object */
};

/* Reads a file; a missing one gives no rows. ERR_INPUT: larger than 1 GiB. */
int metrics_log_read(struct metrics_log *m, const char *path);
/* The value in a column (of `name`), NaN where it is absent or null. */
double metrics_log_at(const struct metrics_log *m, int64_t row, int64_t column);
/* The value of a key in row `row`, NaN where there is none. */
double metrics_log_value(const struct metrics_log *m, int64_t row, const char *name);
/* The row of an iteration, -1: none. */
int64_t metrics_log_row(const struct metrics_log *m, int64_t iteration);
void metrics_log_free(struct metrics_log *m);

/* Of lines 0 .. n-1, in the file's order, those that count: the last one of each iteration,
 * ascending. Writes their numbers to keep [n]; returns how many. */
int64_t metrics_log_order(const int64_t *iteration, int64_t n, int64_t *keep);

#endif

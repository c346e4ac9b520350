/* Growable strings, number parsing, spelling suggestions. */
#ifndef SLUICE_IO_SYS_TEXT_H
#define SLUICE_IO_SYS_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A growable string; all zero is a valid empty one. s is NULL until the first add,
 * afterwards always NUL-terminated. */
struct text {
    char *s;
    int64_t len, cap;
};

void text_add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void text_add_bytes(struct text *t, const void *p, int64_t n);
void text_free(struct text *t);

/* printf into a new string; the caller frees with mem_free. */
char *text_new(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* Whole-string parsers: false when s is not entirely one number in range. */
bool text_to_i64(const char *s, int64_t *out);
bool text_to_f64(const char *s, double *out);

/* "90", "90s", "15m", "1:30:00", "1-00:00:00" (Slurm's forms; a bare number is seconds)
 * -> seconds. */
bool text_to_seconds(const char *s, double *out);

/* ERR_USAGE: there is no `what` of this name, but perhaps a near one, and n others. Always
 * returns -1. */
int text_unknown(const char *what, const char *name, const char *const *known, int64_t n);

/* The candidate nearest to word by edit distance, or NULL if none is near. */
const char *text_nearest(const char *word, const char *const *candidates, int64_t n);

#endif

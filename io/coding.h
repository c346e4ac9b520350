/* How data are coded as the numbers of a sample, so that samples can be turned back. A
 * network's config.json says it under the key "data":
 *
 *   {"kind": "series", "mean": 0.9, "std": 1.1}              value = mean + std * number
 *   {"kind": "series", "log": true, "mean": -.3, "std": .8}  value = exp(the same)
 *   {"kind": "text", "alphabet": "ACGT"}
 *
 * Text of length T is [A, 1, T] for an alphabet of A characters: channel a at place t is 1
 * where the text has character a there and -1 elsewhere; back, the largest channel counts
 * (the first of equal ones). A blank in the alphabet fills shorter texts up at their end.
 */
#ifndef SLUICE_IO_CODING_H
#define SLUICE_IO_CODING_H

#include "io/json.h"

#include <stdbool.h>
#include <stdint.h>

enum { CODING_LETTERS = 64 }; /* most characters of an alphabet */

enum coding_kind { CODING_NONE, CODING_SERIES, CODING_TEXT };

struct coding { /* plain data; all zero: none */
    enum coding_kind kind;
    bool log;
    double mean, std;
    char alphabet[CODING_LETTERS + 1];
};

/* The key "data" of a config.json; kind none where it is absent. -1: ERR_INPUT. */
int coding_read(const struct json *config, const char *path, struct coding *c);
/* Printable, distinct characters, 2 or more: 0, else -1 with ERR_USAGE. */
int coding_set_alphabet(struct coding *c, const char *alphabet);
/* The text of a config.json, which has no "data", with it; free with mem_free. */
char *coding_insert(const struct coding *c, const char *config);

/* Mean and deviation of n values (of their logarithms) into a series' coding. -1:
 * ERR_INPUT, values that are all equal, or not positive where logarithms are taken. */
int coding_fit(struct coding *c, bool log, const float *x, int64_t n);
/* Values of a series to numbers, in place. -1: ERR_INPUT as above. */
int coding_encode(const struct coding *c, float *x, int64_t n);
/* And back, in place. */
void coding_decode(const struct coding *c, float *x, int64_t n);

/* Text of at most `length` characters -> x [A, length]. -1: ERR_INPUT, it is longer or has
 * a character that is not in the alphabet. */
int coding_encode_text(const struct coding *c, const char *s, int64_t length, float *x);
/* x [A, length] -> s[length + 1], without the blanks at its end. */
void coding_decode_text(const struct coding *c, const float *x, int64_t length, char *s);

#endif

/* Samples as the JSON that a service reads: pictures as PNG or JPEG in base64, series as
 * numbers, texts as they are. */
#ifndef SLUICE_STAGES_REWARD_HTTP_SAMPLE_H
#define SLUICE_STAGES_REWARD_HTTP_SAMPLE_H

#include "io/coding.h"
#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

struct http_shape { /* of all samples; coding: NULL-able */
    int64_t channels, height, width;
    const struct coding *coding;
};

struct http_sample {
    const float *x; /* [channels, height, width] as the sampler left it */
    int64_t label;  /* 0 without classes */
    int64_t index, iteration;
    const char *prompt; /* "" without prompts */
};

enum http_part {
    HTTP_PNG, HTTP_JPEG, /* base64 */
    HTTP_DATA_URL,       /* of the PNG */
    HTTP_VALUES,         /* [channels, height, width] lists in lists, a series in its units */
    HTTP_TEXT, HTTP_PROMPT, HTTP_LABEL, HTTP_INDEX, HTTP_ITERATION,
    HTTP_PARTS,
};

/* "png", ...; a part of that name, or HTTP_PARTS. */
const char *http_sample_part_name(enum http_part part);
enum http_part http_sample_part(const char *name, int64_t len);
/* NULL where samples of this shape have the part, else why not. */
const char *http_sample_lacks(const struct http_shape *shape, enum http_part part);

/* Is every number of the sample, and every value of a series, finite? JSON has no others. */
bool http_sample_finite(const struct http_shape *shape, const float *x);

/* Appends the part as a JSON value. -1: ERR_INPUT, a picture that cannot be coded. */
int http_sample_add(const struct http_shape *shape, const struct http_sample *s,
                    enum http_part part, struct text *out);

/* s as a JSON string, with its quotes; v, finite, as a number that reads back as v. */
void http_sample_add_string(struct text *out, const char *s);
void http_sample_add_number(struct text *out, float v);

#endif

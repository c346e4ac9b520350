/* Keys of a network's config.json, read against one table: what is not in the table, or
 * does not fit it, is refused by name. */
#ifndef SLUICE_STAGES_MODEL_KEYS_H
#define SLUICE_STAGES_MODEL_KEYS_H

#include "io/json.h"

#include <stddef.h>

enum keys_kind {
    KEYS_COUNT, /* an integer from low to high, into int64_t; null leaves the default */
    KEYS_BOOL,  /* into bool */
    KEYS_SIZES, /* an integer for both, or [height, width], each from low to high, into
                   int64_t[2] */
    KEYS_ELSEWHERE, /* read by another part of the program */
};

struct keys {
    const char *name;
    enum keys_kind kind;
    size_t field; /* offset in the structure that is filled */
    int64_t low, high;
    bool needed;
};

/* Fills `out`, which holds the defaults. Names with an underscore in front are passed
 * over. -1: ERR_INPUT naming path, key and what is allowed; an unknown key gets the
 * nearest name. */
int keys_read(const struct json *config, const char *path, const struct keys *table,
              int n, void *out);

#endif

/* What config.c and config_read.c share. */
#ifndef SLUICE_IO_CONFIG_INTERNAL_H
#define SLUICE_IO_CONFIG_INTERNAL_H

#include "io/config.h"

struct value {
    char *text;   /* canonical spelling */
    char *origin; /* NULL: default */
    int64_t i;    /* also the index of a choice, and 0 or 1 of a bool */
    double r;
    int64_t *list, count;
};

struct config {
    const struct config_key *table;
    int64_t n;
    struct value *value;
};

/* Index of a key, -1 when there is none. */
int64_t config_find(const struct config *c, const char *key);
/* Parses text for key number at; the old value stays when it is refused. origin ("FILE:
 * LINE", "command line"; NULL: default) is copied. ERR_USAGE. */
int config_set(struct config *c, int64_t at, const char *text, const char *origin);
/* Both always return -1: ERR_USAGE for a value with what the key takes, for a key that
 * does not exist with the nearest and its section's keys. */
int config_refuse(const struct config_key *k, const char *text, const char *where);
int config_unknown(const struct config *c, const char *key, const char *where);
/* What this key accepts, in words. */
void config_add_allowed(struct text *t, const struct config_key *k);

#endif

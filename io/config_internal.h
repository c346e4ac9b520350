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
    struct value *value; /* of a part: without text where the whole's counts */
    const struct config *whole; /* of a part */
    char name[CONFIG_PART_NAME + 1]; /* likewise */
    struct config **part;
    int64_t parts;
};

/* The part of this name, made where it is new. NULL: ERR_USAGE, no such name can be. */
struct config *config_part_named(struct config *c, const char *name, const char *where);
/* Index of what a part calls `key`, or -1. */
int64_t config_part_find(const struct config *part, const char *key);
/* As config_unknown for what a part calls `key`. */
int config_part_unknown(const struct config *part, const char *key, const char *where);
/* Whether it is a section whose keys a part may have. */
bool config_part_section(const struct config *part, const char *name);
/* Index of the key of type PARTS, or -1. */
int64_t config_parts_key(const struct config *c);
/* For config_dump and config_digest. */
void config_parts_dump(const struct config *c, struct text *out);
void config_parts_digest(const struct config *c, struct digest *d);
/* Free text quoted, other values as they are. */
void config_add_yaml(struct text *out, enum config_type type, const char *s);

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

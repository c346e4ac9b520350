/* Configuration: YAML files and section.key=value overrides read against one schema
 * table. The table belongs to the program (pipeline/schema.c); defaults, types, ranges,
 * help, validation, the saved configuration and its digest all come from it. */
#ifndef SLUICE_IO_CONFIG_H
#define SLUICE_IO_CONFIG_H

#include "io/sys/digest.h"
#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

enum config_type {
    CONFIG_INT,
    CONFIG_REAL,
    CONFIG_BOOL,
    CONFIG_TEXT,
    CONFIG_CHOICE,   /* one of choices */
    CONFIG_DURATION, /* text_to_seconds */
    CONFIG_INT_LIST, /* [0, 3, 5] */
    CONFIG_PARTS,    /* named maps of other keys; at top level, once (config_part) */
};

/* One line of the schema. key is "section.name", or a bare name at top level. */
struct config_key {
    const char *key;
    enum config_type type;
    const char *def;     /* default as text; "" = empty */
    double min, max;     /* numbers; both 0: no limit */
    const char *choices; /* "a|b|c" for CHOICE; for INT and REAL: words that are accepted
                            besides numbers, e.g. "auto"; for PARTS: the sections whose
                            keys a part may have, of which the first may be left out */
    bool shapes_results; /* enters the digest: a resumed run must not change it */
    const char *help;
};

struct config;

/* table: NULL-key-terminated, borrowed. All values start at their defaults. */
struct config *config_create(const struct config_key *table);
void config_destroy(struct config *c);

/* Reads a YAML file (1 MiB at most, no anchors needed, one document). ERR_USAGE names file,
 * line, key, the allowed values and, for an unknown key, the nearest one. */
int config_read(struct config *c, const char *path);
/* "section.key=value". */
int config_override(struct config *c, const char *assignment);
/* The same from another place, as "sweep.yaml:7". */
int config_assign(struct config *c, const char *assignment, const char *where);

/* Parts: under a key of type PARTS, maps with a name each, whose keys are those of some
 * sections (choices), of the first with or without "section.":
 *
 *   components:
 *     size: {name: jpeg_compressibility, weight: 0.5}
 *     taste: {name: http, http: {url: "https://..."}}
 *
 * or components.size.weight=0.5. A part is a configuration of its own: what it does not
 * set is as in the whole. Names: a letter, then letters, digits and _; 24 characters. */
enum { CONFIG_PART_NAME = 24, CONFIG_PARTS_MAX = 32 };
int64_t config_parts(const struct config *c);
/* Part i in the order of their appearance; borrowed. */
const struct config *config_part(const struct config *c, int64_t i, const char **name);
/* Whether the part itself sets the key ("section.name"). */
bool config_part_sets(const struct config *part, const char *key);
/* Whether names, order or keys with shapes_results differ. */
bool config_parts_differ(const struct config *a, const struct config *b);

int64_t config_int(const struct config *c, const char *key);
double config_real(const struct config *c, const char *key); /* also durations, seconds */
bool config_bool(const struct config *c, const char *key);
const char *config_text(const struct config *c, const char *key);
/* True when the value is this word ("auto", a choice). */
bool config_is(const struct config *c, const char *key, const char *word);
int64_t config_list(const struct config *c, const char *key, const int64_t **values);
/* Index of the value in choices. */
int64_t config_choice(const struct config *c, const char *key);
/* "default", "run.yaml:12", "command line". */
const char *config_origin(const struct config *c, const char *key);

/* The resolved configuration as YAML, every key, in schema order. */
void config_dump(const struct config *c, struct text *out, bool with_help);
/* Digest over the keys with shapes_results. */
void config_digest(const struct config *c, char hex[DIGEST_HEX]);
/* The first key with shapes_results whose value differs, or NULL. */
const char *config_difference(const struct config *a, const struct config *b);

#endif

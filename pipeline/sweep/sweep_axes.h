/* The sections axes and members of a sweep file. */
#ifndef SLUICE_PIPELINE_SWEEP_AXES_H
#define SLUICE_PIPELINE_SWEEP_AXES_H

#include "io/config_tree.h"
#include "pipeline/sweep/sweep.h"

enum { SWEEP_KEYS = 64, SWEEP_MEMBERS = 100000 };

/* s->key and s->member with values as they are spelt in the file; s->settings is set.
 * line[k]: of key k's axis, 0 for a list. ERR_USAGE. */
int sweep_make(struct sweep *s, const struct config_node *root, const char *path,
               int64_t line[SWEEP_KEYS]);

/* A node as the text of a value: scalars, and lists of numbers as "[0, 3]"; to be
 * freed. NULL: ERR_USAGE. */
char *sweep_text(const char *path, const struct config_node *n, const char *key);
/* ERR_USAGE "PATH:LINE: NAME: WHAT"; -1. */
int sweep_refuse(const char *path, int64_t line, const char *what, const char *name);
/* The key's line in the schema, NULL for those of parts and for unknown ones. */
const struct config_key *sweep_find_key(const char *key);

#endif

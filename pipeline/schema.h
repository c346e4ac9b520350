/* The program's configuration table and how a command line becomes a configuration. */
#ifndef SLUICE_PIPELINE_SCHEMA_H
#define SLUICE_PIPELINE_SCHEMA_H

#include "io/config.h"

/* Every key of a Sluice configuration, NULL-terminated. */
extern const struct config_key schema[];

/* Reads a configuration from a command's positional arguments: the first one is the
 * YAML file unless it has the form section.key=value, the others are overrides. argc 0
 * gives the defaults. The caller destroys it. NULL: ERR_USAGE or ERR_INPUT. */
struct config *schema_load(int argc, char **argv);

#endif

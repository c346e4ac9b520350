/* Where results come from: provenance.json (io/FORMAT.md). */
#ifndef SLUICE_PIPELINE_PROVENANCE_H
#define SLUICE_PIPELINE_PROVENANCE_H

#include "io/json.h"
#include "pipeline/run/record.h"

/* This session's: command line, build, libraries, weights, hosts, environment; owned by the
 * caller. */
struct json_out *provenance_of(const struct task *t, const struct config *c, int argc,
                               char **argv, const struct record_where *where);

#endif

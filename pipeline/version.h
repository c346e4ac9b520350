/* What this binary is. */
#ifndef SLUICE_PIPELINE_VERSION_H
#define SLUICE_PIPELINE_VERSION_H

const char *version_number(void);
const char *version_commit(void);
const char *version_build(void); /* compiler and flags */

#endif

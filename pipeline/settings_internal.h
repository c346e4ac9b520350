/* What settings.c and settings_read.c share. */
#ifndef SLUICE_PIPELINE_SETTINGS_INTERNAL_H
#define SLUICE_PIPELINE_SETTINGS_INTERNAL_H

#include "pipeline/settings.h"

/* As settings_read, without run.dir. */
int settings_read_task(struct task *t, const struct config *c);

#endif

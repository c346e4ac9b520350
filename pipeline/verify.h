/* Checks what lies on disk: single files, model folders and whole run directories.
 * Nothing here is collective, nothing is changed. */
#ifndef SLUICE_PIPELINE_VERIFY_H
#define SLUICE_PIPELINE_VERIFY_H

#include <stdbool.h>
#include <stdint.h>

/* Something to say about one file. Plain data. */
struct verify_finding {
    char *path, *what; /* path relative to the run directory where there is one */
    bool damage;       /* else a note */
};

struct verify_report {
    struct verify_finding *finding;
    int64_t findings, cap;
    int64_t files, damaged; /* looked at; with at least one damage (missing ones too) */
};

/* Whether path is a run directory (it has policy/ and rollout/). */
bool verify_is_run(const char *path);

/* Fills the report (all zero before). -1 only where nothing could be looked at:
 * ERR_INPUT. Damage is no error here: see report->damaged. */
int verify_path(const char *path, struct verify_report *report);
void verify_free(struct verify_report *report);

#endif

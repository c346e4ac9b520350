/* The folder in which Open MPI 4 keeps the files of a job, TMPDIR/ompi.HOST.UID, is one for
 * all jobs of a user on a node. A job that ends while another one starts removes it under
 * that one's hands ("orte_session_dir failed"). Other MPI libraries do not look at what is
 * set here. */
#ifndef SLUICE_PIPELINE_OPENMPI_H
#define SLUICE_PIPELINE_OPENMPI_H

#include "pipeline/scratch.h"

#include <stdbool.h>
#include <stdint.h>

/* A process that no launcher started needs neither that folder nor a daemon beside it.
 * Right before MPI_Init: programs that are started later would inherit it. */
void openmpi_lone_rank(void);

struct openmpi_folders { /* all zero: none */
    struct scratch scratch;
    bool used;
};

/* Folders for launchers that this program starts, under "TMPDIR/sluice-NAME-XXXXXX". Where
 * the environment names a folder already, or none can be made, there are none, and a
 * launcher finds its place as ever. */
void openmpi_folders_create(struct openmpi_folders *f, const char *name);
/* A launcher started from now on has a folder of this number. One at a time each. */
void openmpi_folders_use(const struct openmpi_folders *f, int64_t number);
/* After the launchers have ended. */
void openmpi_folders_remove(struct openmpi_folders *f);

#endif

/* The PETSc session of this process: begun by whoever needs it first, ended once.
 *
 * PETSc's own world is this process alone (PETSC_COMM_WORLD is MPI_COMM_SELF), so ranks
 * begin sessions independently and at any time. Objects may still be made on any
 * communicator whose ranks all have a session. PETSc installs no signal handlers and
 * reads no options from files, command line or environment. */
#ifndef SLUICE_STAGES_LINALG_PETSC_H
#define SLUICE_STAGES_LINALG_PETSC_H

/* Begins the session unless it is there. MPI must be up. ERR_ENV. Not collective. */
int petsc_begin(void);

/* Ends the session if there is one. Before MPI_Finalize. */
void petsc_end(void);

#endif

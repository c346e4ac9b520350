/* The seal of a file: its first SEAL_BYTES bytes (HDF5 calls them the user block) hold the
 * length and the SHA-256 of all that follows. It is what finds a flipped bit anywhere in
 * the file, also where no checksum of HDF5 reaches. */
#ifndef SLUICE_IO_SEAL_H
#define SLUICE_IO_SEAL_H

#include <stdbool.h>

#define SEAL_BYTES 512

/* Writes the seal into a file that is complete but for it. ERR_IO. */
int seal_write(const char *path);

/* Compares. *sealed (may be NULL) tells whether there is a seal at all; a file without one
 * passes if *sealed can say so, else it is ERR_INPUT like one whose bytes differ. */
int seal_check(const char *path, bool *sealed);

#endif

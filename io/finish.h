/* The end of a sealed file that needs neither HDF5 nor MPI: the seal over its bytes, fsync,
 * rename, fsync of the directory. It is mostly waiting for the disk, so it runs in a
 * thread of its own while its rank computes on. */
#ifndef SLUICE_IO_FINISH_H
#define SLUICE_IO_FINISH_H

#include <stdbool.h>

struct finish;

/* Begins to seal the closed file tmp and to publish it as path. Where no thread can be had
 * it does so before it returns. On error nothing is left under either name. */
struct finish *finish_begin(const char *tmp, const char *path);

/* Whether it is over, well or not: then finish_end returns at once. */
bool finish_over(const struct finish *f);

/* Waits, frees and returns 0, with the file durable under its name, or -1 with the
 * error that the thread met. NULL: 0. */
int finish_end(struct finish *f);

#endif

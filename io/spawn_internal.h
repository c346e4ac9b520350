/* What the two ends of the socket of spawn.h say to each other: one letter a packet. */
#ifndef SLUICE_IO_SPAWN_INTERNAL_H
#define SLUICE_IO_SPAWN_INTERNAL_H

#include <stdint.h>

enum spawn_op {
    SPAWN_START = 1, /* value: number of words, which follow, each with its NUL */
    SPAWN_KILL,
    SPAWN_STARTED, /* value: pid, with three descriptors; or -errno without */
    SPAWN_EXITED,  /* value: as waitpid gives it */
};

enum { SPAWN_BYTES = 16384, SPAWN_WORDS = 512 }; /* most of a command line */

struct spawn_letter {
    uint32_t op;
    int32_t value;
    uint64_t id; /* of the program, chosen by who asks */
};

/* The helper's life: serves fd until its other end is closed. */
_Noreturn void spawn_helper_serve(int fd);

#endif

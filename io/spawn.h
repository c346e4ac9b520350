/* Programs that are started while MPI is up. A process with MPI's memory registered must not
 * fork, so a small helper is forked before MPI_Init; asked over a socket it starts programs,
 * hands their pipes over, says when they end, and kills what is left as soon as the process
 * that it serves is gone, however that ended. */
#ifndef SLUICE_IO_SPAWN_H
#define SLUICE_IO_SPAWN_H

#include <stdbool.h>
#include <stdint.h>

enum spawn_phase {
    SPAWN_NONE,    /* nothing was asked for, or it was dropped */
    SPAWN_ASKED,   /* the helper has not answered yet */
    SPAWN_RUNNING, /* pid, in, out, err are set */
    SPAWN_FAILED,  /* not started; status is an errno */
    SPAWN_OVER,    /* it ended; what it wrote can still be read; status is waitpid's, -1
                    * where the helper is gone */
};

/* One program. The caller owns it and must not move it before spawn_drop. */
struct spawned {
    enum spawn_phase phase;
    int64_t pid; /* leader of a session and process group of its own */
    int status;
    int in, out, err; /* its standard input (to write), output and error (to read); without
                       * blocking; -1: none. */
    uint64_t id;
    struct spawned *next;
};

/* Forks the helper. Call before MPI_Init, once. From then on SIGPIPE is ignored. 0, or -1
 * with ERR_ENV. */
int spawn_begin(void);

/* Kills what still runs and waits for the helper's end. Does nothing without spawn_begin. */
void spawn_end(void);

/* Is there a helper? */
bool spawn_ready(void);

/* Asks for a program: argv[0] is looked up in PATH, other words are passed on; it starts in
 * the current directory of spawn_begin, with its environment less what a launcher tells MPI
 * processes. The answer comes through spawn_hear. -1 with ERR_ENV: no helper, or more than
 * 16 KiB of words. */
int spawn_ask(struct spawned *p, char *const *argv);

/* Takes all that the helper has said, without waiting. */
void spawn_hear(void);

/* Readable when there is something to hear; -1 without a helper. */
int spawn_fd(void);

/* Tells it that there is no more input. */
void spawn_close_input(struct spawned *p);

/* Kills its process group where that still runs, closes the pipes, forgets it. */
void spawn_drop(struct spawned *p);

#endif

/* One program that answers requests: started, greeted, asked one thing at a time. Nothing
 * here waits: the owner polls and steps. */
#ifndef SLUICE_STAGES_REWARD_EXEC_WORKER_H
#define SLUICE_STAGES_REWARD_EXEC_WORKER_H

#include "io/spawn.h"
#include "stages/reward/exec_wire.h"

#include <poll.h>

enum exec_state { EXEC_GONE, EXEC_STARTING, EXEC_IDLE, EXEC_BUSY };

enum exec_event {
    EXEC_NOTHING,
    EXEC_READY,  /* it said hello */
    EXEC_REPLY,  /* score and status are there */
    EXEC_BROKEN, /* it was killed and is gone; why and timed_out say more */
};

struct exec_worker { /* all zero but for these: gone */
    char *const *argv;
    const struct exec_wire *wire;
    const char *tag; /* before its lines in the log */
    double timeout, start_timeout; /* s */
    int64_t batch; /* most samples of a request */

    enum exec_state state;
    struct spawned program;
    struct text request, reply;
    int64_t sent;
    uint64_t id;
    int64_t n;
    double deadline;
    bool closed, drained; /* its output ended; all that was there has been read */
    double *score;        /* [batch] */
    uint8_t *status;      /* [batch] */
    bool timed_out;
    char why[400];
    struct text line; /* of its standard error, not ended yet */
    char last[200];   /* the last one that was not empty */
    double allowance, counted; /* lines that may be logged; when that was reckoned, s */
    int64_t left_out;
};

/* Asks for the program. -1: ERR_REWARD, programs cannot be started here at all. */
int exec_worker_start(struct exec_worker *w, double now);

/* Hands an idle one a request of n samples; w->request has its bytes, under number id. */
void exec_worker_ask(struct exec_worker *w, uint64_t id, int64_t n, double now);

/* Sends and reads what is possible now (after spawn_hear). now: seconds, monotonic. */
enum exec_event exec_worker_step(struct exec_worker *w, double now);

/* Adds to f what the program should be waited for; the number of entries, at most 3. */
int exec_worker_waits(const struct exec_worker *w, struct pollfd f[3]);

/* Kills it. */
void exec_worker_drop(struct exec_worker *w);

/* And gives back all memory. */
void exec_worker_free(struct exec_worker *w);

#endif

/* The loop of every rank: take a lease, run its stage, say so; in between keep answering. */
#ifndef SLUICE_PIPELINE_WORKER_H
#define SLUICE_PIPELINE_WORKER_H

#include "io/sys/comm.h"
#include "pipeline/run/coordinator.h"
#include "pipeline/run/handover.h"

struct worker_options {
    struct task *task;
    const struct comm *group; /* [GROUPS]; size 0 where this rank is no member */
    struct mailbox *mailbox;
    struct handover *handover;
    struct coordinator *coordinator; /* NULL on other ranks */
    int rank, coordinator_rank; /* of the world */
    const struct layout *layout;
    const char *hosts; /* host name of each rank, 64 bytes each */
    double stall_s; /* 0: never */
    double grace_s; /* what other programs have to answer, once the job is to end */
    double zero_s;  /* clock_s of this rank when the session began */
};

/* Works until the coordinator says quit. Returns the run's exit code and its reason in
 * text[640]. Sets the idle hook of the task for its duration; the groups' hooks should call it. */
int worker_run(const struct worker_options *o, char text[640]);

/* Handlers for SIGTERM, SIGINT, SIGUSR1 that only set a flag; call before MPI_Init. */
void worker_catch_signals(void);
bool worker_signal_caught(void);
/* reward_scene.leave for who scores without a worker: INFINITY, or `grace` seconds after the
 * call that found a signal. *at keeps that, 0 at first. */
double worker_leave(double *at, double grace);
/* From now on they end the program as usual. */
void worker_free_signals(void);

#endif

/* MPI_Init does not return while it waits, so a signal's handler has to speak: the text
 * is made before, and the handler only writes it. */
#include "pipeline/run/start_limit.h"

#include "io/sys/err.h"
#include "io/sys/text.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SPEAKERS = 2 }; /* ranks of a node: the first may be the one that is missing */

static char text[512]; /* for the handler, which gets no argument */

static void on_alarm(int sig)
{
    (void)sig;
    if (write(2, text, strlen(text)) < 0)
        _exit(ERR_IO);
    _exit(ERR_STALL);
}

/* The first of these that is set, or NULL. */
static const char *first_of(const char *a, const char *b)
{
    return getenv(a) != NULL ? getenv(a) : getenv(b);
}

void start_limit_begin(const struct config *c)
{
    double seconds = ceil(config_real(c, "run.start_timeout"));
    int64_t local = 0;
    /* mpirun within a job hands on Slurm's numbers of the batch step, 0 for all */
    const char *rank = first_of("OMPI_COMM_WORLD_RANK", "SLURM_PROCID"),
               *here = first_of("OMPI_COMM_WORLD_LOCAL_RANK", "SLURM_LOCALID");
    char host[65] = "";
    if (seconds <= 0)
        return;
    gethostname(host, sizeof host - 1);
    text[0] = '\0';
    if (here != NULL && !text_to_i64(here, &local))
        local = 0;
    if (local < SPEAKERS)
        snprintf(
            text, sizeof text,
            "sluice: rank %.16s on %s: MPI has not started within %.0f s: another rank "
            "ended before, or cannot be reached; look for its message. Slow starts: "
            "raise run.start_timeout\n",
            rank != NULL ? rank : "0", host, seconds);
    else /* mpirun ends all after the first: let that one be who speaks */
        seconds += 2;
    signal(SIGALRM, on_alarm);
    alarm(seconds < 1e9 ? (unsigned)seconds : 1000000000U);
}

void start_limit_end(void)
{
    struct sigaction now;
    if (sigaction(SIGALRM, NULL, &now) != 0 || now.sa_handler != on_alarm)
        return; /* none was set: the alarm is somebody else's */
    alarm(0);
    signal(SIGALRM, SIG_DFL);
}

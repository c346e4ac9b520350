/* The coordinator's state, and its part that turns ledger entries into leases. Per rank:
 * what it works on, what it holds beside that, and what is queued for it. For
 * coordinator.c. */
#ifndef SLUICE_PIPELINE_LEASES_H
#define SLUICE_PIPELINE_LEASES_H

#include "pipeline/run/coordinator.h"
#include "stages/watch.h"

enum { QUEUE = 4 };

struct rank {
    bool busy, gone;
    bool ahead, recalled; /* it holds a second lease, next; which is asked back */
    bool scores; /* it holds a reward lease, aside, beside whatever else it does */
    struct lease work, next, aside, queue[QUEUE];
    int queued;
    double heard;   /* when it last wrote */
    double leased, aside_leased; /* when its work began */
    char phase[96];
};

/* A sealed policy file's content digest; leases carry it. */
struct known {
    int64_t version;
    char content[DIGEST_HEX];
};

/* Samples of an iteration without a score: what the last rank that had such said. */
struct trouble {
    int64_t iteration;
    char text[640]; /* "": nothing so far */
};

struct coordinator {
    struct coordinator_options o;
    struct rank *rank; /* [world] */
    struct record_account *account; /* [world, GROUPS], from the farewells */
    struct record_rank *farewell;   /* [world] */
    struct record_account *spent;   /* [window, GROUPS], of iterations at hand */
    struct known *known;            /* [window] policies sealed in this job */
    struct trouble *trouble;        /* [window] */
    struct timeline *timeline;
    int64_t window;
    int gang_left[GROUPS]; /* ranks that still work on the group's common lease */
    double metric[METRICS];
    struct update_steps steps;

    double zero; /* of the time line */
    double started, checked, pinged, beaten, iteration_began;
    double longest; /* lease so far that cannot be left, s */
    double grace;   /* for those that can */
    double moved; /* when any rank last finished or entered another phase */
    double group_from[GROUPS], group_to[GROUPS]; /* of the iteration at hand */
    double walltime, stall, end_of_job;
    double rss_max;
    bool worked; /* a lease has ended */

    struct watch watch;
    bool over; /* a rule ended the run */
    char why[640];
    int code; /* first failure, or ERR_STOPPED */
    char text[640];
    bool left; /* LETTER_LEAVE was sent */
    bool quitting, closed;
    int64_t done; /* leases sealed in this session */
    int gone;
};

/* Sends every lease that can be given now, and asks back what others should have. */
void leases_hand_out(struct coordinator *c);

/* The rank works on this lease from now on. */
void leases_begin(struct coordinator *c, struct rank *k, const struct lease *lease);

/* Does the whole group work on it? */
bool leases_gang(enum group g);

#endif

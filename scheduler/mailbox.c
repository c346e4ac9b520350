/* Letters. Two tags, one for each role that may live on a rank. Sends are buffered here
 * until MPI has taken them. */
#include "scheduler/mailbox.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TAG_WORKER = 1, TAG_COORDINATOR = 2 };

struct outgoing {
    MPI_Request request;
    struct letter letter;
    struct outgoing *next;
};

struct mailbox {
    MPI_Comm comm;
    struct outgoing *out;
};

static void must(int rc, const char *what)
{
    if (rc == MPI_SUCCESS)
        return;
    char text[MPI_MAX_ERROR_STRING];
    int n = 0;
    MPI_Error_string(rc, text, &n);
    fprintf(stderr, "sluice: %s: %s\n", what, text);
    MPI_Abort(MPI_COMM_WORLD, ERR_ENV);
    abort();
}

struct mailbox *mailbox_create(MPI_Comm world)
{
    struct mailbox *m = mem_alloc(1, sizeof *m);
    must(MPI_Comm_dup(world, &m->comm), "MPI_Comm_dup");
    return m;
}

/* Frees letters that MPI has taken. */
static void collect(struct mailbox *m)
{
    for (struct outgoing **p = &m->out; *p != NULL;) {
        int done = 0;
        must(MPI_Test(&(*p)->request, &done, MPI_STATUS_IGNORE), "MPI_Test");
        if (!done) {
            p = &(*p)->next;
            continue;
        }
        struct outgoing *gone = *p;
        *p = gone->next;
        mem_free(gone);
    }
}

void mailbox_destroy(struct mailbox *m)
{
    if (m == NULL)
        return;
    struct letter l;
    int from;
    while (m->out != NULL) {
        collect(m);
        /* late heartbeats to ourselves and others must not keep anybody waiting */
        while (mailbox_take(m, true, &l, &from) || mailbox_take(m, false, &l, &from))
            ;
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    MPI_Request r;
    int done = 0;
    must(MPI_Ibarrier(m->comm, &r), "MPI_Ibarrier");
    while (!done) {
        must(MPI_Test(&r, &done, MPI_STATUS_IGNORE), "MPI_Test");
        while (mailbox_take(m, true, &l, &from) || mailbox_take(m, false, &l, &from))
            ;
        nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    must(MPI_Comm_free(&m->comm), "MPI_Comm_free");
    mem_free(m);
}

void mailbox_send(struct mailbox *m, int to, const struct letter *l)
{
    struct outgoing *o = mem_alloc(1, sizeof *o);
    o->letter = *l;
    int tag = l->kind == LETTER_LEASE || l->kind == LETTER_QUIT ||
                      l->kind == LETTER_PING
                  ? TAG_WORKER
                  : TAG_COORDINATOR;
    must(MPI_Isend(&o->letter, (int)sizeof o->letter, MPI_BYTE, to, tag, m->comm,
                   &o->request),
         "MPI_Isend");
    struct outgoing **p = &m->out;
    while (*p != NULL)
        p = &(*p)->next;
    *p = o;
    collect(m);
}

bool mailbox_take(struct mailbox *m, bool to_coordinator, struct letter *l, int *from)
{
    int there = 0;
    MPI_Status st;
    collect(m);
    must(MPI_Iprobe(MPI_ANY_SOURCE, to_coordinator ? TAG_COORDINATOR : TAG_WORKER, m->comm,
                    &there, &st),
         "MPI_Iprobe");
    if (!there)
        return false;
    *from = st.MPI_SOURCE;
    /* the letter is here and small: this receive completes at once */
    must(MPI_Recv(l, (int)sizeof *l, MPI_BYTE, st.MPI_SOURCE, st.MPI_TAG, m->comm,
                  MPI_STATUS_IGNORE),
         "MPI_Recv");
    return true;
}

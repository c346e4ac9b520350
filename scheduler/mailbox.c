/* Letters. Two tags, one for each role that may live on a rank. Sends are buffered here
 * until MPI has taken them. Blocks have a tag of their own and lie where the caller has
 * them. */
#include "scheduler/mailbox.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { TAG_WORKER = 1, TAG_COORDINATOR = 2, TAG_BLOCK = 3 };

#define PIECE (INT64_C(1) << 20) /* numbers */

struct outgoing {
    MPI_Request request;
    struct letter letter;
    struct outgoing *next;
};

struct block {
    const float *p;
    int64_t pieces;
    MPI_Request *request; /* [pieces] */
    struct block *next;
};

struct mailbox {
    MPI_Comm comm;
    struct outgoing *out;
    struct block *block; /* on their way, in or out */
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

/* Frees blocks that are through. */
static void collect_blocks(struct mailbox *m)
{
    for (struct block **p = &m->block; *p != NULL;) {
        struct block *b = *p;
        int done = 0;
        must(MPI_Testall((int)b->pieces, b->request, &done, MPI_STATUSES_IGNORE),
             "MPI_Testall");
        if (!done) {
            p = &b->next;
            continue;
        }
        *p = b->next;
        mem_free(b->request);
        mem_free(b);
    }
}

/* Pieces of which nobody here expects the block (the job ended before). Each has arrived
 * or is offered by a sender that polls, so the receive completes soon. */
static void discard_pieces(struct mailbox *m, float **scratch)
{
    int there = 1;
    MPI_Status st;
    for (;;) {
        must(MPI_Iprobe(MPI_ANY_SOURCE, TAG_BLOCK, m->comm, &there, &st), "MPI_Iprobe");
        if (!there)
            return;
        if (*scratch == NULL)
            *scratch = mem_alloc(PIECE, sizeof **scratch);
        must(MPI_Recv(*scratch, (int)PIECE, MPI_FLOAT, st.MPI_SOURCE, TAG_BLOCK, m->comm,
                      MPI_STATUS_IGNORE),
             "MPI_Recv");
    }
}

/* Late heartbeats and blocks, to ourselves and others, must not keep anybody waiting. */
static void throw_away(struct mailbox *m, float **scratch)
{
    struct letter l;
    int from;
    while (mailbox_take(m, true, &l, &from) || mailbox_take(m, false, &l, &from))
        ;
    collect_blocks(m);
    discard_pieces(m, scratch);
    nanosleep(&(struct timespec){0, 100000}, NULL);
}

void mailbox_destroy(struct mailbox *m)
{
    if (m == NULL)
        return;
    float *scratch = NULL;
    while (m->out != NULL || m->block != NULL) {
        collect(m);
        throw_away(m, &scratch);
    }
    MPI_Request r;
    int done = 0;
    must(MPI_Ibarrier(m->comm, &r), "MPI_Ibarrier");
    while (!done) {
        must(MPI_Test(&r, &done, MPI_STATUS_IGNORE), "MPI_Test");
        throw_away(m, &scratch);
    }
    mem_free(scratch);
    must(MPI_Comm_free(&m->comm), "MPI_Comm_free");
    mem_free(m);
}

void mailbox_send(struct mailbox *m, int to, const struct letter *l)
{
    struct outgoing *o = mem_alloc(1, sizeof *o);
    o->letter = *l;
    int tag = l->kind == LETTER_LEASE || l->kind == LETTER_QUIT ||
                      l->kind == LETTER_PING || l->kind == LETTER_WEIGHTS ||
                      l->kind == LETTER_RECALL || l->kind == LETTER_LEAVE
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

static struct block *new_block(struct mailbox *m, const float *p, int64_t n)
{
    struct block *b = mem_alloc(1, sizeof *b);
    b->p = p;
    b->pieces = (n + PIECE - 1) / PIECE;
    b->request = mem_alloc(b->pieces, sizeof(MPI_Request));
    b->next = m->block;
    m->block = b;
    return b;
}

static int piece_size(int64_t n, int64_t i)
{
    return (int)(n - i * PIECE < PIECE ? n - i * PIECE : PIECE);
}

void mailbox_send_block(struct mailbox *m, int to, const float *p, int64_t n)
{
    struct block *b = new_block(m, p, n);
    for (int64_t i = 0; i < b->pieces; i++)
        must(MPI_Isend(p + i * PIECE, piece_size(n, i), MPI_FLOAT, to, TAG_BLOCK, m->comm,
                       &b->request[i]),
             "MPI_Isend");
}

void mailbox_receive_block(struct mailbox *m, int from, float *p, int64_t n)
{
    struct block *b = new_block(m, p, n);
    for (int64_t i = 0; i < b->pieces; i++)
        must(MPI_Irecv(p + i * PIECE, piece_size(n, i), MPI_FLOAT, from, TAG_BLOCK,
                       m->comm, &b->request[i]),
             "MPI_Irecv");
}

bool mailbox_block_busy(struct mailbox *m, const float *p)
{
    collect_blocks(m);
    for (const struct block *b = m->block; b != NULL; b = b->next)
        if (b->p == p)
            return true;
    return false;
}

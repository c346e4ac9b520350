/* Weights in memory: a ring of one slot per version that somebody may still ask for, which
 * are max_staleness + 1. A slot holds a copy of this rank's own network after an update, or
 * what came by message. Above SLOTS versions nothing is kept or sent: files are read. */
#include "pipeline/run/handover.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <string.h>
#include <time.h>

enum { SLOTS = 4 };

/* After this a rank that was promised weights reads the file instead. */
static const double patience_s = 60;

struct slot {
    int64_t version; /* -1: empty */
    float *weights;  /* [n] */
    enum weights_from from;
};

struct handover {
    struct task *t;
    const struct layout *layout;
    struct mailbox *mailbox;
    int rank;
    int64_t n, slots, first, last; /* versions [first, last] are handed over */
    struct slot slot[SLOTS];
};

static bool receives(const struct layout *l, int rank)
{
    return layout_has(l, GROUP_ROLLOUT, rank) && !layout_has(l, GROUP_UPDATE, rank);
}

static void pause_a_little(void)
{
    nanosleep(&(struct timespec){0, 50000}, NULL);
}

/* The slot for a version, with memory; what it held is not needed any more. */
static struct slot *slot_for(struct handover *h, int64_t version)
{
    struct slot *s = &h->slot[version % h->slots];
    if (s->weights == NULL)
        s->weights = mem_alloc(h->n, sizeof *s->weights);
    return s;
}

/* Sends to this update rank's share of the receivers. */
static void send_share(struct handover *h, const struct slot *s)
{
    const struct layout *l = h->layout;
    int mine = h->rank - l->start[GROUP_UPDATE], number = 0;
    struct letter letter = {.kind = LETTER_WEIGHTS, .lease = {.version = s->version}};
    for (int r = 0; r < l->world; r++) {
        if (!receives(l, r) || number++ % l->size[GROUP_UPDATE] != mine)
            continue;
        mailbox_send(h->mailbox, r, &letter);
        mailbox_send_block(h->mailbox, r, s->weights, h->n);
    }
}

/* Copies the network's values into the version's slot. */
static void keep(struct handover *h, int64_t version)
{
    struct slot *s = slot_for(h, version);
    memcpy(s->weights, param_values(model_params(h->t->model)),
           (size_t)h->n * sizeof *s->weights);
    s->version = version;
    s->from = WEIGHTS_MEMORY;
}

/* Does this rank roll out older versions than it updates? */
static bool looks_back(const struct handover *h)
{
    return h->t->max_staleness > 0 && h->slots > 0 &&
           layout_has(h->layout, GROUP_ROLLOUT, h->rank) &&
           layout_has(h->layout, GROUP_UPDATE, h->rank);
}

/* task_handover's offer. */
static int offer(void *ctx, int64_t version)
{
    struct handover *h = ctx;
    struct task *t = h->t;
    bool others = false;
    for (int r = 0; r < h->layout->world; r++)
        others |= receives(h->layout, r);
    bool send_it = others && version <= h->last;
    if (h->slots == 0 || !(send_it || looks_back(h)))
        return 0;
    struct slot *s = slot_for(h, version);
    while (mailbox_block_busy(h->mailbox, s->weights)) { /* an old version's receiver is late */
        if (task_progress(t, "update passes on the weights of policy %lld",
                          (long long)version) != 0)
            return -1;
        pause_a_little();
    }
    keep(h, version);
    if (send_it)
        send_share(h, s);
    return 0;
}

void handover_hear(struct handover *h, const struct letter *l, int from)
{
    struct slot *s = slot_for(h, l->lease.version);
    /* Its sender let go of the slot's last block, so that one is about to be complete. */
    while (mailbox_block_busy(h->mailbox, s->weights))
        pause_a_little();
    s->version = l->lease.version;
    s->from = WEIGHTS_MESSAGE;
    mailbox_receive_block(h->mailbox, from, s->weights, h->n);
}

/* task_handover's find. */
static const float *find(void *ctx, int64_t version, enum weights_from *from)
{
    struct handover *h = ctx;
    double start = clock_s();
    if (h->slots == 0)
        return NULL;
    struct slot *s = &h->slot[version % h->slots];
    bool promised = receives(h->layout, h->rank) && version >= h->first &&
                    version <= h->last && h->layout->size[GROUP_UPDATE] > 0;
    while (s->version != version || mailbox_block_busy(h->mailbox, s->weights)) {
        if (!promised)
            return NULL;
        if (clock_s() - start > patience_s) {
            log_warn("the weights of policy %lld did not arrive in %.0f s; reading its file",
                     (long long)version, patience_s);
            return NULL;
        }
        if (task_progress(h->t, "rollout receives the weights of policy %lld",
                          (long long)version) != 0)
            return NULL;
        pause_a_little();
    }
    *from = s->from;
    return s->weights;
}

struct handover *handover_create(struct task *t, const struct layout *l,
                                 struct mailbox *m, int rank, int64_t iterations)
{
    struct handover *h = mem_alloc(1, sizeof *h);
    *h = (struct handover){
        .t = t,
        .layout = l,
        .mailbox = m,
        .rank = rank,
        .n = param_total(model_params(t->model)),
        .slots = t->max_staleness < SLOTS ? t->max_staleness + 1 : 0,
        .first = t->loaded_version + 1,
        .last = iterations - 1 - t->max_staleness,
    };
    for (int i = 0; i < SLOTS; i++)
        h->slot[i].version = -1;
    if (looks_back(h))
        keep(h, t->loaded_version);
    t->handover = (struct task_handover){.ctx = h, .offer = offer, .find = find};
    return h;
}

void handover_destroy(struct handover *h)
{
    if (h == NULL)
        return;
    h->t->handover = (struct task_handover){0};
    for (int i = 0; i < SLOTS; i++)
        mem_free(h->slot[i].weights);
    mem_free(h);
}

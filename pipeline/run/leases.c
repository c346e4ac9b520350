/* Who is given what. Work of a whole group (advantage, update) is queued for all its ranks
 * at once, in one order for everybody, so ranks with several roles cannot wait for each
 * other in a circle. */
#include "pipeline/run/leases.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"

#include <stdio.h>
#include <string.h>

static void send_lease(struct coordinator *c, int r, const struct lease *lease)
{
    struct letter l = {.kind = LETTER_LEASE, .lease = *lease};
    const struct known *policy = &c->known[lease->version % c->window];
    if (policy->version == lease->version)
        snprintf(l.text, sizeof l.text, "%s", policy->content);
    mailbox_send(c->o.mailbox, r, &l);
}

static void note_begin(struct coordinator *c, const struct lease *lease, double now)
{
    if (lease->iteration == ledger_version(c->o.ledger) &&
        !(c->group_from[lease->group] <= now))
        c->group_from[lease->group] = now;
}

void leases_begin(struct coordinator *c, struct rank *k, const struct lease *lease)
{
    double now = clock_s();
    k->busy = true;
    k->work = *lease;
    k->heard = k->leased = now;
    snprintf(k->phase, sizeof k->phase, "received its lease");
    note_begin(c, lease, now);
}

bool leases_gang(enum group g)
{
    return g == GROUP_ADVANTAGE || g == GROUP_UPDATE;
}

static void queue_gangs(struct coordinator *c)
{
    struct lease lease;
    static const enum group gangs[] = {GROUP_UPDATE, GROUP_ADVANTAGE};
    for (int i = 0; i < 2; i++) {
        enum group g = gangs[i];
        if (c->gang_left[g] > 0 || !ledger_next(c->o.ledger, g, &lease))
            continue;
        c->gang_left[g] = c->o.layout->size[g];
        for (int r = 0; r < c->o.layout->world; r++)
            if (layout_has(c->o.layout, g, r)) {
                ERR_BUG_IF(c->rank[r].queued == QUEUE);
                c->rank[r].queue[c->rank[r].queued++] = lease;
            }
    }
}

/* Does the rank do the group's work in turn with its other work? */
static bool takes(const struct coordinator *c, enum group g, int r)
{
    return layout_has(c->o.layout, g, r) &&
           !(g == GROUP_REWARD && coordinator_asides(c->o.task, c->o.layout, r));
}

/* Asks the second lease back; the rank keeps it if it has begun it already. */
static void recall(struct coordinator *c, int r)
{
    struct rank *k = &c->rank[r];
    if (!k->ahead || k->recalled)
        return;
    struct letter l = {.kind = LETTER_RECALL, .lease = k->next};
    k->recalled = true;
    mailbox_send(c->o.mailbox, r, &l);
}

/* A rank with a second lease waits neither for this rank's next tick, which may be a
 * network evaluation away, nor for the disk: it begins while its last file is sealed. That
 * must cost nobody else work: one lease stays for each rank that has no second one. */
static void hand_out_ahead(struct coordinator *c, enum group g)
{
    const struct layout *l = c->o.layout;
    int64_t lacking = l->size[g];
    struct lease lease;
    for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++)
        lacking -= c->rank[r].ahead || !takes(c, g, r);
    for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++) {
        struct rank *k = &c->rank[r];
        if (!k->busy || k->ahead || k->queued > 0 || !takes(c, g, r) ||
            leases_gang(k->work.group) || ledger_ready(c->o.ledger, g) < lacking ||
            !ledger_next(c->o.ledger, g, &lease))
            continue;
        k->ahead = true;
        k->next = lease;
        lacking--;
        send_lease(c, r, &lease);
    }
}

/* Second leases go back when others could begin them now, when a gang waits for the rank,
 * and when the job is to end. */
static void recall_needed(struct coordinator *c, enum group g)
{
    const struct layout *l = c->o.layout;
    int idle = 0;
    for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++) {
        struct rank *k = &c->rank[r];
        idle += !k->busy && k->queued == 0 && takes(c, g, r);
        idle -= k->recalled && k->next.group == g;
        if (k->queued > 0 || ledger_draining(c->o.ledger))
            recall(c, r);
    }
    while (idle-- > 0) { /* from the rank that will come to it last */
        int from = -1;
        for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++) {
            const struct rank *k = &c->rank[r];
            if (k->ahead && !k->recalled && k->next.group == g &&
                (from < 0 || k->leased > c->rank[from].leased))
                from = r;
        }
        if (from < 0)
            return;
        recall(c, from);
    }
}

/* Rewards that ranks put aside: one at a time to each, whatever else it does. To those
 * without other work first, which see it sooner. */
static void hand_out_aside(struct coordinator *c)
{
    const struct layout *l = c->o.layout;
    struct lease lease;
    for (int busy = 0; busy < 2; busy++)
        for (int r = l->start[GROUP_REWARD];
             r < l->start[GROUP_REWARD] + l->size[GROUP_REWARD]; r++) {
            struct rank *k = &c->rank[r];
            if (k->scores || k->busy != busy || !coordinator_asides(c->o.task, l, r))
                continue;
            if (!ledger_next(c->o.ledger, GROUP_REWARD, &lease))
                return;
            k->scores = true;
            k->aside = lease;
            k->aside_leased = clock_s();
            if (!k->busy)
                k->heard = k->aside_leased;
            note_begin(c, &lease, k->aside_leased);
            send_lease(c, r, &lease);
        }
}

void leases_hand_out(struct coordinator *c)
{
    struct lease lease;
    queue_gangs(c);
    hand_out_aside(c);
    for (int r = 0; r < c->o.layout->world; r++) {
        struct rank *k = &c->rank[r];
        if (k->busy)
            continue;
        if (k->queued > 0) {
            lease = k->queue[0];
            k->queued--;
            memmove(k->queue, k->queue + 1, (size_t)k->queued * sizeof *k->queue);
            leases_begin(c, k, &lease);
            send_lease(c, r, &lease);
        } else if ((takes(c, GROUP_REWARD, r) &&
                    ledger_next(c->o.ledger, GROUP_REWARD, &lease)) ||
                   (takes(c, GROUP_ROLLOUT, r) &&
                    ledger_next(c->o.ledger, GROUP_ROLLOUT, &lease))) {
            leases_begin(c, k, &lease);
            send_lease(c, r, &lease);
        }
    }
    hand_out_ahead(c, GROUP_REWARD);
    hand_out_ahead(c, GROUP_ROLLOUT);
    recall_needed(c, GROUP_REWARD);
    recall_needed(c, GROUP_ROLLOUT);
}

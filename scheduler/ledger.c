/* The ledger keeps a window of iterations version .. version + max_staleness, one slot
 * each, indexed by iteration modulo the window's length. */
#include "scheduler/ledger.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

enum state { WAITING, LEASED, SEALED };

struct slot {
    uint8_t *shard[2]; /* GROUP_ROLLOUT, GROUP_REWARD: enum state [shards] */
    int64_t sealed[2], next[2];
    uint8_t advantage, update;
};

struct ledger {
    struct ledger_options o;
    struct slot *slot;
    int64_t window, outstanding;
    bool draining;
};

static struct slot *slot_of(const struct ledger *l, int64_t iteration)
{
    ERR_BUG_IF(iteration < l->o.version || iteration >= l->o.version + l->window);
    return &l->slot[iteration % l->window];
}

static bool in_window(const struct ledger *l, int64_t iteration)
{
    return iteration >= l->o.version && iteration < l->o.version + l->window;
}

static void clear_slot(struct ledger *l, struct slot *s)
{
    for (int k = 0; k < 2; k++) {
        for (int64_t i = 0; i < l->o.shards; i++)
            s->shard[k][i] = l->o.stored ? SEALED : WAITING;
        s->sealed[k] = l->o.stored ? l->o.shards : 0;
        s->next[k] = 0;
    }
    s->advantage = s->update = WAITING;
}

struct ledger *ledger_create(const struct ledger_options *o)
{
    struct ledger *l = mem_alloc(1, sizeof *l);
    l->o = *o;
    l->window = o->max_staleness + 1;
    l->slot = mem_alloc(l->window, sizeof *l->slot);
    for (int64_t i = 0; i < l->window; i++) {
        for (int k = 0; k < 2; k++)
            l->slot[i].shard[k] = mem_alloc(o->shards, 1);
        clear_slot(l, &l->slot[i]);
    }
    return l;
}

void ledger_destroy(struct ledger *l)
{
    if (l == NULL)
        return;
    for (int64_t i = 0; i < l->window; i++)
        for (int k = 0; k < 2; k++)
            mem_free(l->slot[i].shard[k]);
    mem_free(l->slot);
    mem_free(l);
}

static void seal_shard(struct slot *s, enum group g, int64_t shard)
{
    if (s->shard[g][shard] != SEALED)
        s->sealed[g]++;
    s->shard[g][shard] = SEALED;
}

void ledger_found(struct ledger *l, enum group g, int64_t iteration, int64_t shard)
{
    if (!in_window(l, iteration))
        return;
    struct slot *s = slot_of(l, iteration);
    if (g == GROUP_ADVANTAGE)
        s->advantage = SEALED;
    else if (g != GROUP_UPDATE && shard >= 0 && shard < l->o.shards)
        seal_shard(s, g, shard);
}

/* May this shard start? A rollout needs its policy version (all iterations of the window
 * have it, by the window's length); a reward needs its rollout. */
static bool shard_ready(const struct slot *s, enum group g, int64_t shard)
{
    return s->shard[g][shard] == WAITING &&
           (g == GROUP_ROLLOUT || s->shard[GROUP_ROLLOUT][shard] == SEALED);
}

static bool next_shard(struct ledger *l, enum group g, struct lease *out)
{
    for (int64_t i = l->o.version; i < l->o.version + l->window; i++) {
        if (i >= l->o.iterations)
            return false;
        struct slot *s = slot_of(l, i);
        while (s->next[g] < l->o.shards && s->shard[g][s->next[g]] == SEALED)
            s->next[g]++;
        for (int64_t k = s->next[g]; k < l->o.shards; k++)
            if (shard_ready(s, g, k)) {
                s->shard[g][k] = LEASED;
                int64_t version = i - l->o.max_staleness;
                *out = (struct lease){g, i, k, version > 0 ? version : 0};
                return true;
            }
    }
    return false;
}

/* Both stages read the shards, so that what a user removed is made again first. */
static bool all_sealed(const struct ledger *l, const struct slot *s)
{
    return s->sealed[GROUP_ROLLOUT] == l->o.shards &&
           s->sealed[GROUP_REWARD] == l->o.shards;
}

static bool next_advantage(struct ledger *l, struct lease *out)
{
    for (int64_t i = l->o.version; i < l->o.version + l->window; i++) {
        if (i >= l->o.iterations)
            return false;
        struct slot *s = slot_of(l, i);
        if (s->advantage == SEALED)
            continue;
        if (s->advantage == LEASED || !all_sealed(l, s))
            return false; /* advantages go in order: the tracker carries state */
        s->advantage = LEASED;
        *out = (struct lease){GROUP_ADVANTAGE, i, -1, l->o.version};
        return true;
    }
    return false;
}

/* An update reads the advantages and the trajectories (which may have to be made again
 * when somebody removed a damaged one). */
static bool update_ready(const struct ledger *l)
{
    if (l->o.version >= l->o.iterations)
        return false;
    const struct slot *s = slot_of(l, l->o.version);
    return s->advantage == SEALED && s->update == WAITING && all_sealed(l, s);
}

static bool next_update(struct ledger *l, struct lease *out)
{
    if (!update_ready(l))
        return false;
    struct slot *s = slot_of(l, l->o.version);
    s->update = LEASED;
    *out = (struct lease){GROUP_UPDATE, l->o.version, -1, l->o.version};
    return true;
}

bool ledger_next(struct ledger *l, enum group g, struct lease *out)
{
    if (l->draining || !l->o.only[g])
        return false;
    bool got = g == GROUP_ADVANTAGE ? next_advantage(l, out)
               : g == GROUP_UPDATE  ? next_update(l, out)
                                    : next_shard(l, g, out);
    l->outstanding += got;
    return got;
}

int64_t ledger_ready(const struct ledger *l, enum group g)
{
    int64_t n = 0;
    ERR_BUG_IF(g != GROUP_ROLLOUT && g != GROUP_REWARD);
    if (l->draining || !l->o.only[g])
        return 0;
    for (int64_t i = l->o.version; i < l->o.version + l->window; i++) {
        if (i >= l->o.iterations)
            break;
        const struct slot *s = slot_of(l, i);
        for (int64_t k = s->next[g]; k < l->o.shards; k++)
            n += shard_ready(s, g, k);
    }
    return n;
}

void ledger_done(struct ledger *l, const struct lease *lease)
{
    struct slot *s = slot_of(l, lease->iteration);
    l->outstanding--;
    if (lease->group == GROUP_ADVANTAGE) {
        s->advantage = SEALED;
    } else if (lease->group == GROUP_UPDATE) {
        clear_slot(l, s); /* becomes iteration version + window */
        l->o.version++;
    } else {
        seal_shard(s, lease->group, lease->shard);
    }
}

void ledger_return(struct ledger *l, const struct lease *lease)
{
    struct slot *s = slot_of(l, lease->iteration);
    l->outstanding--;
    if (lease->group == GROUP_ADVANTAGE)
        s->advantage = WAITING;
    else if (lease->group == GROUP_UPDATE)
        s->update = WAITING;
    else
        s->shard[lease->group][lease->shard] = WAITING;
}

void ledger_drain(struct ledger *l)
{
    l->draining = true;
}

bool ledger_draining(const struct ledger *l)
{
    return l->draining;
}

int64_t ledger_outstanding(const struct ledger *l)
{
    return l->outstanding;
}

int64_t ledger_version(const struct ledger *l)
{
    return l->o.version;
}

/* Could group g still start something now or after its own outstanding work? */
static bool group_idle(const struct ledger *l, enum group g)
{
    for (int64_t i = l->o.version; i < l->o.version + l->window; i++) {
        if (i >= l->o.iterations)
            break;
        const struct slot *s = slot_of(l, i);
        if (g == GROUP_ROLLOUT || g == GROUP_REWARD)
            for (int64_t k = 0; k < l->o.shards; k++)
                if (shard_ready(s, g, k))
                    return false;
        if (g == GROUP_ADVANTAGE && s->advantage != SEALED) {
            if (all_sealed(l, s))
                return false;
            break; /* in order */
        }
    }
    return g != GROUP_UPDATE || !update_ready(l);
}

bool ledger_finished(const struct ledger *l)
{
    if (l->outstanding > 0)
        return false;
    if (l->draining || l->o.version >= l->o.iterations)
        return true;
    for (int g = 0; g < GROUPS; g++)
        if (l->o.only[g] && !group_idle(l, (enum group)g))
            return false;
    return true;
}

int64_t ledger_sealed(const struct ledger *l, enum group g, int64_t iteration)
{
    if (!in_window(l, iteration))
        return 0;
    const struct slot *s = slot_of(l, iteration);
    return g == GROUP_ADVANTAGE ? s->advantage == SEALED
           : g == GROUP_UPDATE  ? 0
                                : s->sealed[g];
}

/* Health is what requests show; nothing is sent just to find out. */
#include "io/net_endpoint.h"

int64_t net_endpoint_pick(struct net_endpoint *e, int64_t n, int64_t avoid, double now)
{
    int64_t best = -1;
    for (int64_t i = 0; i < n; i++)
        if (e[i].open && !e[i].probing && now >= e[i].retry_at) {
            e[i].probing = true;
            e[i].in_flight++;
            return i;
        }
    for (int64_t i = 0; i < n; i++)
        if (!e[i].open && (best < 0 || best == avoid ||
                           (i != avoid && e[i].in_flight < e[best].in_flight)))
            best = i;
    if (best >= 0)
        e[best].in_flight++;
    return best;
}

int net_endpoint_done(struct net_endpoint *e, bool well, int64_t limit, double cooldown,
                      double now)
{
    bool was_open = e->open;
    e->in_flight--;
    if (well) {
        e->open = e->probing = false;
        e->failures = 0;
        return was_open ? -1 : 0;
    }
    e->failures++;
    if (e->open && !e->probing) /* started before it opened: says nothing new */
        return 0;
    e->probing = false;
    if (e->failures >= limit) {
        e->open = true;
        e->retry_at = now + cooldown;
    }
    return e->open && !was_open ? 1 : 0;
}

bool net_endpoint_all_open(const struct net_endpoint *e, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!e[i].open)
            return false;
    return true;
}

/* The endpoints of a service: which one takes the next request, and a circuit breaker for
 * each. Times are seconds of a clock that never goes back. */
#ifndef SLUICE_IO_NET_ENDPOINT_H
#define SLUICE_IO_NET_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>

struct net_endpoint {
    char *url, *shown; /* shown: without query, for messages */
    bool tls, loopback;
    int64_t in_flight, failures; /* failures: consecutive ones */
    bool open, probing;          /* open: takes nothing but one probe after the cool-down */
    double retry_at;
};

/* The endpoint for the next request: one whose cool-down is over (as its probe), else of the
 * healthy ones the one with the least in flight, other than `avoid` where there is another
 * (-1: none to avoid). It is in flight then. -1: none takes requests now. */
int64_t net_endpoint_pick(struct net_endpoint *e, int64_t n, int64_t avoid, double now);

/* A request to e has ended, well or not; `limit` failures in a row open its breaker for
 * `cooldown`, a probe that ends well closes it. 1: it opened now, -1: it closed now, else 0. */
int net_endpoint_done(struct net_endpoint *e, bool well, int64_t limit, double cooldown,
                      double now);

/* Are all breakers open? */
bool net_endpoint_all_open(const struct net_endpoint *e, int64_t n);

#endif

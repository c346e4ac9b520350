/* HTTP requests in, completions out, for services that answer a POST of JSON: the only user
 * of libcurl. One thread, which polls; nothing happens between two calls of net_step (but
 * libcurl may look up host names in a thread of its own).
 *
 * Tried again, with waits of full jitter (uniform in [0, min(cap, base 2^k)]): transport
 * errors, time-outs, 408, 425, 429 and 5xx. Retry-After is obeyed up to a cap. Redirects are
 * not followed: the token would go with them. HTTP/2 where TLS offers it. Proxies as
 * libcurl's environment variables say (https_proxy, no_proxy, ...). */
#ifndef SLUICE_IO_NET_H
#define SLUICE_IO_NET_H

#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

struct net_options { /* texts are copied; messages name the keys of section `http` */
    const char *url;                             /* endpoints, commas between */
    const char *token_env, *token_file, *ca_file; /* "" for none */
    bool insecure;                               /* no check of certificates */
    double connect_timeout, timeout, silence;    /* s, one attempt; silence 0: no limit */
    int64_t attempts;                            /* of one request, the first included */
    double backoff, backoff_cap, retry_after_cap; /* s */
    int64_t breaker;           /* failures in a row that take an endpoint out of use */
    double cooldown, patience; /* s: out of use; without any endpoint, until requests fail */
    int64_t in_flight;         /* most requests at a time */
    int64_t max_response;      /* bytes of a reply after decompression */
    uint64_t seed;             /* of the jitter */
};

enum net_kind {
    NET_OK,        /* 2xx, body complete */
    NET_TIMED_OUT, /* the last attempt ended by time; no more of them */
    NET_TRANSPORT, /* no connection, it broke, a wrong certificate */
    NET_BUSY,      /* 408, 425, 429 or 5xx, still after all attempts */
    NET_REFUSED,   /* any other code, redirects too */
    NET_TOO_LARGE, /* more than max_response */
    NET_DOWN,      /* every endpoint was out of use for `patience` */
};

struct net_reply {
    int64_t tag;
    enum net_kind kind;
    long code;         /* HTTP's, 0 without an answer */
    struct text body;  /* NET_OK only */
    char why[320];     /* what went wrong, with the endpoint, without token and query */
};

struct net;

/* Reads the token and checks the addresses; connects to nothing. ERR_USAGE: no or bad
 * addresses (one with a password is refused), no such variable; ERR_INPUT: files. */
int net_open(const struct net_options *o, struct net **out);
void net_close(struct net *n);

/* How many more requests it makes sense to hand over now, so that their bodies do not pile
 * up; and how many are not taken yet. */
int64_t net_room(const struct net *n);
int64_t net_pending(const struct net *n);

/* Takes over the body, which must be JSON, and empties it. -1 (ERR_ENV): libcurl does not
 * start. */
int net_submit(struct net *n, struct text *body, int64_t tag);

/* Sends and receives, and waits for at most timeout_ms where nothing is done. -1: ERR_ENV. */
int net_step(struct net *n, int timeout_ms);

/* The next completion, in any order; false: none. Free r->body with text_free. */
bool net_take(struct net *n, struct net_reply *r);

/* Stars for the token in a message about a reply's body, printable from then on. */
void net_mask(const struct net *n, char *s);

/* Sends nothing more: forgets what is not under way, and later what would be tried again.
 * The rest is still to be had by net_step and net_take. Ends with net_cancel. */
void net_drain(struct net *n);

/* Forgets all that was submitted. */
void net_cancel(struct net *n);

#endif

/* The addresses of a service. */
#ifndef SLUICE_IO_NET_URL_H
#define SLUICE_IO_NET_URL_H

#include "io/net_endpoint.h"

#include <stdint.h>

/* Addresses with commas between into *e (NULL at first), *n of them (0 at first), also after
 * an error: ERR_USAGE, none, one that is none, one with a user or password in it. No message
 * repeats them. Free with net_url_free. */
int net_url_parse(const char *urls, struct net_endpoint **e, int64_t *n);
void net_url_free(struct net_endpoint *e, int64_t n);

#endif

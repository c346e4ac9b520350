/* Requests to and replies from a program, as bytes. EXEC.md describes both forms. */
#ifndef SLUICE_STAGES_REWARD_EXEC_WIRE_H
#define SLUICE_STAGES_REWARD_EXEC_WIRE_H

#include "io/sys/text.h"
#include "stages/reward/reward.h"

enum { EXEC_WIRE_VERSION = 1 };

struct exec_wire { /* plain data */
    bool binary;
    const struct coding *coding; /* NULL-able */
};

/* Appends to out the request `id` for samples b->sample[index[0 .. n)]. Series go in their
 * own units; in JSON, texts go as strings and a number that is not finite as null. */
void exec_wire_request(const struct exec_wire *w, const struct reward_batch *b,
                       const int64_t *index, int64_t n, uint64_t id, struct text *out);

/* Looks for the reply to request `id` of n samples at the start of p. Its length in bytes,
 * 0 while its end is not there, -1 where it can be no such reply (*why says what is wrong;
 * no pending error). Only a whole reply fills score and status [n]: scores that are not
 * finite have a status that says so, and no reply says more than its n samples. p is
 * changed; NULL is fine with len 0. */
int64_t exec_wire_reply(const struct exec_wire *w, char *p, int64_t len, uint64_t id,
                        int64_t n, double *score, uint8_t *status, const char **why);

/* The first line of a program: "sluice-exec 1 json NAME". As above; name: text of at least
 * 128 bytes. */
int64_t exec_wire_hello(const struct exec_wire *w, const char *p, int64_t len, char *name,
                        const char **why);

#endif

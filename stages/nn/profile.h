/* Where the time of an evaluation goes: calls, seconds and operations by kind of work.
 * Off unless asked for; an operation then pays one branch on a global.
 *
 * An operation brackets its work, forward and backward alike, from the thread that calls
 * it (outside of parallel regions):
 *
 *     double begun = profile_begin();
 *     ... the work, with all of its threads ...
 *     profile_end(PROFILE_CONV, begun, flops);
 *
 * Brackets do not nest: the inner one would be counted twice. */
#ifndef SLUICE_STAGES_NN_PROFILE_H
#define SLUICE_STAGES_NN_PROFILE_H

#include "io/sys/clock.h"

#include <stdbool.h>
#include <stdint.h>

enum profile_kind {
    PROFILE_CONV,
    PROFILE_MATMUL, /* linear maps outside of attention */
    PROFILE_NORM,   /* with the activation that is fused to it */
    PROFILE_ATTENTION,
    PROFILE_ELEMENTWISE,
    PROFILE_LAYOUT, /* copies, packing, concatenation, channels first and last */
    PROFILE_KINDS
};

struct profile_sum {
    int64_t calls;
    double seconds;
    double flops; /* 2 per multiply-add; 0 for kinds that count none */
};

struct profile_sums {
    struct profile_sum kind[PROFILE_KINDS];
};

/* Read only; profile_start sets it. */
extern bool profile_on;

/* Sets all sums to zero and switches counting on or off, for the process. Not while
 * another thread evaluates. */
void profile_start(bool on);

/* Adds one call of so many seconds and operations. */
void profile_add(enum profile_kind kind, double seconds, double flops);

/* The sums since profile_start. */
void profile_read(struct profile_sums *out);

/* "conv", "matmul", ... */
const char *profile_name(enum profile_kind kind);

/* The beginning of a bracket, to be given to profile_end. */
static inline double profile_begin(void)
{
    return profile_on ? clock_s() : 0;
}

static inline void profile_end(enum profile_kind kind, double begun, double flops)
{
    if (profile_on)
        profile_add(kind, clock_s() - begun, flops);
}

#endif

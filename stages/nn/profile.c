/* Sums of time by kind of work. The sums are the process's, not a tape's: a measurement
 * looks at everything that the process computes, and the switch must cost one branch.
 */
#include "stages/nn/profile.h"


bool profile_on;
static struct profile_sums sums;

static const char *const names[PROFILE_KINDS] = {
    [PROFILE_CONV] = "conv",
    [PROFILE_MATMUL] = "matmul",
    [PROFILE_NORM] = "norm",
    [PROFILE_ATTENTION] = "attention",
    [PROFILE_ELEMENTWISE] = "elementwise",
    [PROFILE_LAYOUT] = "layout",
};

void profile_start(bool on)
{
    sums = (struct profile_sums){0};
    profile_on = on;
}

void profile_add(enum profile_kind kind, double seconds, double flops)
{
    struct profile_sum *s = &sums.kind[kind];
    s->calls++;
    s->seconds += seconds;
    s->flops += flops;
}

void profile_read(struct profile_sums *out)
{
    *out = sums;
}

const char *profile_name(enum profile_kind kind)
{
    return names[kind];
}

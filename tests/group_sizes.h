/* Layouts for tests of simulated runs. */
#ifndef TESTS_GROUP_SIZES_H
#define TESTS_GROUP_SIZES_H

#include "scheduler/layout.h"

#include <stdlib.h>

/* Shared placement, groups of these sizes on `world` ranks. */
static struct layout layout_of(int rollout, int reward, int advantage, int update, int world)
{
    const int want[GROUPS] = {rollout, reward, advantage, update};
    struct layout l;
    if (layout_make(&l, want, false, world) != 0)
        abort();
    return l;
}

#endif

/* Group layout. */
#include "scheduler/layout.h"

#include "io/sys/err.h"

#include <string.h>

static const char *const names[GROUPS] = {"rollout", "reward", "advantage", "update"};

const char *group_name(enum group g)
{
    return names[g];
}

bool group_from_name(const char *name, enum group *g)
{
    for (int i = 0; i < GROUPS; i++)
        if (strcmp(name, names[i]) == 0) {
            *g = (enum group)i;
            return true;
        }
    return false;
}

static void one_after_another(struct layout *l)
{
    int at = 0;
    for (int g = 0; g < GROUPS; g++) {
        l->start[g] = at;
        at += l->size[g];
    }
}

/* Fills in the automatic sizes of a split layout; false when ranks do not suffice. */
static bool fill_split(struct layout *l, const int want[GROUPS])
{
    int left = l->world, open = 0;
    for (int g = 0; g < GROUPS; g++) {
        left -= want[g] == LAYOUT_AUTO ? 0 : want[g];
        open += want[g] == LAYOUT_AUTO;
    }
    if (left < open)
        return false;
    static const enum group order[] = {GROUP_ADVANTAGE, GROUP_REWARD, GROUP_UPDATE,
                                       GROUP_ROLLOUT};
    for (int i = 0; i < GROUPS; i++) {
        enum group g = order[i];
        if (want[g] != LAYOUT_AUTO) {
            l->size[g] = want[g];
            continue;
        }
        int spare = left - open + 1; /* what it may take and leave one for each other */
        int share = g == GROUP_ADVANTAGE ? 1 : g == GROUP_REWARD ? left / 16 : left / open;
        l->size[g] = share < 1 ? 1 : share > spare ? spare : share;
        left -= l->size[g];
        open--;
    }
    return left == 0;
}

int layout_make(struct layout *l, const int want[GROUPS], bool split, int world)
{
    int sum = 0, most = 0, any_auto = 0;
    *l = (struct layout){.world = world};
    for (int g = 0; g < GROUPS; g++) {
        any_auto |= want[g] == LAYOUT_AUTO;
        sum += want[g] == LAYOUT_AUTO ? 0 : want[g];
        most = want[g] > most ? want[g] : most;
    }
    if (world == 1) {
        for (int g = 0; g < GROUPS; g++)
            l->size[g] = 1;
        l->overlap = true;
        return 0;
    }
    if (!any_auto && sum == world) {
        memcpy(l->size, want, sizeof l->size);
        one_after_another(l);
        return 0;
    }
    if (split && any_auto) {
        if (!fill_split(l, want))
            return err_set(ERR_ENV,
                           "%d ranks do not fit groups.placement=split with the sizes "
                           "asked for (the fixed ones add up to %d, each automatic group "
                           "needs one rank more); start more ranks or use "
                           "groups.placement=shared",
                           world, sum);
        one_after_another(l);
        return 0;
    }
    if (split || most > world || (!any_auto && sum < world))
        return err_set(ERR_ENV,
                       "groups.rollout + reward + advantage + update = %d, but %d ranks "
                       "were started; start %d ranks (mpirun -np %d)%s",
                       sum, world, sum, sum,
                       most <= world ? ", change groups.* (auto fits any number), or use "
                                       "groups.placement=shared with fewer ranks than "
                                       "the sum"
                                     : " or change groups.* (auto fits any number)");
    for (int g = 0; g < GROUPS; g++)
        l->size[g] = want[g] == LAYOUT_AUTO ? world : want[g];
    l->overlap = true;
    return 0;
}

void layout_single(struct layout *l, enum group g, int world)
{
    *l = (struct layout){.world = world};
    l->size[g] = world;
}

bool layout_has(const struct layout *l, enum group g, int rank)
{
    return rank >= l->start[g] && rank < l->start[g] + l->size[g];
}

bool layout_shares(const struct layout *l, enum group g, int rank)
{
    for (int other = 0; other < GROUPS; other++)
        if (other != (int)g && layout_has(l, (enum group)other, rank))
            return true;
    return false;
}

int layout_coordinator(const struct layout *l)
{
    return l->size[GROUP_ADVANTAGE] > 0 ? l->start[GROUP_ADVANTAGE] : 0;
}

void layout_tag(const struct layout *l, int rank, struct text *out)
{
    const char *sep = "";
    for (int g = 0; g < GROUPS; g++)
        if (layout_has(l, (enum group)g, rank)) {
            text_add(out, "%s%s/%d", sep, names[g], rank - l->start[g]);
            sep = "+";
        }
}

/* The list of rewards. */
#include "stages/reward/reward.h"

#include "io/sys/text.h"
#include "stages/reward/brightness.h"
#include "stages/reward/classifier.h"
#include "stages/reward/exec.h"
#include "stages/reward/http.h"
#include "stages/reward/jpeg.h"
#include "stages/reward/memorisation.h"
#include "stages/reward/molecule.h"
#include "stages/reward/plugin.h"
#include "stages/reward/power.h"
#include "stages/reward/scorer.h"
#include "stages/reward/table.h"

#include <string.h>

static const struct reward *const list[] = {
    &jpeg_compressibility, &jpeg_incompressibility,
    &brightness,           &power_peak,
    &power_energy,         &power_ramp,
    &power_cost,           &power_peak_hard,
    &power_energy_hard,    &power_ramp_hard,
    &power_cost_hard,      &table,
    &reward_classifier,    &classifier_hard,
    &memorisation,
    &molecule_valid,       &molecule_property,
    &mixture,
    &plugin,
    &reward_exec,
    &reward_http,
    NULL,
};

const struct reward *const *reward_all(void)
{
    return list;
}

const struct reward *reward_find(const char *name)
{
    const char *names[sizeof list / sizeof *list];
    int64_t n = 0;
    for (; list[n] != NULL; n++) {
        if (strcmp(list[n]->name, name) == 0)
            return list[n];
        names[n] = list[n]->name;
    }
    text_unknown("reward", name, names, n);
    return NULL;
}

int reward_traits(const struct reward *r, const struct config *c,
                  struct reward_traits *t)
{
    *t = (struct reward_traits){.units = r->units,
                                .deterministic = r->deterministic,
                                .differentiable = r->differentiable};
    if (r->traits != NULL && r->traits(c, t) != 0)
        return -1;
    if (!config_is(c, "reward.deterministic", "auto"))
        t->deterministic = config_is(c, "reward.deterministic", "true");
    return 0;
}

int reward_settle(const struct reward *r, const struct config *c, struct reward *own)
{
    struct reward_traits t;
    *own = *r;
    if (reward_traits(r, c, &t) != 0)
        return -1;
    own->units = t.units;
    own->deterministic = t.deterministic;
    own->differentiable = t.differentiable;
    own->traits = NULL;
    return 0;
}

const char *reward_status_name(enum reward_status s)
{
    static const char *const names[] = {"ok", "failed", "timed out", "infeasible",
                                        "non-finite", "not asked"};
    return (unsigned)s < sizeof names / sizeof *names ? names[s] : "unknown";
}

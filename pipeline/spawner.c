/* Whoever uses the reward exec names a command, for the run or for a component. */
#include "pipeline/spawner.h"

#include "io/spawn.h"

static bool names_command(const struct config *c)
{
    return config_text(c, "exec.command")[0] != '\0';
}

int spawner_begin(const struct config *c)
{
    bool wanted = names_command(c);
    for (int64_t i = 0; i < config_parts(c); i++)
        wanted |= names_command(config_part(c, i, NULL));
    return wanted ? spawn_begin() : 0;
}

/* The values' text is looked at, not single keys: a reward, a guard or one of several
 * components can say exec. A helper too many costs a process that sleeps. */
#include "pipeline/spawner.h"

#include "io/spawn.h"

#include <string.h>

/* Is it in the value of a "key: value" line, or in a list's line? */
static bool says_exec(const char *text)
{
    for (const char *p = text; p != NULL && *p != '\0';) {
        const char *end = strchr(p, '\n'), *colon = strstr(p, ": ");
        const char *at = strstr(colon != NULL && (end == NULL || colon < end) ? colon : p,
                                "exec");
        bool key = at != NULL && strncmp(at, "exec:", 5) == 0;
        if (at != NULL && (end == NULL || at < end) && !key)
            return true;
        p = end == NULL ? NULL : end + 1;
    }
    return false;
}

int spawner_begin(const struct config *c)
{
    struct text t = {0};
    config_dump(c, &t, false);
    bool wanted = config_text(c, "exec.command")[0] != '\0' || says_exec(t.s);
    text_free(&t);
    return wanted ? spawn_begin() : 0;
}

/* The list of methods. */
#include "stages/algo/algo.h"

#include "io/sys/err.h"
#include "io/sys/text.h"
#include "stages/algo/ddpo.h"

#include <string.h>

static const struct algo *const list[] = {&ddpo_is, &ddpo_sf, NULL};

const struct algo *const *algo_all(void)
{
    return list;
}

const struct algo *algo_find(const char *name)
{
    const char *names[sizeof list / sizeof *list];
    int64_t n = 0;
    for (; list[n] != NULL; n++) {
        if (strcmp(list[n]->name, name) == 0)
            return list[n];
        names[n] = list[n]->name;
    }
    struct text known = {0};
    for (int64_t i = 0; i < n; i++)
        text_add(&known, "%s%s", i > 0 ? ", " : "", names[i]);
    const char *near = text_nearest(name, names, n);
    err_set(ERR_USAGE, "unknown method \"%s\"%s%s%s (there are %s)", name,
            near != NULL ? "; did you mean \"" : "", near != NULL ? near : "",
            near != NULL ? "\"?" : "", known.s);
    text_free(&known);
    return NULL;
}

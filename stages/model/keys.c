/* One table per network; the messages come from it. */
#include "stages/model/keys.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <string.h>

static bool in_range(const struct keys *k, const struct json *v, int64_t *out)
{
    int64_t got;
    if (!json_to_i64(v, &got) || got < k->low || got > k->high)
        return false;
    *out = got;
    return true;
}

static int read_sizes(const struct keys *k, const struct json *v, int64_t *out)
{
    const struct json *h = v, *w = v;
    if (json_kind(v) == JSON_LIST_T && json_count(v) == 2) {
        h = json_item(v, 0);
        w = json_item(v, 1);
    }
    return in_range(k, h, &out[0]) && in_range(k, w, &out[1]) ? 0 : -1;
}

static int read_value(const struct keys *k, const struct json *v, const char *path,
                      void *out)
{
    void *field = (char *)out + k->field;
    const char *what = "an integer";
    int rc = -1;
    switch (k->kind) {
    case KEYS_COUNT:
        rc = (json_kind(v) == JSON_NULL_T && !k->needed) || in_range(k, v, field) ? 0
                                                                                  : -1;
        break;
    case KEYS_BOOL:
        if (json_to_bool(v, field))
            return 0;
        return err_set(ERR_INPUT, "%s: %s: must be true or false", path, k->name);
    case KEYS_SIZES:
        what = "an integer, or [height, width],";
        rc = read_sizes(k, v, field);
        break;
    case KEYS_ELSEWHERE:
        return 0;
    }
    if (rc != 0)
        err_set(ERR_INPUT, "%s: %s: must be %s from %lld to %lld", path, k->name, what,
                (long long)k->low, (long long)k->high);
    return rc;
}

static int unknown(const char *path, const char *name, const struct keys *table, int n)
{
    const char **names = mem_alloc(n, sizeof *names);
    struct text all = {0};
    for (int i = 0; i < n; i++) {
        names[i] = table[i].name;
        text_add(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    }
    const char *near = text_nearest(name, names, n);
    err_set(ERR_INPUT,
            "%s: key '%s' is not known for this network%s%s%s; its keys are: %s", path,
            name, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
            near != NULL ? "'?" : "", all.s);
    text_free(&all);
    mem_free(names);
    return -1;
}

int keys_read(const struct json *config, const char *path, const struct keys *table,
              int n, void *out)
{
    for (int64_t i = 0; i < json_count(config); i++) {
        const char *name = NULL;
        const struct json *v = json_entry(config, i, &name);
        int k = 0;
        if (name[0] == '_')
            continue;
        while (k < n && strcmp(table[k].name, name) != 0)
            k++;
        if (k == n)
            return unknown(path, name, table, n);
        if (read_value(&table[k], v, path, out) != 0)
            return -1;
    }
    for (int k = 0; k < n; k++)
        if (table[k].needed && json_get(config, table[k].name) == NULL)
            return err_set(ERR_INPUT, "%s: %s: is missing", path, table[k].name);
    return 0;
}

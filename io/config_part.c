/* Parts of a configuration: named maps of other keys, each a configuration that falls back
 * on the whole. */
#include "io/config_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <string.h>

int64_t config_parts_key(const struct config *c)
{
    for (int64_t k = 0; k < c->n; k++)
        if (c->table[k].type == CONFIG_PARTS)
            return k;
    return -1;
}

int64_t config_parts(const struct config *c)
{
    return c->parts;
}

const struct config *config_part(const struct config *c, int64_t i, const char **name)
{
    ERR_BUG_IF(i < 0 || i >= c->parts);
    if (name != NULL)
        *name = c->part[i]->name;
    return c->part[i];
}

static bool good_name(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n <= CONFIG_PART_NAME &&
           strspn(s, "abcdefghijklmnopqrstuvwxyz_0123456789") == n && s[0] >= 'a';
}

struct config *config_part_named(struct config *c, const char *name, const char *where)
{
    const char *key = c->table[config_parts_key(c)].key;
    for (int64_t i = 0; i < c->parts; i++)
        if (strcmp(c->part[i]->name, name) == 0)
            return c->part[i];
    if (!good_name(name)) {
        err_set(ERR_USAGE,
                "%s: %s: '%.60s' is no name: a small letter, then small letters, digits and "
                "_, at most %d",
                where, key, name, CONFIG_PART_NAME);
        return NULL;
    }
    if (c->parts == CONFIG_PARTS_MAX) {
        err_set(ERR_USAGE, "%s: %s: at most %d are possible", where, key, CONFIG_PARTS_MAX);
        return NULL;
    }
    struct config *part = mem_alloc(1, sizeof *part);
    part->table = c->table;
    part->n = c->n;
    part->value = mem_alloc(c->n, sizeof *part->value);
    part->whole = c;
    snprintf(part->name, sizeof part->name, "%s", name);
    c->part = mem_resize(c->part, c->parts, c->parts + 1, sizeof *c->part);
    c->part[c->parts++] = part;
    return part;
}

/* Whether a key belongs to one of the sections "a|b". */
static bool in_sections(const char *key, const char *sections)
{
    for (const char *p = sections;;) {
        size_t n = strcspn(p, "|");
        if (strncmp(key, p, n) == 0 && key[n] == '.')
            return true;
        if (p[n] == '\0')
            return false;
        p += n + 1;
    }
}

bool config_part_section(const struct config *part, const char *name)
{
    char *key = text_new("%s.", name);
    bool is = strchr(name, '.') == NULL &&
              in_sections(key, part->table[config_parts_key(part)].choices);
    mem_free(key);
    return is;
}

bool config_part_sets(const struct config *part, const char *key)
{
    int64_t at = config_find(part, key);
    ERR_BUG_IF(at < 0);
    return part->value[at].text != NULL;
}

int64_t config_part_find(const struct config *part, const char *key)
{
    const char *sections = part->table[config_parts_key(part)].choices;
    int64_t at = config_find(part, key);
    if (at < 0) {
        char *full = text_new("%.*s.%s", (int)strcspn(sections, "|"), sections, key);
        at = config_find(part, full);
        mem_free(full);
    }
    return at >= 0 && in_sections(part->table[at].key, sections) ? at : -1;
}

int config_part_unknown(const struct config *part, const char *key, const char *where)
{
    const char *sections = part->table[config_parts_key(part)].choices;
    if (strchr(key, '.') != NULL || config_part_section(part, key))
        return config_unknown(part, key, where);
    char *full = text_new("%.*s.%s", (int)strcspn(sections, "|"), sections, key);
    int rc = config_unknown(part, full, where);
    mem_free(full);
    return rc;
}

void config_parts_dump(const struct config *c, struct text *out)
{
    text_add(out, c->parts > 0 ? "\n" : "{}\n");
    for (int64_t i = 0; i < c->parts; i++) {
        const struct config *part = c->part[i];
        bool any = false;
        text_add(out, "  %s:", part->name);
        for (int64_t k = 0; k < part->n; k++) {
            if (part->value[k].text == NULL)
                continue;
            text_add(out, "%s    %s: ", any ? "" : "\n", part->table[k].key);
            config_add_yaml(out, part->table[k].type, part->value[k].text);
            text_add(out, "\n");
            any = true;
        }
        text_add(out, any ? "" : " {}\n");
    }
}

void config_parts_digest(const struct config *c, struct digest *d)
{
    for (int64_t i = 0; i < c->parts; i++) {
        const struct config *part = c->part[i];
        digest_add_text(d, part->name);
        for (int64_t k = 0; k < part->n; k++) {
            if (part->value[k].text == NULL || !part->table[k].shapes_results)
                continue;
            digest_add_text(d, part->table[k].key);
            digest_add_text(d, part->value[k].text);
        }
    }
}

bool config_parts_differ(const struct config *a, const struct config *b)
{
    char one[DIGEST_HEX], other[DIGEST_HEX];
    struct digest *d = digest_create(), *e = digest_create();
    config_parts_digest(a, d);
    config_parts_digest(b, e);
    digest_finish(d, one);
    digest_finish(e, other);
    return strcmp(one, other) != 0;
}

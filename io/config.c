/* Configuration values against one schema table. Every value, whether from the table, a
 * file or the command line, enters as text through config_set() and is stored together
 * with its canonical spelling; dump, digest and comparison see only that spelling, so
 * that 1e-4 and 0.0001 are the same configuration. */
#include "io/config_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void value_clear(struct value *v)
{
    mem_free(v->text);
    mem_free(v->origin);
    mem_free(v->list);
    *v = (struct value){0};
}

int64_t config_find(const struct config *c, const char *key)
{
    for (int64_t k = 0; k < c->n; k++)
        if (strcmp(c->table[k].key, key) == 0)
            return k;
    return -1;
}

/* Index of word in "a|b|c", or -1. */
static int64_t word_index(const char *choices, const char *word)
{
    size_t len = strlen(word);
    if (choices == NULL || len == 0)
        return -1;
    int64_t at = 0;
    for (const char *p = choices;; at++) {
        size_t n = strcspn(p, "|");
        if (n == len && memcmp(p, word, n) == 0)
            return at;
        if (p[n] == '\0')
            return -1;
        p += n + 1;
    }
}

static void add_number(struct text *t, double v)
{
    char buf[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(buf, sizeof buf, "%.*g", digits, v);
        if (strtod(buf, NULL) == v)
            break;
    }
    text_add(t, "%s", buf);
}

static bool limited(const struct config_key *k)
{
    return k->min != 0 || k->max != 0;
}

/* What this key accepts, in words. */
void config_add_allowed(struct text *t, const struct config_key *k)
{
    static const char *const kind[] = {
        [CONFIG_INT] = "an integer",
        [CONFIG_REAL] = "a finite number",
        [CONFIG_BOOL] = "true or false",
        [CONFIG_TEXT] = "a line of text (UTF-8)",
        [CONFIG_CHOICE] = "one of ",
        [CONFIG_DURATION] = "a duration such as 90, 15m, 1:30:00 or 1-00:00:00",
        [CONFIG_INT_LIST] = "a list of integers such as [0, 3, 5]",
        [CONFIG_PARTS] = "named maps with keys of the sections ",
    };
    text_add(t, "%s", kind[k->type]);
    if (k->type == CONFIG_CHOICE || k->type == CONFIG_PARTS)
        text_add(t, "%s", k->choices);
    if (limited(k)) {
        text_add(t, " from ");
        add_number(t, k->min);
        text_add(t, " to ");
        add_number(t, k->max);
    }
    if (k->type != CONFIG_CHOICE && k->type != CONFIG_PARTS && k->choices != NULL)
        text_add(t, ", or %s", k->choices);
}

int config_refuse(const struct config_key *k, const char *text, const char *where)
{
    struct text t = {0};
    config_add_allowed(&t, k);
    err_set(ERR_USAGE, "%s: %s: '%.200s' is not accepted, it takes %s", where, k->key,
            text, t.s);
    text_free(&t);
    return -1;
}

/* Code points that YAML folds, refuses or strips: C1 controls, line and paragraph
 * separators, the byte order mark, surrogates and non-characters. */
static bool unprintable(const unsigned char *p)
{
    return (p[0] == 0xc2 && p[1] < 0xa0) ||
           (p[0] == 0xe2 && p[1] == 0x80 && (p[2] == 0xa8 || p[2] == 0xa9)) ||
           (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] >= 0xa0) ||
           (p[0] == 0xef && p[1] == 0xbb && p[2] == 0xbf) ||
           (p[0] == 0xef && p[1] == 0xbf && p[2] >= 0xbe) ||
           (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] >= 0x90);
}

/* Well-formed UTF-8 without control characters, so that the saved file can be read. */
static bool clean_text(const char *s)
{
    for (const unsigned char *p = (const unsigned char *)s; *p != '\0'; p++) {
        int more = *p >= 0xf0 ? 3 : *p >= 0xe0 ? 2 : *p >= 0xc2 ? 1 : 0;
        if (*p < 0x20 || *p == 0x7f || *p > 0xf4 || (*p >= 0x80 && more == 0) ||
            unprintable(p))
            return false;
        for (; more > 0; more--)
            if ((*++p & 0xc0) != 0x80)
                return false;
    }
    return true;
}

/* "[0, 3, 5]" or "0,3,5"; "" and "[]" are empty. */
static bool parse_list(const char *s, struct value *v, const struct config_key *k)
{
    size_t len = strlen(s);
    bool bracket = s[0] == '[';
    if (bracket && (len < 2 || s[len - 1] != ']'))
        return false;
    struct text canon = {0};
    const char *p = s + bracket, *last = s + len - bracket;
    text_add(&canon, "[");
    bool good = true;
    while (p < last && isspace((unsigned char)*p))
        p++;
    while (p < last && good) {
        char *end = NULL, item[32];
        size_t n = strcspn(p, ",]");
        good = n > 0 && n < sizeof item;
        if (!good)
            break;
        memcpy(item, p, n);
        item[n] = '\0';
        long long x = strtoll(item, &end, 10);
        good = end != item && strspn(end, " \t") == strlen(end) &&
               (!limited(k) || ((double)x >= k->min && (double)x <= k->max));
        v->list = mem_resize(v->list, v->count, v->count + 1, sizeof *v->list);
        v->list[v->count++] = x;
        text_add(&canon, "%s%lld", v->count > 1 ? ", " : "", x);
        p += n;
        if (p < last) /* a comma with something behind it */
            good = good && *p++ == ',' && p < last;
    }
    text_add(&canon, "]");
    v->text = canon.s;
    return good;
}

static bool parse_bool(const char *s, int64_t *out)
{
    static const char *const yes[] = {"true", "yes", "on"}, *const no[] = {"false",
                                                                           "no", "off"};
    for (int i = 0; i < 3; i++) {
        if (strcmp(s, yes[i]) == 0 || strcmp(s, no[i]) == 0) {
            *out = strcmp(s, yes[i]) == 0;
            return true;
        }
    }
    return false;
}

static bool parse_number(const struct config_key *k, const char *s, struct value *v)
{
    bool good;
    if (word_index(k->choices, s) >= 0) {
        v->text = mem_text(s);
        return true;
    }
    if (k->type == CONFIG_INT) {
        good = text_to_i64(s, &v->i);
        v->r = (double)v->i;
        v->text = text_new("%lld", (long long)v->i);
    } else {
        struct text t = {0};
        good =
            k->type == CONFIG_REAL ? text_to_f64(s, &v->r) : text_to_seconds(s, &v->r);
        good = good && isfinite(v->r);
        v->r += 0.0; /* -0 is 0 */
        add_number(&t, v->r);
        v->text = t.s;
    }
    return good && (!limited(k) || (v->r >= k->min && v->r <= k->max));
}

/* Parses text for key number at; the old value stays when it is refused. */
int config_set(struct config *c, int64_t at, const char *text, const char *origin)
{
    const struct config_key *k = &c->table[at];
    struct value v = {0};
    bool good = true;
    switch (k->type) {
    case CONFIG_INT:
    case CONFIG_REAL:
    case CONFIG_DURATION:
        good = parse_number(k, text, &v);
        break;
    case CONFIG_BOOL:
        good = parse_bool(text, &v.i);
        v.text = mem_text(v.i != 0 ? "true" : "false");
        break;
    case CONFIG_TEXT:
        good = strlen(text) < 4096 && clean_text(text);
        v.text = mem_text(text);
        break;
    case CONFIG_CHOICE:
        v.i = word_index(k->choices, text);
        good = v.i >= 0;
        v.text = mem_text(text);
        break;
    case CONFIG_INT_LIST:
        good = parse_list(text, &v, k);
        break;
    case CONFIG_PARTS: /* the parts themselves are set one by one */
        good = text[0] == '\0';
        v.text = mem_text(text);
        break;
    }
    if (!good) {
        value_clear(&v);
        return config_refuse(k, text, origin == NULL ? "default" : origin);
    }
    v.origin = mem_text(origin);
    value_clear(&c->value[at]);
    c->value[at] = v;
    return 0;
}

struct config *config_create(const struct config_key *table)
{
    struct config *c = mem_alloc(1, sizeof *c);
    c->table = table;
    while (table[c->n].key != NULL)
        c->n++;
    c->value = mem_alloc(c->n, sizeof *c->value);
    for (int64_t k = 0; k < c->n; k++)
        if (config_set(c, k, table[k].def, NULL) != 0)
            ERR_BUG("%s", err_text());
    return c;
}

void config_destroy(struct config *c)
{
    if (c == NULL)
        return;
    for (int64_t k = 0; k < c->n; k++)
        value_clear(&c->value[k]);
    for (int64_t i = 0; i < c->parts; i++)
        config_destroy(c->part[i]);
    mem_free(c->part);
    mem_free(c->value);
    mem_free(c);
}

/* ERR_USAGE for a key that does not exist: the nearest one, the same name in another
 * section, or the names that this section has. */
int config_unknown(const struct config *c, const char *key, const char *where)
{
    const char **all = mem_alloc(c->n, sizeof *all);
    const char *dot = strchr(key, '.'), *near = NULL;
    for (int64_t k = 0; k < c->n; k++) {
        const char *d = strchr(c->table[k].key, '.');
        all[k] = c->table[k].key;
        if (near == NULL &&
            strcmp(d != NULL ? d + 1 : all[k], dot ? dot + 1 : key) == 0)
            near = all[k];
    }
    if (near == NULL)
        near = text_nearest(key, all, c->n);
    struct text t = {0};
    if (near != NULL)
        text_add(&t, "; did you mean '%s'?", near);
    bool first = true;
    for (int64_t k = 0; k < c->n; k++) {
        if (dot == NULL || strncmp(all[k], key, (size_t)(dot - key) + 1) != 0)
            continue;
        text_add(&t, "%s%s", first ? " (keys there: " : ", ", all[k] + (dot - key) + 1);
        first = false;
    }
    text_add(&t, "%s",
             !first         ? ")"
             : near == NULL ? "; `sluice config` lists all"
                            : "");
    err_set(ERR_USAGE, "%s: unknown key '%.100s'%s", where, key, t.s);
    text_free(&t);
    mem_free(all);
    return -1;
}

/* key: "PART.KEY" */
static int assign_part(struct config *c, const char *key, const char *value,
                       const char *where)
{
    const char *dot = strchr(key, '.');
    if (dot == NULL)
        return config_unknown(c, key, where);
    char *name = text_new("%.*s", (int)(dot - key), key);
    struct config *part = config_part_named(c, name, where);
    int64_t at = part == NULL ? -1 : config_part_find(part, dot + 1);
    int rc = part == NULL ? -1
             : at < 0     ? config_part_unknown(part, dot + 1, where)
                          : config_set(part, at, value, where);
    mem_free(name);
    return rc;
}

int config_assign(struct config *c, const char *assignment, const char *where)
{
    const char *eq = strchr(assignment, '=');
    if (eq == NULL || eq == assignment)
        return err_set(ERR_USAGE,
                       "%s: '%.100s' is not of the form section.key=value", where,
                       assignment);
    char *key = text_new("%.*s", (int)(eq - assignment), assignment);
    int64_t at = config_find(c, key), parts = config_parts_key(c);
    size_t len = parts >= 0 ? strlen(c->table[parts].key) : 0;
    int rc;
    if (len > 0 && strncmp(key, c->table[parts].key, len) == 0 && key[len] == '.')
        rc = assign_part(c, key + len + 1, eq + 1, where);
    else if (at >= 0 && at == parts)
        rc = err_set(ERR_USAGE, "%s: %s: set keys one by one, as in %s.NAME.KEY=VALUE", where,
                     key, key);
    else
        rc = at < 0 ? config_unknown(c, key, where)
                    : config_set(c, at, eq + 1, where);
    mem_free(key);
    return rc;
}

int config_override(struct config *c, const char *assignment)
{
    return config_assign(c, assignment, "command line");
}

/* Asking for a key that is not in the table, or as another type, is our bug. */
static const struct value *get(const struct config *c, const char *key, unsigned types)
{
    int64_t at = config_find(c, key);
    if (at < 0 || (types & (1u << c->table[at].type)) == 0)
        ERR_BUG("configuration key '%s' %s", key,
                at < 0 ? "is not in the schema" : "is of another type");
    if (c->value[at].text == NULL)
        return &c->whole->value[at];
    return &c->value[at];
}

int64_t config_int(const struct config *c, const char *key)
{
    return get(c, key, 1u << CONFIG_INT)->i;
}

double config_real(const struct config *c, const char *key)
{
    return get(c, key, 1u << CONFIG_REAL | 1u << CONFIG_DURATION | 1u << CONFIG_INT)->r;
}

bool config_bool(const struct config *c, const char *key)
{
    return get(c, key, 1u << CONFIG_BOOL)->i != 0;
}

const char *config_text(const struct config *c, const char *key)
{
    return get(c, key, ~0u)->text;
}

bool config_is(const struct config *c, const char *key, const char *word)
{
    return strcmp(get(c, key, ~0u)->text, word) == 0;
}

int64_t config_list(const struct config *c, const char *key, const int64_t **values)
{
    const struct value *v = get(c, key, 1u << CONFIG_INT_LIST);
    *values = v->list;
    return v->count;
}

int64_t config_choice(const struct config *c, const char *key)
{
    return get(c, key, 1u << CONFIG_CHOICE)->i;
}

const char *config_origin(const struct config *c, const char *key)
{
    const struct value *v = get(c, key, ~0u);
    return v->origin != NULL ? v->origin : "default";
}

/* Free text always enters quoted: it may look like a number or hold a colon. */
void config_add_yaml(struct text *out, enum config_type type, const char *s)
{
    if (type != CONFIG_TEXT) {
        text_add(out, "%s", s);
        return;
    }
    text_add(out, "\"");
    for (; *s != '\0'; s++)
        text_add(out, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    text_add(out, "\"");
}

void config_dump(const struct config *c, struct text *out, bool with_help)
{
    const char *section = "";
    size_t section_len = 0;
    for (int64_t at = 0; at < c->n; at++) {
        const struct config_key *k = &c->table[at];
        const char *dot = strchr(k->key, '.'), *indent = dot != NULL ? "  " : "";
        size_t len = dot != NULL ? (size_t)(dot - k->key) : 0;
        if (len != section_len || memcmp(section, k->key, len) != 0) {
            text_add(out, "%s", at > 0 && with_help ? "\n" : "");
            if (len > 0)
                text_add(out, "%.*s:\n", (int)len, k->key);
            section = k->key;
            section_len = len;
        }
        if (with_help) {
            text_add(out, "%s# %s\n%s# takes ", indent, k->help, indent);
            config_add_allowed(out, k);
            text_add(out, "%s\n", k->shapes_results ? "; shapes results" : "");
        }
        text_add(out, "%s%s: ", indent, dot != NULL ? dot + 1 : k->key);
        if (k->type == CONFIG_PARTS) {
            config_parts_dump(c, out);
            continue;
        }
        config_add_yaml(out, k->type, c->value[at].text);
        text_add(out, "\n");
    }
}

void config_digest(const struct config *c, char hex[DIGEST_HEX])
{
    struct digest *d = digest_create();
    for (int64_t k = 0; k < c->n; k++) {
        const struct config_key *key = &c->table[k];
        /* Values at their defaults do not enter, so that a key added to the schema later
         * leaves the digests of existing runs as they are. */
        if (!key->shapes_results || strcmp(c->value[k].text, key->def) == 0)
            continue;
        digest_add_text(d, c->table[k].key);
        digest_add_text(d, c->value[k].text);
    }
    config_parts_digest(c, d);
    digest_finish(d, hex);
}

const char *config_difference(const struct config *a, const struct config *b)
{
    for (int64_t k = 0; k < a->n; k++) {
        const char *key = a->table[k].key;
        int64_t at = config_find(b, key);
        if (a->table[k].shapes_results &&
            (at < 0 || strcmp(a->value[k].text, b->value[at].text) != 0))
            return key;
    }
    return config_parts_differ(a, b) ? a->table[config_parts_key(a)].key : NULL;
}

/* A template is a list of pieces: a text, then a part of the sample or the list. */
#include "stages/reward/http_template.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <string.h>

enum { LIST = HTTP_PARTS, END, PIECES_MAX = 64 };

struct piece {
    struct text before;
    int part; /* enum http_part, LIST or END */
};

struct http_template {
    const char *key; /* while it is parsed */
    const struct http_shape *shape;
    struct http_template *item;
    struct piece piece[PIECES_MAX];
    int64_t pieces; /* the last one is END */
    bool lists;
};

static struct text *here(struct http_template *t)
{
    return &t->piece[t->pieces].before;
}

static int add_piece(struct http_template *t, int part)
{
    if (t->pieces + 2 > PIECES_MAX)
        return err_set(ERR_USAGE, "%s: more than %d names with $", t->key, PIECES_MAX - 2);
    t->piece[t->pieces++].part = part;
    t->piece[t->pieces].part = END;
    return 0;
}

static int add_name(struct http_template *t, const char *name)
{
    enum http_part part = http_sample_part(name, (int64_t)strlen(name));
    if (strcmp(name, "samples") == 0) {
        if (t->item == NULL || t->lists)
            return err_set(ERR_USAGE, "%s: \"$samples\" belongs into http.request, once",
                           t->key);
        t->lists = true;
        return add_piece(t, LIST);
    }
    if (part == HTTP_PARTS) {
        struct text known = {0};
        for (int k = 0; k < HTTP_PARTS; k++)
            text_add(&known, ", $%s", http_sample_part_name((enum http_part)k));
        err_set(ERR_USAGE, "%s: \"$%.40s\" is unknown; there are $samples%s", t->key, name,
                known.s);
        text_free(&known);
        return -1;
    }
    const char *lack = http_sample_lacks(t->shape, part);
    if (lack != NULL)
        return err_set(ERR_USAGE, "%s: \"$%s\": %s", t->key, name, lack);
    return add_piece(t, (int)part);
}

static int add_value(struct http_template *t, const struct json *v)
{
    int64_t i;
    double d;
    bool yes;
    const char *name, *s = json_text(v);
    enum json_type kind = json_kind(v);
    if (s != NULL && s[0] == '$')
        return add_name(t, s + 1);
    if (s != NULL)
        http_sample_add_string(here(t), s);
    else if (json_to_i64(v, &i))
        text_add(here(t), "%lld", (long long)i);
    else if (json_to_f64(v, &d))
        text_add(here(t), "%.17g", d);
    else if (json_to_bool(v, &yes))
        text_add(here(t), yes ? "true" : "false");
    else if (kind == JSON_NULL_T)
        text_add(here(t), "null");
    if (kind != JSON_LIST_T && kind != JSON_MAP_T)
        return 0;
    text_add(here(t), kind == JSON_MAP_T ? "{" : "[");
    for (int64_t k = 0; k < json_count(v); k++) {
        const struct json *child = json_entry(v, k, &name);
        text_add(here(t), k > 0 ? "," : "");
        if (kind == JSON_MAP_T) {
            http_sample_add_string(here(t), name);
            text_add(here(t), ":");
        }
        if (add_value(t, child) != 0)
            return -1;
    }
    text_add(here(t), kind == JSON_MAP_T ? "}" : "]");
    return 0;
}

static int check(const struct http_template *t)
{
    bool parts = false;
    for (int k = 0; k < t->pieces; k++)
        parts |= t->piece[k].part != LIST;
    if (t->lists && parts)
        return err_set(ERR_USAGE, "%s: with \"$samples\" the parts of a sample belong into "
                                  "http.item",
                       t->key);
    if (!t->lists && !parts)
        return err_set(ERR_USAGE, "%s: names no part of a sample", t->key);
    return 0;
}

struct http_template *http_template_parse(const char *key, const char *json,
                                          const struct http_shape *shape,
                                          struct http_template *item)
{
    struct http_template *t = mem_alloc(1, sizeof *t);
    t->key = key;
    t->shape = shape;
    t->item = item;
    t->piece[0].part = END;
    struct json *v = json_parse(json, (int64_t)strlen(json), key);
    int rc = v == NULL ? err_set(ERR_USAGE, "%s: is no JSON: %.200s", key, json) : 0;
    if (rc == 0)
        rc = add_value(t, v);
    if (rc == 0)
        rc = check(t);
    json_free(v);
    if (rc == 0)
        return t;
    http_template_free(t);
    return NULL;
}

void http_template_free(struct http_template *t)
{
    if (t == NULL)
        return;
    for (int64_t k = 0; k < PIECES_MAX; k++)
        text_free(&t->piece[k].before);
    http_template_free(t->item);
    mem_free(t);
}

bool http_template_lists(const struct http_template *t)
{
    return t->lists;
}

bool http_template_uses(const struct http_template *t, enum http_part part)
{
    for (int64_t k = 0; k < t->pieces; k++)
        if (t->piece[k].part == (int)part)
            return true;
    return t->lists && http_template_uses(t->item, part);
}

/* Pieces from `from` up to the list or the end. */
static int put(const struct http_template *t, int64_t from, const struct http_sample *s,
               struct text *out)
{
    for (int64_t k = from;; k++) {
        const struct piece *p = &t->piece[k];
        text_add_bytes(out, p->before.len > 0 ? p->before.s : "", p->before.len);
        if (p->part == LIST || p->part == END)
            return 0;
        if (http_sample_add(t->shape, s, (enum http_part)p->part, out) != 0)
            return -1;
    }
}

int http_template_begin(const struct http_template *t, const struct http_sample *s,
                        struct text *out)
{
    int rc = put(t, 0, s, out);
    if (t->lists)
        text_add(out, "[");
    return rc;
}

int http_template_item(const struct http_template *t, const struct http_sample *s,
                       bool first, struct text *out)
{
    if (!first)
        text_add_bytes(out, ",", 1);
    return put(t->item, 0, s, out);
}

void http_template_end(const struct http_template *t, struct text *out)
{
    text_add(out, "]");
    put(t, 1, NULL, out);
}

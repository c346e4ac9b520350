/* JSON through jansson. A parsed file is jansson's tree with an index over it: entries
 * of a map in file order for walking, and sorted by key for finding. The index nodes
 * borrow jansson's strings, so the root keeps the tree alive. */
#include "io/json.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEPTH_MAX 64

struct json {
    json_t *tree;         /* borrowed, but for the root's */
    const char *key;      /* in the parent map, else NULL */
    struct json *child;   /* [count], in file order */
    struct json **sorted; /* [count], by key; maps only */
    int64_t count;
};

static int by_key(const void *a, const void *b)
{
    const struct json *x = *(struct json *const *)a, *y = *(struct json *const *)b;
    return strcmp(x->key, y->key);
}

static void clear(struct json *v)
{
    for (int64_t i = 0; i < v->count && v->child != NULL; i++)
        clear(&v->child[i]);
    mem_free(v->child);
    mem_free(v->sorted);
}

static int fill(struct json *v, int depth, const char *name)
{
    if (depth > DEPTH_MAX)
        return err_set(ERR_INPUT, "%s: JSON is nested deeper than %d levels", name,
                       DEPTH_MAX);
    bool map = json_is_object(v->tree);
    v->count = (int64_t)(map ? json_object_size(v->tree) : json_array_size(v->tree));
    if (v->count == 0)
        return 0;
    v->child = mem_alloc(v->count, sizeof *v->child);
    if (map) {
        int64_t n = 0;
        v->sorted = mem_alloc(v->count, sizeof(struct json *));
        for (void *it = json_object_iter(v->tree); it != NULL;
             it = json_object_iter_next(v->tree, it)) {
            struct json *c = &v->child[n];
            c->key = json_object_iter_key(it);
            c->tree = json_object_iter_value(it);
            v->sorted[n++] = c;
        }
        qsort(v->sorted, (size_t)n, sizeof(struct json *), by_key);
    } else {
        for (int64_t i = 0; i < v->count; i++)
            v->child[i].tree = json_array_get(v->tree, (size_t)i);
    }
    for (int64_t i = 0; i < v->count; i++)
        if (fill(&v->child[i], depth + 1, name) != 0)
            return -1;
    return 0;
}

struct json *json_parse(const char *text, int64_t len, const char *name)
{
    json_error_t e;
    json_t *tree =
        json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (tree == NULL) {
        err_set(ERR_INPUT, "%s: no valid JSON: line %d, column %d: %s", name, e.line,
                e.column, e.text);
        return NULL;
    }
    struct json *root = mem_alloc(1, sizeof *root);
    root->tree = tree;
    if (fill(root, 1, name) == 0)
        return root;
    json_free(root);
    return NULL;
}

struct json *json_read(const char *path, int64_t max)
{
    char *text = NULL;
    int64_t len = 0;
    if (file_read(path, max, &text, &len) != 0)
        return NULL;
    struct json *v = json_parse(text, len, path);
    mem_free(text);
    return v;
}

void json_free(struct json *root)
{
    if (root == NULL)
        return;
    clear(root);
    json_decref(root->tree);
    mem_free(root);
}

enum json_type json_kind(const struct json *v)
{
    switch (json_typeof(v->tree)) {
    case JSON_OBJECT:
        return JSON_MAP_T;
    case JSON_ARRAY:
        return JSON_LIST_T;
    case JSON_STRING:
        return JSON_TEXT_T;
    case JSON_INTEGER:
        return JSON_INT_T;
    case JSON_REAL:
        return JSON_REAL_T;
    case JSON_TRUE:
    case JSON_FALSE:
        return JSON_BOOL_T;
    default:
        return JSON_NULL_T;
    }
}

const struct json *json_get(const struct json *map, const char *key)
{
    struct json want = {.key = key}, *p = &want;
    if (map == NULL || map->sorted == NULL)
        return NULL;
    struct json **found =
        bsearch(&p, map->sorted, (size_t)map->count, sizeof(struct json *), by_key);
    return found == NULL ? NULL : *found;
}

const struct json *json_item(const struct json *list, int64_t i)
{
    return list == NULL || i < 0 || i >= list->count ? NULL : &list->child[i];
}

int64_t json_count(const struct json *v)
{
    return v == NULL ? 0 : v->count;
}

const struct json *json_entry(const struct json *map, int64_t i, const char **key)
{
    const struct json *v = json_item(map, i);
    if (v != NULL && key != NULL)
        *key = v->key;
    return v;
}

bool json_to_i64(const struct json *v, int64_t *out)
{
    if (v == NULL || !json_is_integer(v->tree))
        return false;
    *out = (int64_t)json_integer_value(v->tree);
    return true;
}

bool json_to_f64(const struct json *v, double *out)
{
    if (v == NULL || !json_is_number(v->tree))
        return false;
    *out = json_number_value(v->tree);
    return true;
}

bool json_to_bool(const struct json *v, bool *out)
{
    if (v == NULL || !json_is_boolean(v->tree))
        return false;
    *out = json_is_true(v->tree);
    return true;
}

const char *json_text(const struct json *v)
{
    return v == NULL ? NULL : json_string_value(v->tree);
}

double json_number(const struct json *map, const char *key, double otherwise)
{
    double v;
    return json_to_f64(json_get(map, key), &v) ? v : otherwise;
}

struct json_out {
    json_t *open[DEPTH_MAX]; /* the root owns all others */
    int depth;
};

struct json_out *json_out_create(void)
{
    struct json_out *o = mem_alloc(1, sizeof *o);
    o->open[0] = json_object();
    return o;
}

/* A key that is not UTF-8 (a name in somebody's file) with '?' for its foreign bytes, to be
 * freed; NULL where the key is good. */
static char *ascii_key(const char *key)
{
    json_t *good = key == NULL ? NULL : json_string(key);
    if (key == NULL || good != NULL) {
        json_decref(good);
        return NULL;
    }
    char *s = mem_text(key);
    for (char *p = s; *p != '\0'; p++)
        if ((unsigned char)*p >= 0x80)
            *p = '?';
    return s;
}

/* Takes over v. jansson fails here only for text that is not UTF-8 (v is NULL then),
 * which is written as null, and when memory is exhausted. */
static void put(struct json_out *o, const char *key, json_t *v)
{
    json_t *at = o->open[o->depth];
    if (v == NULL)
        v = json_null();
    char *ascii = json_is_object(at) ? ascii_key(key) : NULL;
    int rc = json_is_object(at)
                 ? json_object_set_new(at, ascii != NULL ? ascii : key, v)
                 : json_array_append_new(at, v);
    mem_free(ascii);
    if (rc != 0)
        ERR_BUG("JSON entry '%s' does not fit here", key != NULL ? key : "(no key)");
}

void json_out_i64(struct json_out *o, const char *key, int64_t v)
{
    put(o, key, json_integer(v));
}

void json_out_f64(struct json_out *o, const char *key, double v)
{
    put(o, key, isfinite(v) ? json_real(v) : json_null());
}

void json_out_bool(struct json_out *o, const char *key, bool v)
{
    put(o, key, json_boolean(v));
}

void json_out_text(struct json_out *o, const char *key, const char *v)
{
    put(o, key, v == NULL ? json_null() : json_string(v));
}

static void enter(struct json_out *o, const char *key, json_t *v)
{
    ERR_BUG_IF(o->depth + 1 == DEPTH_MAX);
    put(o, key, v);
    o->open[++o->depth] = v;
}

void json_out_map(struct json_out *o, const char *key)
{
    enter(o, key, json_object());
}

void json_out_list(struct json_out *o, const char *key)
{
    enter(o, key, json_array());
}

void json_out_end(struct json_out *o)
{
    ERR_BUG_IF(o->depth == 0);
    o->depth--;
}

void json_out_finish(struct json_out *o, int indent, struct text *out)
{
    size_t flags =
        JSON_REAL_PRECISION(17) | (indent > 0 ? JSON_INDENT((size_t)indent) : 0);
    char *s = json_dumps(o->open[0], flags);
    ERR_BUG_IF(s == NULL || o->depth != 0);
    text_add_bytes(out, s, (int64_t)strlen(s));
    free(s);
    json_decref(o->open[0]);
    mem_free(o);
}

static struct text finished(struct json_out *o, int indent)
{
    struct text t = {0};
    json_out_finish(o, indent, &t);
    text_add(&t, "\n");
    return t;
}

int json_out_file(struct json_out *o, const char *path)
{
    struct text t = finished(o, 2);
    int rc = file_write(path, t.s, t.len);
    text_free(&t);
    return rc;
}

void json_out_print(struct json_out *o)
{
    struct text t = finished(o, 2);
    fputs(t.s, stdout);
    text_free(&t);
}

int json_out_append(struct json_out *o, const char *path)
{
    struct text t = finished(o, 0);
    int rc = file_append(path, t.s, t.len);
    text_free(&t);
    return rc;
}

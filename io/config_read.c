/* Configuration files: the only user of libyaml. Two levels of maps (four for parts),
 * scalars and lists of scalars; whatever else YAML offers is refused with file and line. */
#include "io/config_internal.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <string.h>
#include <yaml.h>

/* A YAML file being read: one event at a time. */
struct reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool have;
    struct config *c;
    const char *path;
    bool *seen;         /* [c->n]: keys that this file has set */
    char where[400];    /* "FILE:LINE" of the key being read */
    struct text opened; /* "|run|sampler|components.size|": maps met so far */
};

static const char *scalar(const struct reader *r)
{
    return (const char *)r->event.data.scalar.value;
}

static int next(struct reader *r)
{
    if (r->have)
        yaml_event_delete(&r->event);
    r->have = yaml_parser_parse(&r->parser, &r->event) != 0;
    if (!r->have)
        return err_set(ERR_USAGE, "%s:%zu: %s%s%s", r->path,
                       r->parser.problem_mark.line + 1,
                       r->parser.problem != NULL ? r->parser.problem : "not YAML",
                       r->parser.context != NULL ? " " : "",
                       r->parser.context != NULL ? r->parser.context : "");
    if (r->event.type == YAML_ALIAS_EVENT)
        return err_set(ERR_USAGE,
                       "%s:%zu: aliases (*name) are not accepted, write the "
                       "value out",
                       r->path, r->event.start_mark.line + 1);
    if (r->event.type == YAML_SCALAR_EVENT &&
        strlen(scalar(r)) != r->event.data.scalar.length)
        return err_set(ERR_USAGE, "%s:%zu: '%s...' holds a NUL character", r->path,
                       r->event.start_mark.line + 1, scalar(r));
    return 0;
}

/* A plain empty value, ~ or null. */
static bool is_null(const struct reader *r)
{
    return r->event.type == YAML_SCALAR_EVENT &&
           r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (scalar(r)[0] == '\0' || strcmp(scalar(r), "~") == 0 ||
            strcmp(scalar(r), "null") == 0);
}

/* Reads the items up to the end of the sequence as "[a, b]". */
static int read_items(struct reader *r, const char *key, struct text *out)
{
    text_add(out, "[");
    for (;;) {
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_SEQUENCE_END_EVENT)
            break;
        if (r->event.type != YAML_SCALAR_EVENT)
            return err_set(ERR_USAGE, "%s: %s: a list holds plain numbers only",
                           r->where, key);
        text_add(out, "%s%s", out->len > 1 ? ", " : "", scalar(r));
    }
    text_add(out, "]");
    return 0;
}

/* The value of a known key of c, which is the whole or a part; the current event is its
 * first. */
static int read_value(struct reader *r, struct config *c, int64_t at)
{
    const struct config_key *k = &c->table[at];
    struct text list = {0};
    int rc = -1;
    size_t path_len = strlen(r->path);
    const char *origin = c->value[at].origin;
    bool twice = c == r->c ? r->seen[at]
                           : origin != NULL && strncmp(origin, r->path, path_len) == 0 &&
                                 origin[path_len] == ':';
    if (twice)
        return err_set(ERR_USAGE, "%s: '%s' is given twice in this file", r->where,
                       k->key);
    if (c == r->c)
        r->seen[at] = true;
    if (r->event.type == YAML_SCALAR_EVENT)
        return config_set(c, at, is_null(r) ? "" : scalar(r), r->where);
    if (r->event.type != YAML_SEQUENCE_START_EVENT) {
        config_add_allowed(&list, k);
        err_set(ERR_USAGE, "%s: %s is a section here, but it takes %s", r->where,
                k->key, list.s);
    } else if (k->type != CONFIG_INT_LIST) {
        config_refuse(k, "a list", r->where);
    } else if (read_items(r, k->key, &list) == 0) {
        rc = config_set(c, at, list.s, r->where);
    }
    text_free(&list);
    return rc;
}

static bool is_section(const struct config *c, const char *name)
{
    size_t len = strlen(name);
    for (int64_t k = 0; k < c->n; k++)
        if (strncmp(c->table[k].key, name, len) == 0 && c->table[k].key[len] == '.')
            return true;
    return false;
}

static void note_line(struct reader *r)
{
    snprintf(r->where, sizeof r->where, "%s:%zu", r->path,
             r->event.start_mark.line + 1);
}

/* Notes that the map of this name begins; -1: it had begun before. */
static int open_once(struct reader *r, const char *kind, const char *name)
{
    char *mark = text_new("|%s|", name);
    bool twice = r->opened.s != NULL && strstr(r->opened.s, mark) != NULL;
    text_add(&r->opened, "%s", mark);
    mem_free(mark);
    return twice ? err_set(ERR_USAGE, "%s: %s '%s' is given twice in this file", r->where,
                           kind, name)
                 : 0;
}

/* Reads the entry of a map whose key is the current event, up to the value's last event. at:
 * what the map belongs to. */
typedef int (*entry_f)(struct reader *r, const void *at);

/* The entries of a map, up to its end. what: the word for one of its keys. */
static int read_map(struct reader *r, entry_f entry, const void *at, const char *what)
{
    for (;;) {
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        note_line(r);
        if (r->event.type != YAML_SCALAR_EVENT)
            return err_set(ERR_USAGE, "%s: a %s must be a plain word", r->where, what);
        if (entry(r, at) != 0)
            return -1;
    }
}

/* The body of the section `name`, which read_map can read or which is empty; the current event
 * follows its key. */
static int read_section(struct reader *r, const char *name, entry_f entry, const void *at)
{
    if (open_once(r, "section", name) != 0)
        return -1;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        return read_map(r, entry, at, "key");
    return is_null(r) ? 0
                      : err_set(ERR_USAGE,
                                "%s: '%s' is a section: indented 'key: value' lines must "
                                "follow",
                                r->where, name);
}

/* Where the keys of a part are met. */
struct part_place {
    struct config *part;
    const char *section; /* NULL: not in one */
};

/* A key of a part and its value. */
static int read_part_entry(struct reader *r, const void *at)
{
    const struct part_place *place = at;
    struct config *part = place->part;
    char *key = place->section == NULL ? mem_text(scalar(r))
                                       : text_new("%s.%s", place->section, scalar(r));
    int64_t k = config_part_find(part, key);
    int rc = next(r);
    if (rc == 0 && k >= 0) {
        rc = read_value(r, part, k);
    } else if (rc == 0 && place->section == NULL && config_part_section(part, key)) {
        const char *parts = r->c->table[config_parts_key(r->c)].key;
        char *name = text_new("%s.%s.%s", parts, part->name, key);
        rc = read_section(r, name, read_part_entry, &(struct part_place){part, key});
        mem_free(name);
    } else if (rc == 0) {
        rc = config_part_unknown(part, key, r->where);
    }
    mem_free(key);
    return rc;
}

/* The name of a part and its map. at: the key of all parts. */
static int read_named_part(struct reader *r, const void *at)
{
    const char *key = at;
    struct config *part = config_part_named(r->c, scalar(r), r->where);
    char *full = text_new("%s.%s", key, part != NULL ? part->name : "");
    int rc = part == NULL ? -1 : open_once(r, "part", full);
    if (rc == 0)
        rc = next(r);
    if (rc == 0 && r->event.type == YAML_MAPPING_START_EVENT)
        rc = read_map(r, read_part_entry, &(struct part_place){part, NULL}, "key");
    else if (rc == 0 && !is_null(r))
        rc = err_set(ERR_USAGE, "%s: %s: indented 'key: value' lines must follow", r->where,
                     full);
    mem_free(full);
    return rc;
}

/* All parts; the current event follows their key. */
static int read_parts(struct reader *r, const char *key)
{
    if (open_once(r, "section", key) != 0)
        return -1;
    if (r->event.type == YAML_MAPPING_START_EVENT)
        return read_map(r, read_named_part, key, "name");
    return is_null(r) ? 0
                      : err_set(ERR_USAGE, "%s: %s: named maps must follow", r->where, key);
}

/* "name: value" where the current event is the name. at: the section's name, NULL: the top. */
static int read_entry(struct reader *r, const void *at)
{
    const char *section = at;
    char *name = mem_text(scalar(r));
    char *key = section == NULL ? mem_text(name) : text_new("%s.%s", section, name);
    int64_t k = config_find(r->c, key);
    int rc = next(r);
    if (rc == 0 && k >= 0 && r->c->table[k].type == CONFIG_PARTS)
        rc = read_parts(r, r->c->table[k].key);
    else if (rc == 0 && k >= 0)
        rc = read_value(r, r->c, k);
    else if (rc == 0 && section == NULL && is_section(r->c, name))
        rc = read_section(r, name, read_entry, name);
    else if (rc == 0)
        rc = config_unknown(r->c, key, r->where);
    mem_free(key);
    mem_free(name);
    return rc;
}

static int read_stream(struct reader *r)
{
    if (next(r) != 0 || next(r) != 0) /* stream start; document start or stream end */
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return 0;
    if (next(r) != 0)
        return -1;
    if (r->event.type == YAML_MAPPING_START_EVENT) {
        if (read_map(r, read_entry, NULL, "key") != 0)
            return -1;
    } else if (!is_null(r)) {
        return err_set(ERR_USAGE, "%s:%zu: 'section:' and 'key: value' lines expected",
                       r->path, r->event.start_mark.line + 1);
    }
    if (next(r) != 0 || next(r) != 0) /* document end; stream end */
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return err_set(ERR_USAGE, "%s:%zu: a second document begins, one is accepted",
                       r->path, r->event.start_mark.line + 1);
    return 0;
}

int config_read(struct config *c, const char *path)
{
    char *data = NULL;
    int64_t len = 0;
    struct reader r = {.c = c, .path = path};
    if (file_read(path, 1 << 20, &data, &len) != 0)
        return -1;
    if (yaml_parser_initialize(&r.parser) == 0)
        ERR_BUG("libyaml cannot start a parser");
    r.seen = mem_alloc(c->n, sizeof *r.seen);
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)data, (size_t)len);
    int rc = read_stream(&r);
    if (r.have)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    text_free(&r.opened);
    mem_free(r.seen);
    mem_free(data);
    return rc;
}

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

static int read_part(struct reader *r, struct config *part, const char *section);

/* A section within a part; the current event follows its name. */
static int read_part_section(struct reader *r, struct config *part, const char *section)
{
    const char *parts = r->c->table[config_parts_key(r->c)].key;
    char *full = text_new("%s.%s.%s", parts, part->name, section);
    int rc = open_once(r, "section", full);
    if (rc == 0 && r->event.type == YAML_MAPPING_START_EVENT)
        rc = read_part(r, part, section);
    else if (rc == 0 && !is_null(r))
        rc = err_set(ERR_USAGE,
                     "%s: '%s' is a section: indented 'key: value' lines must follow",
                     r->where, full);
    mem_free(full);
    return rc;
}

/* The keys of a part, up to the end of their map; section: of nested ones, or NULL. */
static int read_part(struct reader *r, struct config *part, const char *section)
{
    for (;;) {
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (r->event.type != YAML_SCALAR_EVENT)
            return err_set(ERR_USAGE, "%s: a key must be a plain word", r->where);
        note_line(r);
        char *key = section == NULL ? mem_text(scalar(r))
                                    : text_new("%s.%s", section, scalar(r));
        int64_t at = config_part_find(part, key);
        int rc = next(r);
        if (rc == 0 && at >= 0)
            rc = read_value(r, part, at);
        else if (rc == 0 && section == NULL && config_part_section(part, key))
            rc = read_part_section(r, part, key);
        else if (rc == 0)
            rc = config_part_unknown(part, key, r->where);
        mem_free(key);
        if (rc != 0)
            return -1;
    }
}

/* All parts; the current event follows their key. */
static int read_parts(struct reader *r, int64_t at)
{
    const char *key = r->c->table[at].key;
    if (open_once(r, "section", key) != 0)
        return -1;
    if (is_null(r))
        return 0;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return err_set(ERR_USAGE, "%s: %s: named maps must follow", r->where, key);
    for (;;) {
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (r->event.type != YAML_SCALAR_EVENT)
            return err_set(ERR_USAGE, "%s: a name must be a plain word", r->where);
        note_line(r);
        struct config *part = config_part_named(r->c, scalar(r), r->where);
        char *full = text_new("%s.%s", key, part != NULL ? part->name : "");
        int rc = part == NULL ? -1 : open_once(r, "part", full);
        mem_free(full);
        if (rc != 0 || next(r) != 0)
            return -1;
        if (!is_null(r) && r->event.type != YAML_MAPPING_START_EVENT)
            return err_set(ERR_USAGE, "%s: %s.%s: indented 'key: value' lines must follow",
                           r->where, key, part->name);
        if (!is_null(r) && read_part(r, part, NULL) != 0)
            return -1;
    }
}

static int read_map(struct reader *r, const char *section);

/* "name: value" where the current event is the name; section is NULL at top level. */
static int read_entry(struct reader *r, const char *section)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return err_set(ERR_USAGE, "%s:%zu: a key must be a plain word", r->path,
                       r->event.start_mark.line + 1);
    note_line(r);
    char *name = mem_text(scalar(r));
    char *key = section == NULL ? mem_text(name) : text_new("%s.%s", section, name);
    int64_t at = config_find(r->c, key);
    int rc = next(r);
    if (rc == 0 && at >= 0 && r->c->table[at].type == CONFIG_PARTS) {
        rc = read_parts(r, at);
    } else if (rc == 0 && at >= 0) {
        rc = read_value(r, r->c, at);
    } else if (rc == 0 && section == NULL && is_section(r->c, name)) {
        rc = open_once(r, "section", name);
        if (rc == 0 && r->event.type == YAML_MAPPING_START_EVENT)
            rc = read_map(r, name);
        else if (rc == 0 && !is_null(r))
            rc = err_set(
                ERR_USAGE,
                "%s: '%s' is a section: indented 'key: value' lines must follow",
                r->where, name);
    } else if (rc == 0) {
        rc = config_unknown(r->c, key, r->where);
    }
    mem_free(key);
    mem_free(name);
    return rc;
}

static int read_map(struct reader *r, const char *section)
{
    for (;;) {
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT)
            return 0;
        if (read_entry(r, section) != 0)
            return -1;
    }
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
        if (read_map(r, NULL) != 0)
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

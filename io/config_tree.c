/* Trees from YAML, event by event; what a node means is the caller's business. */
#include "io/config_tree.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <stdbool.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH = 16 };

struct tree_reader {
    yaml_parser_t parser;
    yaml_event_t event;
    bool have;
    const char *path;
};

static int64_t line_of(const struct tree_reader *r)
{
    return (int64_t)r->event.start_mark.line + 1;
}

static int next(struct tree_reader *r)
{
    if (r->have)
        yaml_event_delete(&r->event);
    r->have = yaml_parser_parse(&r->parser, &r->event) != 0;
    if (!r->have)
        return err_set(ERR_USAGE, "%s:%zu: %s", r->path,
                       r->parser.problem_mark.line + 1,
                       r->parser.problem != NULL ? r->parser.problem : "not YAML");
    if (r->event.type == YAML_ALIAS_EVENT)
        return err_set(ERR_USAGE,
                       "%s:%lld: aliases (*name) are not accepted, write the value out",
                       r->path, (long long)line_of(r));
    return 0;
}

/* A scalar's text; what YAML calls null is empty. NULL: it holds a NUL character. */
static char *take_text(const struct tree_reader *r)
{
    const char *s = (const char *)r->event.data.scalar.value;
    bool plain = r->event.data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (strlen(s) != r->event.data.scalar.length) {
        err_set(ERR_USAGE, "%s:%lld: holds a NUL character", r->path,
                (long long)line_of(r));
        return NULL;
    }
    return mem_text(plain && (strcmp(s, "~") == 0 || strcmp(s, "null") == 0) ? "" : s);
}

static struct config_node *add_child(struct config_node *n)
{
    if (n->children == n->cap) {
        n->child = mem_resize(n->child, n->cap, n->cap * 2 + 8, sizeof *n->child);
        n->cap = n->cap * 2 + 8;
    }
    struct config_node *child = &n->child[n->children++];
    *child = (struct config_node){.kind = CONFIG_NODE_TEXT};
    return child;
}

static int read_name(struct tree_reader *r, struct config_node *map, char **name)
{
    if (r->event.type != YAML_SCALAR_EVENT)
        return err_set(ERR_USAGE, "%s:%lld: a key must be a plain word", r->path,
                       (long long)line_of(r));
    *name = take_text(r);
    if (*name == NULL)
        return -1;
    if (config_tree_get(map, *name) == NULL)
        return 0;
    err_set(ERR_USAGE, "%s:%lld: '%.100s' is given twice", r->path,
            (long long)line_of(r), *name);
    mem_free(*name);
    return -1;
}

/* The node that begins with the current event. */
static int read_node(struct tree_reader *r, struct config_node *n, int depth)
{
    n->line = line_of(r);
    if (depth > DEPTH)
        return err_set(ERR_USAGE, "%s:%lld: more than %d levels deep", r->path,
                       (long long)n->line, DEPTH);
    if (r->event.type == YAML_SCALAR_EVENT) {
        n->text = take_text(r);
        return n->text == NULL ? -1 : 0;
    }
    bool map = r->event.type == YAML_MAPPING_START_EVENT;
    n->kind = map ? CONFIG_NODE_MAP : CONFIG_NODE_LIST;
    for (;;) {
        char *name = NULL;
        if (next(r) != 0)
            return -1;
        if (r->event.type == YAML_MAPPING_END_EVENT ||
            r->event.type == YAML_SEQUENCE_END_EVENT)
            return 0;
        if (map && read_name(r, n, &name) != 0)
            return -1;
        struct config_node *child = add_child(n);
        child->name = name;
        if ((map && next(r) != 0) || read_node(r, child, depth + 1) != 0)
            return -1;
    }
}

static int read_document(struct tree_reader *r, struct config_node *root)
{
    if (next(r) != 0 || next(r) != 0) /* stream start; document start or stream end */
        return -1;
    if (r->event.type == YAML_STREAM_END_EVENT)
        return err_set(ERR_USAGE, "%s: is empty", r->path);
    if (next(r) != 0)
        return -1;
    if (r->event.type != YAML_MAPPING_START_EVENT)
        return err_set(ERR_USAGE, "%s:%lld: 'section:' and 'key: value' lines expected",
                       r->path, (long long)line_of(r));
    if (read_node(r, root, 0) != 0 || next(r) != 0 || next(r) != 0)
        return -1;
    if (r->event.type != YAML_STREAM_END_EVENT)
        return err_set(ERR_USAGE, "%s:%lld: a second document begins, one is accepted",
                       r->path, (long long)line_of(r));
    return 0;
}

struct config_node *config_tree_read(const char *path)
{
    char *data = NULL;
    int64_t len = 0;
    struct tree_reader r = {.path = path};
    if (file_read(path, 1 << 20, &data, &len) != 0)
        return NULL;
    if (yaml_parser_initialize(&r.parser) == 0)
        ERR_BUG("libyaml cannot start a parser");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)data, (size_t)len);
    struct config_node *root = mem_alloc(1, sizeof *root);
    if (read_document(&r, root) != 0) {
        config_tree_destroy(root);
        root = NULL;
    }
    if (r.have)
        yaml_event_delete(&r.event);
    yaml_parser_delete(&r.parser);
    mem_free(data);
    return root;
}

static void clear(struct config_node *n)
{
    for (int64_t i = 0; i < n->children; i++)
        clear(&n->child[i]);
    mem_free(n->child);
    mem_free(n->name);
    mem_free(n->text);
}

void config_tree_destroy(struct config_node *root)
{
    if (root == NULL)
        return;
    clear(root);
    mem_free(root);
}

const struct config_node *config_tree_get(const struct config_node *map,
                                          const char *name)
{
    for (int64_t i = 0; map->kind == CONFIG_NODE_MAP && i < map->children; i++)
        if (map->child[i].name != NULL && strcmp(map->child[i].name, name) == 0)
            return &map->child[i];
    return NULL;
}

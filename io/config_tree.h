/* YAML files that are no configuration: a tree of maps, lists and texts. */
#ifndef SLUICE_IO_CONFIG_TREE_H
#define SLUICE_IO_CONFIG_TREE_H

#include <stdint.h>

enum config_node_kind { CONFIG_NODE_TEXT, CONFIG_NODE_LIST, CONFIG_NODE_MAP };

/* Plain data, owned by the root. */
struct config_node {
    enum config_node_kind kind;
    char *name; /* of an entry of a map, else NULL */
    char *text; /* of a TEXT; "" for null */
    int64_t line;
    struct config_node *child; /* [children], in the order of the file */
    int64_t children, cap;
};

/* Reads a file of at most 1 MiB that holds one document, a map without aliases, at most
 * 16 levels deep, no key of a map twice. NULL: ERR_USAGE with file and line, ERR_INPUT.
 */
struct config_node *config_tree_read(const char *path);
void config_tree_destroy(struct config_node *root);

/* The entry of a map, or NULL. */
const struct config_node *config_tree_get(const struct config_node *map,
                                          const char *name);

#endif

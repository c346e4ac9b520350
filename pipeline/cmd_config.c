/* sluice config: the schema with help, or a resolved configuration. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/schema.h"
#include "stages/algo/algo.h"
#include "stages/reward/reward.h"
#include "stages/search/search.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice config [FILE] [section.key=value ...] [--origin]\n"
    "       sluice config --words [KEY]\n\n"
    "Without arguments: every key with its help, allowed values and default, as a "
    "YAML\n"
    "file that can be edited. With a file or overrides: the resolved configuration;\n"
    "--origin adds where each value came from. Comments at the end of the file name the\n"
    "rewards, searches and methods of this build.\n"
    "--words lists keys, or the words that KEY takes, one per line (for completions).\n";

static void print_names(void)
{
    printf("\n# reward.name:\n");
    for (const struct reward *const *r = reward_all(); *r != NULL; r++)
        printf("#   %-24s %s\n", (*r)->name, (*r)->help);
    printf("# search.kind:\n");
    for (const struct search *const *s = search_all(); *s != NULL; s++)
        printf("#   %-24s %s\n", (*s)->name, (*s)->help);
    printf("# algorithm.name:\n");
    for (const struct algo *const *a = algo_all(); *a != NULL; a++)
        printf("#   %-24s %s\n", (*a)->name, (*a)->help);
}

static void print_choices(const struct config_key *k)
{
    for (const char *at = k->choices; at != NULL && *at != '\0';) {
        size_t n = strcspn(at, "|");
        printf("%.*s\n", (int)n, at);
        at += at[n] == '|' ? n + 1 : n;
    }
    if (k->type == CONFIG_BOOL)
        printf("true\nfalse\n");
}

/* The keys, or the words of one; none for an unknown key. */
static int print_words(const char *key)
{
    for (const struct config_key *k = schema; k->key != NULL; k++) {
        if (key == NULL && k->type != CONFIG_PARTS)
            printf("%s\n", k->key);
        else if (key != NULL && strcmp(k->key, key) == 0 && k->type != CONFIG_PARTS)
            print_choices(k);
    }
    if (key == NULL)
        return 0;
    if (strcmp(key, "reward.name") == 0 || strcmp(key, "reward.guard") == 0)
        for (const struct reward *const *r = reward_all(); *r != NULL; r++)
            printf("%s\n", (*r)->name);
    if (strcmp(key, "search.kind") == 0)
        for (const struct search *const *s = search_all(); *s != NULL; s++)
            printf("%s\n", (*s)->name);
    if (strcmp(key, "algorithm.name") == 0)
        for (const struct algo *const *a = algo_all(); *a != NULL; a++)
            printf("%s\n", (*a)->name);
    return 0;
}

static void print_origins(const struct config *c)
{
    for (const struct config_key *k = schema; k->key != NULL; k++)
        printf("%-28s %-24s %s\n", k->key,
               config_text(c, k->key)[0] != '\0' ? config_text(c, k->key) : "\"\"",
               config_origin(c, k->key));
}

int cmd_config(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "--words") == 0)
        return print_words(argc > 2 ? argv[2] : NULL);
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    char **rest = mem_alloc(argc, sizeof *rest);
    int n = 0, rc = 0;
    bool origin = false;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--origin") == 0)
            origin = true;
        else
            rest[n++] = argv[i];
    }
    struct config *c = schema_load(n, rest);
    if (c == NULL) {
        rc = cmd_fail("config");
    } else if (origin) {
        print_origins(c);
    } else {
        struct text t = {0};
        config_dump(c, &t, n == 0);
        fputs(t.s, stdout);
        if (n == 0)
            print_names();
        text_free(&t);
    }
    config_destroy(c);
    mem_free(rest);
    return rc;
}

/* Shared command lines. */
#include "pipeline/arguments.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/cmd.h"
#include "pipeline/schema.h"
#include "pipeline/verify.h"

#include <stdio.h>
#include <string.h>

bool arguments_help(int argc, char **argv, const char *usage,
                    const struct config_key *table, const char *after)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(usage, stdout);
            if (table != NULL)
                arguments_option_help(table);
            if (after != NULL)
                fputs(after, stdout);
            return true;
        }
    return false;
}

/* Sorts the arguments into rest[*n]; *limit and, for --quiet, the last of rest are overrides. */
static int sort_job(const char *name, int argc, char **argv, char **rest, int *n,
                    struct text *limit)
{
    static const char option[] = "--max-walltime";
    static char be_quiet[] = "run.quiet=true";
    const size_t len = sizeof option - 1;
    bool quiet = false;
    for (int i = 1; i < argc; i++) {
        const char *value = NULL;
        if (strcmp(argv[i], option) == 0 && i + 1 < argc)
            value = argv[++i];
        else if (strcmp(argv[i], option) == 0)
            return err_set(ERR_USAGE, "--max-walltime wants a time: 90, 15m, 1:30:00");
        else if (strncmp(argv[i], option, len) == 0 && argv[i][len] == '=')
            value = argv[i] + len + 1;
        else if (strcmp(argv[i], "--quiet") == 0 || strcmp(argv[i], "-q") == 0)
            quiet = true;
        else if (argv[i][0] == '-')
            return err_set(ERR_USAGE, "unknown option '%s'; see `sluice %s --help`",
                           argv[i], name);
        else
            rest[(*n)++] = argv[i];
        if (value != NULL) {
            text_free(limit);
            text_add(limit, "run.max_walltime=%s", value);
        }
    }
    if (*n == 0)
        return err_set(ERR_USAGE, "name a configuration file; see `sluice %s --help`", name);
    if (quiet)
        rest[(*n)++] = be_quiet;
    return 0;
}

struct config *arguments_job(const char *name, const char *help, int argc, char **argv,
                             int *code)
{
    struct text limit = {0};
    struct config *c = NULL;
    int n = 0, rc;
    *code = 0;
    if (arguments_help(argc, argv, help, NULL, NULL))
        return NULL;
    char **rest = mem_alloc(argc, sizeof *rest);
    rc = sort_job(name, argc, argv, rest, &n, &limit);
    if (rc == 0)
        c = schema_load(n, rest);
    if (c != NULL && limit.len > 0)
        rc = config_override(c, limit.s);
    if (c != NULL && rc == 0 && config_text(c, "run.dir")[0] == '\0')
        rc = err_set(ERR_USAGE, "run.dir is not set: name the run directory");
    if (c == NULL || rc != 0) {
        *code = cmd_fail(name);
        config_destroy(c);
        c = NULL;
    }
    text_free(&limit);
    mem_free(rest);
    return c;
}

bool arguments_json(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--json") == 0)
            return true;
    return false;
}

const char *arguments_path(const char *name, const char *help, int argc, char **argv,
                           int *code)
{
    const char *path = NULL, *odd = NULL;
    *code = 0;
    if (arguments_help(argc, argv, help, NULL, NULL))
        return NULL;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--json") == 0)
            continue;
        if (argv[i][0] == '-' || path != NULL)
            odd = odd != NULL ? odd : argv[i];
        else
            path = argv[i];
    }
    if (odd == NULL && path != NULL)
        return path;
    if (odd != NULL)
        err_set(ERR_USAGE, "unexpected '%s'; see `sluice %s --help`", odd, name);
    else
        err_set(ERR_USAGE, "which file or run directory? See `sluice %s --help`", name);
    *code = cmd_fail(name);
    return NULL;
}

struct config *arguments_directory(const char *dir, int n, char **overrides)
{
    char path[4096];
    if (snprintf(path, sizeof path, "%s/config.yaml", dir) >= (int)sizeof path ||
        !file_exists(path)) {
        err_set(ERR_INPUT, "%s: has no config.yaml: this is no run directory", dir);
        return NULL;
    }
    struct config *c = config_create(schema);
    struct text t = {0};
    int rc = config_read(c, path);
    text_add(&t, "run.dir=%s", dir);
    if (rc == 0)
        rc = config_override(c, t.s);
    if (rc == 0) /* the limit of the job that wrote the file is not this job's */
        rc = config_override(c, "run.max_walltime=0");
    if (rc == 0)
        rc = config_override(c, "run.quiet=false");
    for (int i = 0; i < n && rc == 0; i++)
        rc = config_override(c, overrides[i]);
    text_free(&t);
    if (rc == 0)
        return c;
    config_destroy(c);
    return NULL;
}

char *arguments_run_of(const char *source)
{
    char *dir = NULL;
    size_t n = strlen(source);
    if (verify_is_run(source))
        return mem_text(source);
    if (n < 4 || strcmp(source + n - 3, ".h5") != 0)
        return NULL;
    char *file = mem_text(source), *slash = strrchr(file, '/');
    if (slash != NULL)
        *slash = '\0';
    dir = text_new("%s/..", slash != NULL ? file : ".");
    mem_free(file);
    if (verify_is_run(dir))
        return dir;
    mem_free(dir);
    return NULL;
}

struct config *arguments_source(const char *source, int n, char **rest)
{
    bool file = n > 0 && file_exists(rest[0]);
    char *run = file ? NULL : arguments_run_of(source);
    struct config *c = NULL;
    if (run != NULL)
        c = arguments_directory(run, n, rest);
    else if (n > 0)
        c = schema_load(n, rest);
    else
        c = config_create(schema);
    mem_free(run);
    return c;
}

void arguments_option_help(const struct config_key *table)
{
    for (const struct config_key *k = table; k->key != NULL; k++)
        printf("  --%-11s %s%s%s%s%s%s\n", k->key, k->help,
               k->type == CONFIG_CHOICE ? ": " : "",
               k->type == CONFIG_CHOICE ? k->choices : "",
               k->def[0] != '\0' ? " (default " : "", k->def,
               k->def[0] != '\0' ? ")" : "");
}

static int unknown_option(const struct config_key *table, const char *name)
{
    const char *names[64];
    int64_t n = 0;
    for (const struct config_key *k = table; k->key != NULL && n < 64; k++)
        names[n++] = k->key;
    const char *near = text_nearest(name, names, n);
    return err_set(ERR_USAGE, "unknown option '--%.100s'%s%s", name,
                   near != NULL ? ", did you mean --" : "; see --help",
                   near != NULL ? near : "");
}

int arguments_option(struct config *c, const struct config_key *table, int argc,
                     char **argv, int *i)
{
    const char *name = argv[*i] + 2, *eq = strchr(name, '='), *value = NULL;
    size_t len = eq != NULL ? (size_t)(eq - name) : strlen(name);
    const struct config_key *k = table;
    while (k->key != NULL && (strncmp(k->key, name, len) != 0 || k->key[len] != '\0'))
        k++;
    if (k->key == NULL)
        return unknown_option(table, name);
    if (eq != NULL) {
        value = eq + 1;
    } else if (*i + 1 < argc && strncmp(argv[*i + 1], "--", 2) != 0 &&
               (k->type != CONFIG_BOOL || strcmp(argv[*i + 1], "true") == 0 ||
                strcmp(argv[*i + 1], "false") == 0)) {
        value = argv[++*i];
    } else if (k->type == CONFIG_BOOL) {
        value = "true";
    } else {
        return err_set(ERR_USAGE, "--%s needs a value: %s", k->key, k->help);
    }
    char *assignment = text_new("%s=%s", k->key, value);
    int rc = config_override(c, assignment);
    mem_free(assignment);
    return rc;
}

int arguments_words(struct config *c, const struct config_key *table, int argc,
                    char **argv, char **word, int *n)
{
    *n = 0;
    for (int i = 1; i < argc; i++) {
        if (strncmp(argv[i], "--", 2) != 0)
            word[(*n)++] = argv[i];
        else if (arguments_option(c, table, argc, argv, &i) != 0)
            return -1;
    }
    return 0;
}

const char *arguments_text(const struct config *c, const char *key)
{
    const char *v = config_text(c, key);
    return v[0] == '\0' ? NULL : v;
}

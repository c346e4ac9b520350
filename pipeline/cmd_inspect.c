/* sluice inspect: what is in a file or a run directory. */
#include "pipeline/inspect.h"

#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/verify.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char help[] =
    "usage: sluice inspect FILE|RUNDIR [--json]\n\n"
    "FILE: a rollout, reward, advantage or policy file (.h5) or a .safetensors file.\n"
    "Prints its attributes and, per column or tensor, type, shape, units, minimum,\n"
    "maximum, mean, standard deviation and the number of NaN, and the content_sha256\n"
    "that follows from the values (exit status 3 when another one is stored).\n"
    "RUNDIR: prints which iterations, shards and policies are there.\n"
    "--json prints one JSON object.\n";

static void shape_text(const struct inspect_column *c, struct text *out)
{
    out->len = 0;
    text_add(out, "[");
    for (int i = 0; i < c->nd; i++)
        text_add(out, "%s%lld", i > 0 ? ", " : "", (long long)c->dim[i]);
    text_add(out, "]");
}

static void print_column(const struct inspect_column *c, int width, struct text *shape)
{
    shape_text(c, shape);
    printf("  %-*s %-4s %-22s", width, c->name, c->type, shape->s);
    if (c->stats.distinct >= 0)
        printf(" %lld distinct", (long long)c->stats.distinct);
    else
        printf(" %12.6g %12.6g %12.6g %12.6g %8lld", c->stats.min, c->stats.max,
               c->stats.mean, c->stats.std, (long long)c->stats.nan);
    if (c->units != NULL && strcmp(c->units, "1") != 0)
        printf("  %s", c->units);
    putchar('\n');
}

static void print_file(const char *path, const struct inspect_file *f)
{
    struct text shape = {0};
    int width = 6;
    printf("%s: %s file\n", path, f->kind);
    for (int64_t i = 0; i < f->attributes; i++)
        printf("  %-18s %s\n", f->attribute[i].name, f->attribute[i].value);
    for (int64_t i = 0; i < f->columns; i++)
        if ((int)strlen(f->column[i].name) > width)
            width = (int)strlen(f->column[i].name);
    printf("\n  %-*s %-4s %-22s %12s %12s %12s %12s %8s  units\n", width, "column",
           "type", "shape", "min", "max", "mean", "std", "nan");
    for (int64_t i = 0; i < f->columns; i++)
        print_column(&f->column[i], width, &shape);
    printf("\ncontent_sha256 %s", f->content);
    if (f->stored[0] != '\0')
        printf("%s", strcmp(f->content, f->stored) == 0 ? " (as stored)"
                                                        : " (ANOTHER ONE IS STORED)");
    putchar('\n');
    text_free(&shape);
}

static void json_column(struct json_out *o, const struct inspect_column *c)
{
    json_out_map(o, c->name);
    json_out_text(o, "type", c->type);
    json_out_list(o, "shape");
    for (int i = 0; i < c->nd; i++)
        json_out_i64(o, NULL, c->dim[i]);
    json_out_end(o);
    json_out_text(o, "units", c->units != NULL ? c->units : "");
    json_out_text(o, "long_name", c->long_name != NULL ? c->long_name : "");
    if (c->stats.distinct >= 0) {
        json_out_i64(o, "distinct", c->stats.distinct);
    } else {
        json_out_f64(o, "min", c->stats.min);
        json_out_f64(o, "max", c->stats.max);
        json_out_f64(o, "mean", c->stats.mean);
        json_out_f64(o, "std", c->stats.std);
        json_out_i64(o, "nan", c->stats.nan);
    }
    json_out_end(o);
}

/* Attributes that the format defines as numbers; a run called "7" stays a text. */
static bool is_number(const char *name, const char *value, int64_t *number)
{
    static const char *const names[] = {"iteration", "number", "policy_version",
                                        "complete"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0)
            return text_to_i64(value, number);
    return false;
}

static void json_file(const char *path, const struct inspect_file *f)
{
    struct json_out *o = json_out_create();
    json_out_text(o, "path", path);
    json_out_text(o, "kind", f->kind);
    json_out_map(o, "attributes");
    for (int64_t i = 0; i < f->attributes; i++) {
        int64_t number;
        if (is_number(f->attribute[i].name, f->attribute[i].value, &number))
            json_out_i64(o, f->attribute[i].name, number);
        else
            json_out_text(o, f->attribute[i].name, f->attribute[i].value);
    }
    json_out_end(o);
    json_out_map(o, "columns");
    for (int64_t i = 0; i < f->columns; i++)
        json_column(o, &f->column[i]);
    json_out_end(o);
    json_out_text(o, "content_sha256", f->content);
    json_out_print(o);
}

static int inspect_file(const char *path, bool json)
{
    struct inspect_file f;
    if (inspect_read(path, &f) != 0)
        return cmd_fail("inspect");
    if (json)
        json_file(path, &f);
    else
        print_file(path, &f);
    int rc = 0;
    if (f.stored[0] != '\0' && strcmp(f.content, f.stored) != 0) {
        err_set(ERR_INPUT, "%s: the values do not belong to the stored content_sha256",
                path);
        rc = cmd_fail("inspect");
    }
    inspect_free(&f);
    return rc;
}

/* Which files one iteration has. */
struct row {
    int64_t iteration, rollout, reward;
    bool advantage;
};

static int64_t count_shards(const char *dir, const char *kind, const char *iteration)
{
    char **name, *path = text_new("%s/%s/%s", dir, kind, iteration);
    int64_t n = 0;
    if (file_list(path, "s", ".h5", &name, &n) != 0)
        err_clear(); /* a file where a folder should be has no shards */
    file_list_free(name, n);
    mem_free(path);
    return n;
}

static int by_iteration(const void *a, const void *b)
{
    const struct row *x = a, *y = b;
    return (x->iteration > y->iteration) - (x->iteration < y->iteration);
}

/* Iterations that have any file, ascending. */
static int list_rows(const char *dir, struct row **rows, int64_t *n)
{
    static const char *const kinds[] = {"rollout", "reward", "advantage"};
    *rows = NULL;
    *n = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        char **name, *sub = rundir_path(dir, kinds[k]);
        int64_t names;
        int rc = file_list(sub, "i", k == 2 ? ".h5" : "", &name, &names);
        mem_free(sub);
        if (rc != 0)
            return -1;
        *rows = mem_resize(*rows, *n, *n + names, sizeof **rows);
        for (int64_t i = 0; i < names; i++) {
            struct row r = {0};
            if (k == 2)
                name[i][strlen(name[i]) - 3] = '\0';
            if (!text_to_i64(name[i] + 1, &r.iteration))
                continue;
            int64_t at = 0;
            while (at < *n && (*rows)[at].iteration != r.iteration)
                at++;
            if (at == *n)
                (*rows)[(*n)++] = r;
            if (k == 0)
                (*rows)[at].rollout = count_shards(dir, kinds[k], name[i]);
            else if (k == 1)
                (*rows)[at].reward = count_shards(dir, kinds[k], name[i]);
            else
                (*rows)[at].advantage = true;
        }
        file_list_free(name, names);
    }
    if (*n > 1)
        qsort(*rows, (size_t)*n, sizeof **rows, by_iteration);
    return 0;
}

static void print_run(const char *dir, const struct row *r, int64_t n,
                      const int64_t *version, int64_t versions)
{
    printf("%s: run directory\n\n%10s %10s %10s %10s\n", dir, "iteration", "rollout",
           "reward", "advantage");
    for (int64_t i = 0; i < n; i++)
        printf("%10lld %10lld %10lld %10s\n", (long long)r[i].iteration,
               (long long)r[i].rollout, (long long)r[i].reward,
               r[i].advantage ? "yes" : "-");
    printf("\npolicies:");
    for (int64_t i = 0; i < versions; i++)
        printf(" %lld", (long long)version[i]);
    puts(versions == 0 ? " none" : "");
}

static void json_run(const char *dir, const struct row *r, int64_t n,
                     const int64_t *version, int64_t versions)
{
    struct json_out *o = json_out_create();
    json_out_text(o, "path", dir);
    json_out_text(o, "kind", "run");
    json_out_list(o, "iterations");
    for (int64_t i = 0; i < n; i++) {
        json_out_map(o, NULL);
        json_out_i64(o, "iteration", r[i].iteration);
        json_out_i64(o, "rollout", r[i].rollout);
        json_out_i64(o, "reward", r[i].reward);
        json_out_bool(o, "advantage", r[i].advantage);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_list(o, "policies");
    for (int64_t i = 0; i < versions; i++)
        json_out_i64(o, NULL, version[i]);
    json_out_end(o);
    json_out_print(o);
}

static int inspect_run(const char *dir, bool json)
{
    struct row *row = NULL;
    int64_t n = 0, *version = NULL, versions = 0;
    int rc = 0;
    if (list_rows(dir, &row, &n) != 0 || rundir_policies(dir, &version, &versions) != 0)
        rc = cmd_fail("inspect");
    else if (json)
        json_run(dir, row, n, version, versions);
    else
        print_run(dir, row, n, version, versions);
    mem_free(row);
    mem_free(version);
    return rc;
}

int cmd_inspect(int argc, char **argv)
{
    int code;
    const char *path = arguments_path("inspect", help, argc, argv, &code);
    const bool json = arguments_json(argc, argv);
    if (path == NULL)
        return code;
    if (verify_is_run(path))
        return inspect_run(path, json);
    if (file_is_dir(path)) {
        err_set(ERR_INPUT,
                "%s: is a directory but no run directory (it lacks policy/ or "
                "rollout/); name a file in it",
                path);
        return cmd_fail("inspect");
    }
    return inspect_file(path, json);
}

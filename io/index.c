/* The index over all shards of a run directory. Layout (io/FORMAT.md): per kind a group
 * with one virtual data set per column whose first axis is "sample", an `iteration` per
 * sample, and /sources/KIND with path, content, first_sample and samples per shard. */
#include "io/index.h"

#include "io/rundir.h"
#include "io/shard_internal.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_FORMAT "sluice-index"
enum { PATH = 96, CHUNK = 1 << 16, SOURCES_MOST = 1 << 20, COLUMNS_MOST = 256 };

struct source {
    char path[PATH], content[DIGEST_HEX];
    int64_t iteration, first, samples;
};

/* One column over all sources; present in source i where has[i]. */
struct virtual_column {
    char *name;
    enum column_type type;
    int nd;
    int64_t dim[SHARD_MAX_ND], text_len;
    bool usable; /* every source agrees on type and shape */
    bool *has;
};

struct table {
    struct source *source;
    int64_t n, cap, samples;
    struct virtual_column *column;
    int64_t columns;
};

static void free_table(struct table *t)
{
    for (int64_t i = 0; i < t->columns; i++) {
        mem_free(t->column[i].name);
        mem_free(t->column[i].has);
    }
    mem_free(t->column);
    mem_free(t->source);
    *t = (struct table){0};
}

static void add_source(struct table *t, const char *relative)
{
    if (t->n == t->cap) {
        t->source = mem_resize(t->source, t->cap, t->cap * 2 + 64, sizeof *t->source);
        t->cap = t->cap * 2 + 64;
    }
    struct source *s = &t->source[t->n++];
    snprintf(s->path, sizeof s->path, "%s", relative);
}

/* All files of a kind in name order, which is iteration order. */
static int list_sources(struct table *t, const char *rundir, const char *kind)
{
    char **name, **file, relative[PATH];
    int64_t names, files;
    char *dir = rundir_path(rundir, kind);
    int rc = file_list(dir, "i", "", &name, &names);
    for (int64_t i = 0; i < names && rc == 0; i++) {
        char *sub = rundir_path(dir, name[i]);
        size_t len = strlen(name[i]);
        if (strstr(name[i], ".tmp.") != NULL || len > 32) {
            /* a killed writer's leftover */
        } else if (!file_is_dir(sub)) {
            snprintf(relative, sizeof relative, "%s/%s", kind, name[i]);
            if (len > 3 && strcmp(name[i] + len - 3, ".h5") == 0)
                add_source(t, relative);
        } else if ((rc = file_list(sub, "s", ".h5", &file, &files)) == 0) {
            for (int64_t k = 0; k < files; k++) {
                int n = snprintf(relative, sizeof relative, "%s/%s/%s", kind, name[i],
                                 file[k]);
                if (n < PATH)
                    add_source(t, relative);
            }
            file_list_free(file, files);
        }
        mem_free(sub);
    }
    file_list_free(name, names);
    mem_free(dir);
    return rc;
}

static struct virtual_column *column_named(struct table *t, const char *name)
{
    for (int64_t i = 0; i < t->columns; i++)
        if (strcmp(t->column[i].name, name) == 0)
            return &t->column[i];
    if (t->columns == COLUMNS_MOST)
        return NULL;
    struct virtual_column *c = &t->column[t->columns++];
    *c = (struct virtual_column){.name = mem_text(name), .nd = -1, .usable = true};
    c->has = mem_alloc(t->n, sizeof *c->has);
    return c;
}

static void take_column(struct table *t, int64_t at, const struct shard_member *m)
{
    struct virtual_column *c = column_named(t, m->name);
    if (c == NULL)
        return;
    if (c->nd < 0) {
        c->type = m->type;
        c->nd = m->nd;
        memcpy(c->dim, m->dim, sizeof c->dim);
    }
    bool same = c->type == m->type && c->nd == m->nd;
    for (int i = 1; i < m->nd && same; i++)
        same = c->dim[i] == m->dim[i];
    c->usable = c->usable && same;
    c->has[at] = same;
    if (m->text_len > c->text_len)
        c->text_len = m->text_len;
}

static int read_source(struct table *t, int64_t at, const char *rundir)
{
    struct source *src = &t->source[at];
    char *path = rundir_path(rundir, src->path);
    struct shard *s = shard_open(path, -1);
    mem_free(path);
    if (s == NULL)
        return -1;
    src->iteration = s->head.iteration;
    src->first = t->samples;
    memcpy(src->content, s->content, sizeof src->content);
    src->samples = -1;
    for (int64_t i = 0; i < s->members; i++) {
        const struct shard_member *m = &s->member[i];
        const char *axes = shard_label(s, m->name, "axes");
        if (axes == NULL || strncmp(axes, "sample", 6) != 0 ||
            (axes[6] != ' ' && axes[6] != '\0'))
            continue;
        if (src->samples < 0)
            src->samples = m->dim[0];
        if (src->samples == m->dim[0])
            take_column(t, at, m);
    }
    src->samples = src->samples < 0 ? 0 : src->samples;
    t->samples += src->samples;
    shard_close(s);
    return 0;
}

static int set_fill(hid_t how, enum column_type type, hid_t h5type)
{
    const float f32 = NAN;
    const double f64 = NAN;
    const int32_t i32 = -1;
    const int64_t i64 = -1;
    const uint8_t u8 = 255;
    const void *const fill[] = {&f32, &f64, &i32, &i64, &u8};
    return type == COLUMN_TEXT ? 0 : (int)H5Pset_fill_value(how, h5type, fill[type]);
}

static int map_sources(hid_t how, hid_t space, const struct table *t,
                       const struct virtual_column *c)
{
    hsize_t start[SHARD_MAX_ND] = {0}, block[SHARD_MAX_ND];
    int rc = 0;
    for (int i = 1; i < c->nd; i++)
        block[i] = (hsize_t)c->dim[i];
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        const struct source *s = &t->source[i];
        if (!c->has[i] || s->samples == 0)
            continue;
        start[0] = (hsize_t)s->first;
        block[0] = (hsize_t)s->samples;
        hid_t from = H5Screate_simple(c->nd, block, NULL);
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, block, NULL) < 0 ||
            H5Pset_virtual(how, space, s->path, c->name, from) < 0)
            rc = -1;
        H5Sclose(from);
    }
    return rc;
}

static int put_virtual(hid_t group, const struct table *t,
                       const struct virtual_column *c)
{
    hsize_t dim[SHARD_MAX_ND];
    int64_t row = 1;
    for (int i = 0; i < c->nd; i++) {
        dim[i] = (hsize_t)(i == 0 ? t->samples : c->dim[i]);
        row *= i == 0 ? 1 : c->dim[i];
    }
    hid_t space = H5Screate_simple(c->nd, dim, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), type = shard_type(c->type, c->text_len);
    int rc = set_fill(how, c->type, type);
    if (rc == 0 && row > 0)
        rc = map_sources(how, space, t, c);
    hid_t set = rc != 0 ? -1
                        : H5Dcreate2(group, c->name, type, space, H5P_DEFAULT, how,
                                     H5P_DEFAULT);
    if (set < 0 || H5Dclose(set) < 0)
        return -1; /* the ids go with the process; HDF5's message stays */
    H5Tclose(type);
    H5Pclose(how);
    H5Sclose(space);
    return 0;
}

static int put_plain(hid_t group, const char *name, enum column_type type,
                     int64_t text_len, int64_t n, const void *data)
{
    const hsize_t dim[1] = {(hsize_t)n};
    const hsize_t chunk[1] = {(hsize_t)(n < 1 ? 1 : n < CHUNK ? n : CHUNK)};
    hid_t space = H5Screate_simple(1, dim, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    hid_t h5type = shard_type(type, text_len);
    if (H5Pset_chunk(how, 1, chunk) < 0 || H5Pset_fletcher32(how) < 0)
        return -1;
    hid_t set = H5Dcreate2(group, name, h5type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set < 0 ||
        (n > 0 && H5Dwrite(set, h5type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) ||
        H5Dclose(set) < 0)
        return -1;
    H5Tclose(h5type);
    H5Pclose(how);
    H5Sclose(space);
    return 0;
}

static int put_sources(hid_t group, const struct table *t)
{
    char *path = mem_alloc(t->n, PATH), *content = mem_alloc(t->n, DIGEST_HEX - 1);
    int64_t *number = mem_alloc(t->n * 3, sizeof *number);
    for (int64_t i = 0; i < t->n; i++) {
        const struct source *s = &t->source[i];
        memcpy(path + i * PATH, s->path, PATH);
        memcpy(content + i * (DIGEST_HEX - 1), s->content, DIGEST_HEX - 1);
        number[i] = s->first;
        number[t->n + i] = s->samples;
        number[2 * t->n + i] = s->iteration;
    }
    int rc = 0;
    if (put_plain(group, "path", COLUMN_TEXT, PATH, t->n, path) != 0 ||
        put_plain(group, "content", COLUMN_TEXT, DIGEST_HEX - 1, t->n, content) != 0 ||
        put_plain(group, "first_sample", COLUMN_I64, 0, t->n, number) != 0 ||
        put_plain(group, "samples", COLUMN_I64, 0, t->n, number + t->n) != 0 ||
        put_plain(group, "iteration", COLUMN_I64, 0, t->n, number + 2 * t->n) != 0)
        rc = -1;
    mem_free(number);
    mem_free(content);
    mem_free(path);
    return rc;
}

static int put_table(hid_t file, const struct table *t, const char *kind)
{
    char name[32];
    snprintf(name, sizeof name, "sources/%s", kind);
    hid_t group = H5Gcreate2(file, kind, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t sources = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0 || sources < 0 || put_sources(sources, t) != 0)
        return -1;
    int64_t *iteration = mem_alloc(t->samples, sizeof *iteration);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t k = 0; k < t->source[i].samples; k++)
            iteration[t->source[i].first + k] = t->source[i].iteration;
    int rc = put_plain(group, "iteration", COLUMN_I64, 0, t->samples, iteration);
    mem_free(iteration);
    for (int64_t i = 0; i < t->columns && rc == 0; i++)
        if (t->column[i].usable && strcmp(t->column[i].name, "iteration") != 0)
            rc = put_virtual(group, t, &t->column[i]);
    if (rc != 0 || H5Gclose(group) < 0 || H5Gclose(sources) < 0)
        return -1;
    return 0;
}

static const char *const kinds[] = {"rollout", "reward", "advantage"};

static int write_file(const char *tmp, const char *path, const struct table *table)
{
    hid_t access = shard_access(), creation = shard_creation();
    hid_t file = H5Fcreate(tmp, H5F_ACC_TRUNC, creation, access), group = -1;
    int rc = -1;
    if (file < 0) {
        shard_fail(ERR_IO, path, "cannot write the index");
        goto done;
    }
    group = H5Gcreate2(file, "sources", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    rc = group < 0 || H5Gclose(group) < 0 ? -1 : shard_put_origin(file, INDEX_FORMAT);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && rc == 0; k++)
        rc = put_table(file, &table[k], kinds[k]);
    if (rc == 0)
        rc = shard_put_i64(file, "complete", 1);
    if (rc != 0)
        shard_fail(ERR_IO, path, "cannot write the index");
    else if (shard_reserve(file, path) != 0)
        rc = -1;
    else if (H5Fflush(file, H5F_SCOPE_LOCAL) < 0)
        rc = shard_fail(ERR_IO, path, "cannot write the index");
    if (rc != 0) {
        shard_give_up(file, tmp);
    } else if (H5Fclose(file) < 0) {
        rc = shard_fail(ERR_IO, path, "cannot write the index");
    }
done:
    H5Pclose(access);
    H5Pclose(creation);
    return rc;
}

int index_write(const char *rundir)
{
    struct table table[sizeof kinds / sizeof *kinds] = {0};
    char *path = rundir_path(rundir, "index.h5"), *tmp = file_tmp_name(path);
    int rc = 0;
    shard_quiet();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && rc == 0; k++) {
        struct table *t = &table[k];
        rc = list_sources(t, rundir, kinds[k]);
        t->column = mem_alloc(COLUMNS_MOST, sizeof *t->column);
        for (int64_t i = 0; i < t->n && rc == 0; i++)
            rc = read_source(t, i, rundir);
    }
    if (rc == 0 && (rc = write_file(tmp, path, table)) != 0)
        unlink(tmp);
    if (rc == 0)
        rc = file_publish(tmp, path);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        free_table(&table[k]);
    mem_free(tmp);
    mem_free(path);
    return rc;
}

/* sources/KIND/NAME: n texts, NUL-terminated at a stride of `width`. */
static char *read_texts(hid_t file, const char *kind, const char *name, int64_t width,
                        int64_t *n)
{
    char where[64], *out = NULL;
    snprintf(where, sizeof where, "sources/%s/%s", kind, name);
    hid_t set = H5Dopen2(file, where, H5P_DEFAULT);
    if (set < 0)
        return NULL;
    hid_t space = H5Dget_space(set), type = H5Dget_type(set);
    hid_t memory = shard_type(COLUMN_TEXT, width);
    enum column_type kind_of;
    int64_t len;
    hssize_t count = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
    if (type >= 0 && shard_type_of(type, &kind_of, &len) && kind_of == COLUMN_TEXT &&
        len < width + 1 && count >= 0 && count <= SOURCES_MOST) {
        out = mem_alloc(count, (size_t)width);
        *n = count;
        if (count > 0 && H5Dread(set, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) < 0) {
            mem_free(out);
            out = NULL;
        }
        for (int64_t i = 0; out != NULL && i < count; i++)
            out[(i + 1) * width - 1] = '\0';
    }
    H5Tclose(memory);
    H5Tclose(type);
    H5Sclose(space);
    H5Dclose(set);
    return out;
}

static void check_source(const char *rundir, const char *relative, const char *content,
                         struct text *problems, int64_t *bad)
{
    const char *what = NULL;
    char *path = rundir_path(rundir, relative);
    if (relative[0] == '/' || strstr(relative, "..") != NULL) {
        what = "leads out of the run directory";
    } else if (!file_exists(path)) {
        what = "is missing and would read as fill values";
    } else {
        struct shard *s = shard_open(path, -1);
        if (s == NULL)
            what = "cannot be read";
        else if (strcmp(shard_content(s), content) != 0)
            what = "has other content than when the index was written";
        shard_close(s);
    }
    if (what != NULL) {
        ++*bad;
        if (problems != NULL)
            text_add(problems, "source %s %s\n", relative, what);
    }
    mem_free(path);
}

static int check_kind(hid_t file, const char *kind, const char *rundir,
                      struct text *problems, int64_t *bad)
{
    int64_t n = 0, m = 0;
    char *path = read_texts(file, kind, "path", PATH, &n);
    char *content = read_texts(file, kind, "content", DIGEST_HEX, &m);
    int rc = path == NULL || content == NULL || n != m ? -1 : 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        check_source(rundir, path + i * PATH, content + i * DIGEST_HEX, problems, bad);
    mem_free(path);
    mem_free(content);
    return rc;
}

int index_check(const char *rundir, struct text *problems, int64_t *bad)
{
    char *path = rundir_path(rundir, "index.h5"), *format = NULL;
    int64_t complete = 0;
    int rc = 0;
    *bad = 0;
    if (!file_exists(path))
        goto done;
    shard_quiet();
    hid_t access = shard_access(), file = -1;
    if (file_size(path) > 0) /* no pipe, on which HDF5 would wait */
        file = H5Fopen(path, H5F_ACC_RDONLY, access);
    H5Pclose(access);
    format = file < 0 ? NULL : shard_get_attribute(file, "format");
    if (format == NULL || strcmp(format, INDEX_FORMAT) != 0 ||
        !shard_get_i64(file, "complete", &complete) || complete != 1)
        rc = -1;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds && rc == 0; k++)
        rc = check_kind(file, kinds[k], rundir, problems, bad);
    if (file >= 0)
        H5Fclose(file);
    if (rc != 0)
        err_set(ERR_INPUT,
                "%s: is damaged or no index of this program; it is derived: "
                "delete it and it is written again",
                path);
done:
    mem_free(format);
    mem_free(path);
    return rc;
}

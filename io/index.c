/* The index over all shards of a run directory. Layout (io/FORMAT.md): per kind a group
 * with one virtual data set per column whose first axis is "sample", an `iteration` per
 * sample, and /sources/KIND with path, content, first_sample and samples per shard. */
#include "io/index.h"

#include "io/rundir.h"
#include "io/index_internal.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_FORMAT "sluice-index"
enum { SOURCES_MOST = 1 << 20 };

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

static int map_sources(hid_t how, hid_t space, const struct index_table *t,
                       const struct index_column *c)
{
    hsize_t start[SHARD_MAX_ND] = {0}, block[SHARD_MAX_ND];
    int rc = 0;
    for (int i = 1; i < c->nd; i++)
        block[i] = (hsize_t)c->dim[i];
    bool mapped = false; /* what is the same everywhere comes from the first source */
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        const struct index_source *s = &t->source[i];
        if (!c->has[i] || (c->by_sample ? s->samples == 0 : mapped))
            continue;
        mapped = true;
        start[0] = (hsize_t)(c->by_sample ? s->first : 0);
        block[0] = (hsize_t)(c->by_sample ? s->samples : c->dim[0]);
        hid_t from = H5Screate_simple(c->nd, block, NULL);
        if (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, block, NULL) < 0 ||
            H5Pset_virtual(how, space, s->path, c->name, from) < 0)
            rc = -1;
        H5Sclose(from);
    }
    return rc;
}

/* index_put_f */
static hid_t put_virtual(void *ctx, hid_t group, const struct index_table *t,
                         const struct index_column *c)
{
    (void)ctx;
    hsize_t dim[SHARD_MAX_ND];
    int64_t values = 1;
    for (int i = 0; i < c->nd; i++) {
        dim[i] = (hsize_t)c->dim[i];
        values *= c->dim[i];
    }
    hid_t space = H5Screate_simple(c->nd, dim, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), type = shard_type(c->type, c->text_len);
    int rc = H5Pset_attr_phase_change(how, 32, 24) < 0 ? -1 : set_fill(how, c->type, type);
    if (rc == 0 && values > 0)
        rc = map_sources(how, space, t, c);
    hid_t set = rc != 0 ? H5I_INVALID_HID
                        : H5Dcreate2(group, c->name, type, space, H5P_DEFAULT, how,
                                     H5P_DEFAULT);
    H5Tclose(type);
    H5Pclose(how);
    H5Sclose(space);
    return set;
}

static int write_file(const char *tmp, const char *path, const struct index_table *table)
{
    hid_t access = shard_access(), creation = shard_creation();
    hid_t file = H5Fcreate(tmp, H5F_ACC_TRUNC, creation, access), group = -1;
    int rc = -1;
    if (file < 0) {
        shard_fail(ERR_IO, path, "cannot write the index");
        goto done;
    }
    group = H5Gcreate2(file, "sources", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    rc = group < 0 || H5Gclose(group) < 0 ? -1 : index_put_head(file, INDEX_FORMAT);
    for (int k = 0; k < INDEX_KINDS && rc == 0; k++)
        rc = index_table_write(file, &table[k], k, put_virtual, NULL);
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
    struct index_table table[INDEX_KINDS] = {0};
    char *path = rundir_path(rundir, "index.h5"), *tmp = file_tmp_name(path);
    int rc = 0;
    shard_quiet();
    for (int k = 0; k < INDEX_KINDS && rc == 0; k++)
        rc = index_table_read(&table[k], rundir, k, 0, INT64_MAX);
    if (rc == 0 && (rc = write_file(tmp, path, table)) != 0)
        unlink(tmp);
    if (rc == 0)
        rc = file_publish(tmp, path);
    for (int k = 0; k < INDEX_KINDS; k++)
        index_table_free(&table[k]);
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
    char *path = read_texts(file, kind, "path", INDEX_PATH, &n);
    char *content = read_texts(file, kind, "content", DIGEST_HEX, &m);
    int rc = path == NULL || content == NULL || n != m ? -1 : 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        check_source(rundir, path + i * INDEX_PATH, content + i * DIGEST_HEX, problems, bad);
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
    for (int k = 0; k < INDEX_KINDS && rc == 0; k++)
        rc = check_kind(file, index_kind[k], rundir, problems, bad);
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

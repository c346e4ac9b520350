/* Merging: each source is verified, then its rows are copied block by block, so that
 * memory does not grow with the run. */
#include "io/merge.h"

#include "io/finish.h"
#include "io/index_internal.h"
#include "io/rundir.h"
#include "io/seal.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MERGE_FORMAT "sluice-merge"
enum { BLOCK_BYTES = 8 << 20, CHUNK_GOAL = 1 << 20 };

struct merge {
    const char *rundir;
};

static int verify_sources(struct merge *m, const struct index_table *t,
                          struct merged *out)
{
    char hex[DIGEST_HEX];
    int rc = 0;
    for (int64_t i = 0; i < t->n && rc == 0; i++) {
        char *path = rundir_path(m->rundir, t->source[i].path);
        struct shard *s = shard_open(path, -1);
        rc = s == NULL ? -1 : shard_recompute(s, hex);
        if (rc == 0 && strcmp(hex, t->source[i].content) != 0)
            rc = err_set(
                ERR_INPUT,
                "%s: the values do not belong to the stored content_sha256; see "
                "`sluice verify`",
                path);
        shard_close(s);
        out->files++;
        out->bytes += file_size(path);
        mem_free(path);
    }
    out->samples = t->samples > out->samples ? t->samples : out->samples;
    return rc;
}

/* Rows are filled where a source lacks the column, as in the index. */
static int set_layout(hid_t how, const struct index_column *c, hid_t type,
                      int64_t row_bytes)
{
    const float f32 = NAN;
    const double f64 = NAN;
    const int32_t i32 = -1;
    const int64_t i64 = -1;
    const uint8_t u8 = 255;
    const void *const fill[] = {&f32, &f64, &i32, &i64, &u8};
    hsize_t chunk[SHARD_MAX_ND];
    int64_t rows = row_bytes > 0 ? CHUNK_GOAL / row_bytes : 1;
    rows = rows < 1 ? 1 : rows < c->dim[0] ? rows : c->dim[0];
    for (int i = 0; i < c->nd; i++)
        chunk[i] = (hsize_t)(i == 0 ? rows : c->dim[i]);
    for (int i = 0; i < c->nd; i++)
        chunk[i] = chunk[i] > 0 ? chunk[i] : 1;
    return H5Pset_chunk(how, c->nd, chunk) < 0 || H5Pset_fletcher32(how) < 0 ||
                   H5Pset_attr_phase_change(how, 32, 24) < 0 ||
                   (c->type != COLUMN_TEXT &&
                    H5Pset_fill_value(how, type, fill[c->type]) < 0)
               ? -1
               : 0;
}

/* Rows of one source into the rows of `to` from `at` on. */
static int copy_rows(hid_t from, hid_t to, hid_t type, const struct index_column *c,
                     const int64_t where[3], void *block)
{
    const int64_t at = where[0], n = where[1], most = where[2];
    hsize_t start[SHARD_MAX_ND] = {0}, count[SHARD_MAX_ND];
    hid_t source = H5Dget_space(from), target = H5Dget_space(to);
    int rc = source < 0 || target < 0 ? -1 : 0;
    for (int i = 1; i < c->nd; i++)
        count[i] = (hsize_t)c->dim[i];
    for (int64_t k = 0; k < n && rc == 0; k += most) {
        count[0] = (hsize_t)(n - k < most ? n - k : most);
        hid_t memory = H5Screate_simple(c->nd, count, NULL);
        start[0] = (hsize_t)k;
        rc =
            H5Sselect_hyperslab(source, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
                    H5Dread(from, type, memory, source, H5P_DEFAULT, block) < 0
                ? -1
                : 0;
        start[0] = (hsize_t)(at + k);
        if (rc == 0 && (H5Sselect_hyperslab(target, H5S_SELECT_SET, start, NULL, count,
                                            NULL) < 0 ||
                        H5Dwrite(to, type, memory, target, H5P_DEFAULT, block) < 0))
            rc = -1;
        H5Sclose(memory);
    }
    H5Sclose(source);
    H5Sclose(target);
    return rc;
}

static const struct shard_member *member_of(const struct shard *s, const char *name)
{
    for (int64_t i = 0; i < s->members; i++)
        if (strcmp(s->member[i].name, name) == 0)
            return &s->member[i];
    return NULL;
}

static int copy_column(const struct merge *m, hid_t to, hid_t type,
                       const struct index_table *t, const struct index_column *c,
                       int64_t row_bytes)
{
    int64_t most = BLOCK_BYTES / row_bytes > 0 ? BLOCK_BYTES / row_bytes : 1;
    void *block = mem_alloc(most, (size_t)row_bytes);
    bool done = false;
    int rc = 0;
    for (int64_t i = 0; i < t->n && rc == 0 && !done; i++) {
        const struct index_source *src = &t->source[i];
        if (!c->has[i] || (c->by_sample && src->samples == 0))
            continue;
        char *path = rundir_path(m->rundir, src->path);
        struct shard *s = shard_open(path, -1);
        const struct shard_member *from = s == NULL ? NULL : member_of(s, c->name);
        const int64_t where[3] = {c->by_sample ? src->first : 0,
                                  c->by_sample ? src->samples : c->dim[0], most};
        if (from == NULL || from->nd != c->nd ||
            from->dim[0] != (c->by_sample ? src->samples : c->dim[0]))
            rc = err_set(ERR_INPUT, "%s: changed while it was read", path);
        else
            rc = copy_rows(from->set, to, type, c, where, block);
        done = !c->by_sample; /* the same in every source */
        shard_close(s);
        mem_free(path);
    }
    mem_free(block);
    return rc;
}

/* index_put_f */
static hid_t put_values(void *ctx, hid_t group, const struct index_table *t,
                        const struct index_column *c)
{
    const struct merge *m = ctx;
    hsize_t dim[SHARD_MAX_ND];
    int64_t values = 1,
            row = shard_type_size(c->type, c->text_len > 0 ? c->text_len : 1);
    for (int i = 0; i < c->nd; i++) {
        dim[i] = (hsize_t)c->dim[i];
        values *= c->dim[i];
        row *= i > 0 ? c->dim[i] : 1;
    }
    hid_t space = H5Screate_simple(c->nd, dim, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE), type = shard_type(c->type, c->text_len);
    hid_t set = H5I_INVALID_HID;
    if (set_layout(how, c, type, row) == 0)
        set = H5Dcreate2(group, c->name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set >= 0 && values > 0 && copy_column(m, set, type, t, c, row) != 0) {
        H5Dclose(set);
        set = H5I_INVALID_HID;
    }
    H5Tclose(type);
    H5Pclose(how);
    H5Sclose(space);
    return set;
}

static int put_head(hid_t file, const struct index_table *table, int64_t first,
                    int64_t last)
{
    const char *run_id = "";
    for (int k = 0; k < INDEX_KINDS; k++)
        run_id = table[k].run_id[0] != '\0' ? table[k].run_id : run_id;
    hid_t group = H5Gcreate2(file, "sources", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    return group < 0 || H5Gclose(group) < 0 ||
                   index_put_head(file, MERGE_FORMAT) != 0 ||
                   shard_put_text(file, "run_id", run_id) != 0 ||
                   shard_put_i64(file, "first_iteration", first) != 0 ||
                   shard_put_i64(file, "last_iteration", last) != 0
               ? -1
               : 0;
}

static int write_file(struct merge *m, const char *tmp, const char *path,
                      const struct index_table *table, const int64_t range[2])
{
    hid_t access = shard_access(), creation = shard_creation();
    hid_t file = H5I_INVALID_HID;
    int rc = -1;
    if (H5Pset_userblock(creation, SEAL_BYTES) >= 0)
        file = H5Fcreate(tmp, H5F_ACC_TRUNC, creation, access);
    H5Pclose(access);
    H5Pclose(creation);
    if (file < 0)
        return shard_fail(ERR_IO, path, "cannot write the file");
    err_clear();
    rc = put_head(file, table, range[0], range[1]);
    for (int k = 0; k < INDEX_KINDS && rc == 0; k++)
        rc = index_table_write(file, &table[k], k, put_values, m);
    if (rc == 0)
        rc = shard_put_i64(file, "complete", 1);
    if (rc == 0 && shard_reserve(file, path) != 0)
        rc = -1;
    if (rc == 0 && H5Fflush(file, H5F_SCOPE_LOCAL) < 0)
        rc = -1;
    if (rc != 0 && err_code() == ERR_NONE)
        shard_fail(ERR_IO, path, "cannot write the file");
    if (rc != 0)
        shard_give_up(file, tmp);
    else if (H5Fclose(file) < 0)
        rc = shard_fail(ERR_IO, path, "cannot write the file");
    return rc;
}

static void range_of(const struct index_table *table, int64_t range[2])
{
    range[0] = INT64_MAX;
    range[1] = -1;
    for (int k = 0; k < INDEX_KINDS; k++)
        for (int64_t i = 0; i < table[k].n; i++) {
            int64_t at = table[k].source[i].iteration;
            range[0] = at < range[0] ? at : range[0];
            range[1] = at > range[1] ? at : range[1];
        }
}

int merge_write(const char *rundir, const char *path, int64_t first, int64_t last,
                struct merged *out)
{
    struct index_table table[INDEX_KINDS] = {0};
    struct merge m = {.rundir = rundir};
    int64_t range[2];
    int rc = 0;
    *out = (struct merged){0};
    if (file_exists(path))
        return err_set(ERR_USAGE, "%s: exists; choose another name", path);
    char *tmp = file_tmp_name(path);
    shard_quiet();
    for (int k = 0; k < INDEX_KINDS && rc == 0; k++) {
        rc = index_table_read(&table[k], rundir, k, first, last);
        if (rc == 0)
            rc = verify_sources(&m, &table[k], out);
    }
    if (rc == 0 && out->files == 0)
        rc = err_set(ERR_INPUT, "%s: holds no shards of these iterations", rundir);
    range_of(table, range);
    if (rc == 0 && (rc = write_file(&m, tmp, path, table, range)) != 0)
        unlink(tmp);
    if (rc == 0)
        rc = finish_end(finish_begin(tmp, path));
    for (int k = 0; k < INDEX_KINDS; k++)
        index_table_free(&table[k]);
    mem_free(tmp);
    return rc;
}

/* Writing sealed files. All columns go into a temporary file; dimension scales, the
 * content digest and, last of all, `complete` follow at the seal. A writer that met an
 * error keeps it: every later call fails, and the seal leaves nothing behind. */
#include "io/finish.h"
#include "io/seal.h"
#include "io/shard_internal.h"

#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <hdf5_hl.h>
#include <omp.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
    CHUNK_GOAL = 1 << 20, /* bytes of a chunk where the caller has no wish */
    CHUNK_MOST = 64 << 20,
    AXIS_VALUES = 1 << 16, /* longer axes get a scale without stored values */
    NAME_MOST = 128,
    HASH_APART = 1 << 18, /* values from which a second thread pays */
};

struct put {
    char *name;
    int nd;
    int64_t dim[SHARD_MAX_ND];
    char *axis[SHARD_MAX_ND]; /* NULL: its scale is attached */
};

struct layout {
    int nd;
    hsize_t dim[SHARD_MAX_ND], chunk[SHARD_MAX_ND];
};

struct shard_writer {
    char *path, *tmp;
    enum shard_kind kind;
    hid_t file;
    struct put *put;
    struct shard_part *part; /* names are those of put */
    int64_t n, cap;
    bool failed;
};

static void free_writer(struct shard_writer *w)
{
    for (int64_t i = 0; i < w->n; i++) {
        mem_free(w->put[i].name);
        for (int d = 0; d < SHARD_MAX_ND; d++)
            mem_free(w->put[i].axis[d]);
    }
    mem_free(w->put);
    mem_free(w->part);
    mem_free(w->path);
    mem_free(w->tmp);
    mem_free(w);
}

void shard_abort(struct shard_writer *w)
{
    if (w == NULL)
        return;
    if (w->file >= 0)
        shard_give_up(w->file, w->tmp);
    unlink(w->tmp);
    free_writer(w);
}

/* The column's axes by name, for readers without the dimension-scale machinery. */
static int put_axes(hid_t set, const struct put *p)
{
    struct text t = {0};
    for (int i = 0; i < p->nd; i++)
        text_add(&t, "%s%s", i > 0 ? " " : "", p->axis[i]);
    int rc = shard_put_text(set, "axes", t.s);
    text_free(&t);
    return rc;
}

/* Keeps the first error. */
static int fail(struct shard_writer *w, const char *what, const char *name)
{
    if (w->failed)
        return -1;
    w->failed = true;
    return shard_fail(ERR_IO, w->path, "cannot write %s%s%s%s", what,
                      name != NULL ? " '" : "", name != NULL ? name : "",
                      name != NULL ? "'" : "");
}

/* A chunked, checksummed data set, created and, where data is not NULL, written. */
static hid_t create_set(struct shard_writer *w, hid_t where, const char *name,
                        hid_t type, const struct layout *l, const void *data)
{
    hid_t set = H5I_INVALID_HID, space = H5Screate_simple(l->nd, l->dim, NULL);
    hid_t how = H5Pcreate(H5P_DATASET_CREATE);
    hsize_t count = 1;
    for (int i = 0; i < l->nd; i++)
        count *= l->dim[i];
    if (space >= 0 && how >= 0 && H5Pset_chunk(how, l->nd, l->chunk) >= 0 &&
        H5Pset_fletcher32(how) >= 0 && H5Pset_obj_track_times(how, false) >= 0 &&
        H5Pset_attr_phase_change(how, 32, 24) >= 0 &&
        (data == NULL || H5Pset_fill_time(how, H5D_FILL_TIME_NEVER) >= 0))
        set = H5Dcreate2(where, name, type, space, H5P_DEFAULT, how, H5P_DEFAULT);
    if (set < 0)
        fail(w, "the data set", name);
    if (set >= 0 && data != NULL && count > 0 &&
        H5Dwrite(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, data) < 0) {
        fail(w, "the data set", name);
        H5Dclose(set);
        set = H5I_INVALID_HID;
    }
    H5Pclose(how);
    H5Sclose(space);
    return set;
}

/* A chunk is one index of the first axis where that is wanted; otherwise whole trailing
 * axes and as many leading indices as CHUNK_GOAL holds. */
static void choose_layout(const struct column *c, int64_t size, struct layout *l)
{
    int64_t goal = c->chunk_first ? CHUNK_MOST : CHUNK_GOAL;
    int64_t bytes = size;
    l->nd = c->nd;
    for (int i = c->nd - 1; i >= 0; i--) {
        int64_t d = c->dim[i] > 0 ? c->dim[i] : 1;
        if (i == 0 && c->chunk_first && c->nd > 1)
            d = 1;
        int64_t fit = goal / bytes > 0 ? goal / bytes : 1;
        l->dim[i] = (hsize_t)c->dim[i];
        l->chunk[i] = (hsize_t)(d < fit ? d : fit);
        bytes *= (int64_t)l->chunk[i];
    }
}

/* One text per parent, `width` bytes each, as parents/NAME. */
static int put_parent_texts(struct shard_writer *w, const char *name, int64_t n,
                            int64_t width, const char *text)
{
    const struct layout l = {1, {(hsize_t)n}, {(hsize_t)(n > 0 ? n : 1)}};
    hid_t type = shard_type(COLUMN_TEXT, width);
    hid_t set = create_set(w, w->file, name, type, &l, text);
    H5Tclose(type);
    return set < 0 || H5Dclose(set) < 0 ? fail(w, "the data set", name) : 0;
}

static int put_parents(struct shard_writer *w, const struct shard_head *h)
{
    enum { PATH = sizeof h->parent->path, CONTENT = DIGEST_HEX - 1 };
    hid_t group = H5Gcreate2(w->file, "parents", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0 || H5Gclose(group) < 0)
        return fail(w, "the group", "parents");
    char *text = mem_alloc(h->parents, PATH);
    for (int64_t i = 0; i < h->parents; i++)
        snprintf(text + i * PATH, PATH, "%s", h->parent[i].path);
    int rc = put_parent_texts(w, "parents/path", h->parents, PATH, text);
    for (int64_t i = 0; i < h->parents && rc == 0; i++)
        memcpy(text + i * CONTENT, h->parent[i].content, CONTENT);
    if (rc == 0)
        rc = put_parent_texts(w, "parents/content", h->parents, CONTENT, text);
    mem_free(text);
    return rc;
}

static int put_head(struct shard_writer *w, const struct shard_head *h)
{
    hid_t root = w->file;
    if (shard_put_origin(root, SHARD_FORMAT) != 0 ||
        shard_put_text(root, "kind", shard_kind_name(h->kind)) != 0 ||
        shard_put_i64(root, "iteration", h->iteration) != 0 ||
        shard_put_i64(root, "number", h->number) != 0 ||
        shard_put_i64(root, "policy_version", h->policy_version) != 0 ||
        shard_put_text(root, "run_id", h->run_id) != 0 ||
        shard_put_text(root, "config_digest", h->config_digest) != 0)
        return fail(w, "the head", NULL);
    return put_parents(w, h);
}

static int make_directory_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return 0;
    char *dir = text_new("%.*s", (int)(slash - path), path);
    int rc = file_is_dir(dir) ? 0 : file_make_dirs(dir);
    if (rc != 0)
        err_set(ERR_IO, "%s", err_text());
    mem_free(dir);
    return rc;
}

struct shard_writer *shard_create(const char *path, const struct shard_head *head)
{
    ERR_BUG_IF(head->parents < 0 || head->parents > SHARD_MAX_PARENTS);
    shard_quiet();
    if (make_directory_of(path) != 0)
        return NULL;
    struct shard_writer *w = mem_alloc(1, sizeof *w);
    w->path = mem_text(path);
    w->tmp = file_tmp_name(path);
    w->kind = head->kind;
    hid_t access = shard_access(), creation = shard_creation();
    if (H5Pset_userblock(creation, SEAL_BYTES) >= 0)
        w->file = H5Fcreate(w->tmp, H5F_ACC_TRUNC, creation, access);
    else
        w->file = H5I_INVALID_HID;
    if (w->file < 0)
        fail(w, "the file", NULL);
    H5Pclose(access);
    H5Pclose(creation);
    if (!w->failed && put_head(w, head) == 0)
        return w;
    shard_abort(w);
    return NULL;
}

static bool good_name(const char *s)
{
    size_t n = strlen(s);
    return n > 0 && n < NAME_MOST && strpbrk(s, "/") == NULL && s[0] != '.' &&
           strcmp(s, "parents") != 0;
}

static void remember(struct shard_writer *w, const struct column *c, struct digest *d)
{
    if (w->n == w->cap) {
        w->put = mem_resize(w->put, w->cap, w->cap * 2 + 16, sizeof *w->put);
        w->part = mem_resize(w->part, w->cap, w->cap * 2 + 16, sizeof *w->part);
        w->cap = w->cap * 2 + 16;
    }
    struct put *p = &w->put[w->n];
    p->name = mem_text(c->name);
    p->nd = c->nd;
    for (int i = 0; i < c->nd; i++) {
        p->dim[i] = c->dim[i];
        p->axis[i] = c->axis[i] != NULL ? mem_text(c->axis[i])
                                        : text_new("size_%lld", (long long)c->dim[i]);
    }
    w->part[w->n].name = p->name;
    digest_finish(d, w->part[w->n].hex);
    w->n++;
}

int shard_put(struct shard_writer *w, const struct column *c)
{
    struct layout l;
    int64_t count = 1,
            size = shard_type_size(c->type, c->text_len > 0 ? c->text_len : 1);
    ERR_BUG_IF(c->nd < 1 || c->nd > SHARD_MAX_ND);
    if (w->failed)
        return err_set(ERR_IO, "%s: an earlier column could not be written", w->path);
    if (!good_name(c->name)) {
        w->failed = true;
        return err_set(ERR_IO, "%s: '%.40s' cannot be the name of a column", w->path,
                       c->name);
    }
    for (int i = 0; i < c->nd; i++) {
        ERR_BUG_IF(c->dim[i] < 0);
        count *= c->dim[i];
    }
    choose_layout(c, size, &l);
    struct digest *d = shard_part_begin(c->name, c->type, c->nd, c->dim);
    hid_t type = shard_type(c->type, size);
    hid_t set = H5I_INVALID_HID;
/* HDF5 and the pending error stay with this thread; a second one hashes. */
#pragma omp parallel num_threads(2) if (count > HASH_APART)
    {
        int me = omp_get_thread_num();
        if (me == 0)
            set = create_set(w, w->file, c->name, type, &l, c->data);
        if (me == omp_get_num_threads() - 1)
            shard_part_add(d, c->type, c->text_len, c->data, count);
    }
    H5Tclose(type);
    remember(w, c, d);
    if (set < 0 || put_axes(set, &w->put[w->n - 1]) != 0 ||
        (c->units != NULL && shard_put_text(set, "units", c->units) != 0) ||
        (c->long_name != NULL && shard_put_text(set, "long_name", c->long_name) != 0) ||
        H5Dclose(set) < 0)
        return fail(w, "the column", c->name);
    return 0;
}

int shard_note(struct shard_writer *w, const char *name, const char *value)
{
    if (w->failed)
        return err_set(ERR_IO, "%s: an earlier column could not be written", w->path);
    if (shard_put_text(w->file, name, value) != 0)
        return fail(w, "the attribute", name);
    return 0;
}

/* The scale of one axis: the column of that name, or a data set of index values. Long
 * axes store no values; the name says so in netCDF-4's words. */
static hid_t make_scale(struct shard_writer *w, const char *axis, int64_t length)
{
    for (int64_t i = 0; i < w->n; i++) {
        const struct put *p = &w->put[i];
        if (strcmp(p->name, axis) != 0)
            continue;
        ERR_BUG_IF(p->nd != 1 || p->axis[0] == NULL || strcmp(p->axis[0], axis) != 0);
        hid_t own = H5Dopen2(w->file, axis, H5P_DEFAULT);
        return own >= 0 && H5DSset_scale(own, axis) >= 0 ? own : H5I_INVALID_HID;
    }
    char label[96];
    bool values = length <= AXIS_VALUES;
    int64_t *index = values ? mem_alloc(length, sizeof *index) : NULL;
    for (int64_t i = 0; values && i < length; i++)
        index[i] = i;
    int64_t chunk = values ? length : AXIS_VALUES;
    const struct layout l = {1, {(hsize_t)length}, {(hsize_t)(chunk > 0 ? chunk : 1)}};
    hid_t set = create_set(w, w->file, axis, H5T_STD_I64LE, &l, index);
    mem_free(index);
    snprintf(label, sizeof label,
             "This is a netCDF dimension but not a netCDF variable.%10lld",
             (long long)length);
    if (set < 0 || shard_put_i64(set, SHARD_AXIS_ONLY, 1) != 0 ||
        H5DSset_scale(set, values ? axis : label) < 0)
        return H5I_INVALID_HID;
    return set;
}

/* Attaches the scale of `axis` to every column that has it and clears those names. */
static int attach_axis(struct shard_writer *w, const char *axis, int64_t length)
{
    char *name = mem_text(axis);
    hid_t scale = make_scale(w, name, length);
    int rc = scale < 0 ? -1 : 0;
    for (int64_t i = 0; i < w->n && rc == 0; i++) {
        struct put *p = &w->put[i];
        for (int d = 0; d < p->nd && rc == 0; d++) {
            if (p->axis[d] == NULL || strcmp(p->axis[d], name) != 0)
                continue;
            ERR_BUG_IF(p->dim[d] != length);
            mem_free(p->axis[d]);
            p->axis[d] = NULL;
            if (strcmp(p->name, name) == 0)
                continue;
            hid_t set = H5Dopen2(w->file, p->name, H5P_DEFAULT);
            if (set < 0 || H5DSattach_scale(set, scale, (unsigned)d) < 0 ||
                H5Dclose(set) < 0)
                rc = -1;
        }
    }
    if (rc != 0 || H5Dclose(scale) < 0)
        rc = fail(w, "the dimension scale", name);
    mem_free(name);
    return rc;
}

static int flush(struct shard_writer *w)
{
    if (shard_reserve(w->file, w->path) != 0) {
        w->failed = true;
        return -1;
    }
    return H5Fflush(w->file, H5F_SCOPE_LOCAL) < 0 ? fail(w, "to the disk", NULL) : 0;
}

/* Everything up to a closed and checked temporary file. */
static int complete(struct shard_writer *w, char content[DIGEST_HEX])
{
    for (int64_t i = 0; i < w->n; i++)
        for (int d = 0; d < w->put[i].nd; d++)
            if (w->put[i].axis[d] != NULL &&
                attach_axis(w, w->put[i].axis[d], w->put[i].dim[d]) != 0)
                return -1;
    shard_join(w->part, w->n, content);
    if (shard_put_text(w->file, "content_sha256", content) != 0)
        return fail(w, "the attribute", "content_sha256");
    if (flush(w) != 0)
        return -1;
    if (shard_put_i64(w->file, "complete", 1) != 0)
        return fail(w, "the attribute", "complete");
    if (flush(w) != 0)
        return -1;
    hid_t file = w->file;
    w->file = H5I_INVALID_HID; /* whatever comes, a second close is never allowed */
    if (H5Fclose(file) < 0)
        return fail(w, "to the disk", NULL);
    struct shard *s = shard_open(w->tmp, (int)w->kind);
    if (s == NULL)
        return err_set(ERR_IO, "%s: cannot be read back after writing: %s", w->path,
                       err_text());
    char **names;
    int64_t n = shard_columns(s, &names);
    file_list_free(names, n);
    shard_close(s);
    if (n != w->n)
        return err_set(ERR_IO, "%s: %lld columns read back, %lld were written", w->path,
                       (long long)n, (long long)w->n);
    return 0;
}

struct finish *shard_seal_later(struct shard_writer *w, char content[DIGEST_HEX])
{
    char hex[DIGEST_HEX];
    if (w->failed) {
        if (err_code() == ERR_NONE)
            err_set(ERR_IO, "%s: an earlier column could not be written", w->path);
        shard_abort(w);
        return NULL;
    }
    if (complete(w, hex) != 0) {
        shard_abort(w);
        return NULL;
    }
    struct finish *f = finish_begin(w->tmp, w->path);
    if (content != NULL)
        memcpy(content, hex, DIGEST_HEX);
    free_writer(w);
    return f;
}

int shard_seal(struct shard_writer *w, char content[DIGEST_HEX])
{
    struct finish *f = shard_seal_later(w, content);
    return f == NULL ? -1 : finish_end(f);
}

/* Tables of the files of a run directory: what index.h5 and merged files are made of.
 */
#include "io/index_internal.h"

#include "io/rundir.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <hdf5_hl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHUNK = 1 << 16, COLUMNS_MOST = 256, AXES_MOST = 64 };

const char *const index_kind[INDEX_KINDS] = {"rollout", "reward", "advantage"};

void index_table_free(struct index_table *t)
{
    for (int64_t i = 0; i < t->columns; i++) {
        mem_free(t->column[i].name);
        mem_free(t->column[i].units);
        mem_free(t->column[i].long_name);
        mem_free(t->column[i].has);
    }
    mem_free(t->column);
    mem_free(t->source);
    *t = (struct index_table){0};
}

static void add_source(struct index_table *t, const char *relative)
{
    if (t->n == t->cap) {
        t->source = mem_resize(t->source, t->cap, t->cap * 2 + 64, sizeof *t->source);
        t->cap = t->cap * 2 + 64;
    }
    struct index_source *s = &t->source[t->n++];
    snprintf(s->path, sizeof s->path, "%s", relative);
}

/* All files of a kind in name order, which is iteration order. */
static int list_sources(struct index_table *t, const char *rundir, const char *kind,
                        const int64_t range[2])
{
    char **name, **file, relative[INDEX_PATH];
    int64_t names, files;
    char *dir = rundir_path(rundir, kind);
    int rc = file_list(dir, "i", "", &name, &names);
    for (int64_t i = 0; i < names && rc == 0; i++) {
        const long long number = strtoll(name[i] + 1, NULL, 10);
        if (number < range[0] || number > range[1])
            continue;
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
                if (n < INDEX_PATH)
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

static struct index_column *column_named(struct index_table *t, const char *name)
{
    for (int64_t i = 0; i < t->columns; i++)
        if (strcmp(t->column[i].name, name) == 0)
            return &t->column[i];
    if (t->columns == COLUMNS_MOST)
        return NULL;
    struct index_column *c = &t->column[t->columns++];
    *c = (struct index_column){.name = mem_text(name), .nd = -1, .usable = true};
    c->has = mem_alloc(t->n, sizeof *c->has);
    return c;
}

static void take_labels(struct shard *s, struct index_column *c, const char *axes)
{
    const char *p = axes;
    for (int i = 0; i < c->nd; i++) {
        size_t n = strcspn(p, " ");
        snprintf(c->axis[i], sizeof c->axis[i], "%.*s", n < 48 ? (int)n : 48, p);
        p += n + (p[n] == ' ');
    }
    c->units = mem_text(shard_label(s, c->name, "units"));
    c->long_name = mem_text(shard_label(s, c->name, "long_name"));
}

static void take_column(struct index_table *t, int64_t at, struct shard *s,
                        const struct shard_member *m, bool by_sample)
{
    struct index_column *c = column_named(t, m->name);
    if (c == NULL)
        return;
    if (c->nd < 0) {
        char *axes = mem_text(shard_label(s, m->name, "axes"));
        c->type = m->type;
        c->nd = m->nd;
        c->by_sample = by_sample;
        memcpy(c->dim, m->dim, sizeof c->dim);
        take_labels(s, c, axes);
        mem_free(axes);
    }
    bool same = c->type == m->type && c->nd == m->nd && c->by_sample == by_sample;
    for (int i = by_sample; i < m->nd && same; i++)
        same = c->dim[i] == m->dim[i];
    c->usable = c->usable && same;
    c->has[at] = same;
    if (m->text_len > c->text_len)
        c->text_len = m->text_len;
}

static bool begins(const char *axes, const char *axis)
{
    size_t n = strlen(axis);
    return strncmp(axes, axis, n) == 0 && (axes[n] == ' ' || axes[n] == '\0');
}

static int read_source(struct index_table *t, int64_t at, const char *rundir)
{
    struct index_source *src = &t->source[at];
    char *path = rundir_path(rundir, src->path);
    struct shard *s = shard_open(path, -1);
    mem_free(path);
    if (s == NULL)
        return -1;
    snprintf(t->run_id, sizeof t->run_id, "%s", s->head.run_id);
    src->iteration = s->head.iteration;
    src->first = t->samples;
    memcpy(src->content, s->content, sizeof src->content);
    src->samples = -1;
    for (int64_t i = 0; i < s->members; i++) {
        const struct shard_member *m = &s->member[i];
        const char *axes = shard_label(s, m->name, "axes");
        if (axes == NULL)
            continue;
        bool by_sample = begins(axes, "sample");
        if (!by_sample && (!begins(axes, "step") || m->nd != 1))
            continue;
        if (by_sample && src->samples < 0)
            src->samples = m->dim[0];
        if (!by_sample || src->samples == m->dim[0])
            take_column(t, at, s, m, by_sample);
    }
    src->samples = src->samples < 0 ? 0 : src->samples;
    t->samples += src->samples;
    shard_close(s);
    return 0;
}

int index_table_read(struct index_table *t, const char *rundir, int kind, int64_t first,
                     int64_t last)
{
    int rc = list_sources(t, rundir, index_kind[kind], (int64_t[]){first, last});
    t->column = mem_alloc(COLUMNS_MOST, sizeof *t->column);
    for (int64_t i = 0; i < t->n && rc == 0; i++)
        rc = read_source(t, i, rundir);
    for (int64_t i = 0; i < t->columns; i++)
        if (t->column[i].by_sample)
            t->column[i].dim[0] = t->samples;
    return rc;
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

static int put_sources(hid_t group, const struct index_table *t)
{
    char *path = mem_alloc(t->n, INDEX_PATH),
         *content = mem_alloc(t->n, DIGEST_HEX - 1);
    int64_t *number = mem_alloc(t->n * 3, sizeof *number);
    for (int64_t i = 0; i < t->n; i++) {
        const struct index_source *s = &t->source[i];
        memcpy(path + i * INDEX_PATH, s->path, INDEX_PATH);
        memcpy(content + i * (DIGEST_HEX - 1), s->content, DIGEST_HEX - 1);
        number[i] = s->first;
        number[t->n + i] = s->samples;
        number[2 * t->n + i] = s->iteration;
    }
    int rc = 0;
    if (put_plain(group, "path", COLUMN_TEXT, INDEX_PATH, t->n, path) != 0 ||
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

static int put_labels(hid_t set, const struct index_column *c)
{
    struct text axes = {0};
    for (int i = 0; i < c->nd; i++)
        text_add(&axes, "%s%s", i > 0 ? " " : "", c->axis[i]);
    int rc = shard_put_text(set, "axes", axes.s);
    text_free(&axes);
    if (rc == 0 && c->units != NULL)
        rc = shard_put_text(set, "units", c->units);
    if (rc == 0 && c->long_name != NULL)
        rc = shard_put_text(set, "long_name", c->long_name);
    if (rc == 0 && c->by_sample) /* CF: for xarray `iteration` belongs to each array */
        rc = shard_put_text(set, "coordinates", "iteration");
    return rc;
}

/* A scale of so many index values; long ones store none (io/FORMAT.md). */
static hid_t make_scale(hid_t group, const char *axis, int64_t length)
{
    char label[96];
    bool values = length <= CHUNK;
    int64_t *index = values ? mem_alloc(length, sizeof *index) : NULL;
    for (int64_t i = 0; values && i < length; i++)
        index[i] = i;
    const hsize_t dim[1] = {(hsize_t)length};
    const hsize_t chunk[1] = {(hsize_t)(length < 1       ? 1
                                        : length < CHUNK ? length
                                                         : CHUNK)};
    hid_t space = H5Screate_simple(1, dim, NULL), how = H5Pcreate(H5P_DATASET_CREATE);
    snprintf(label, sizeof label,
             "This is a netCDF dimension but not a netCDF variable.%10lld",
             (long long)length);
    hid_t set = H5I_INVALID_HID;
    if (H5Pset_chunk(how, 1, chunk) >= 0 && H5Pset_fletcher32(how) >= 0)
        set = H5Dcreate2(group, axis, H5T_STD_I64LE, space, H5P_DEFAULT, how,
                         H5P_DEFAULT);
    bool bad =
        set < 0 ||
        (values && length > 0 &&
         H5Dwrite(set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, index) < 0) ||
        shard_put_i64(set, SHARD_AXIS_ONLY, 1) != 0 ||
        H5DSset_scale(set, values ? axis : label) < 0;
    mem_free(index);
    H5Pclose(how);
    H5Sclose(space);
    return bad ? H5I_INVALID_HID : set;
}

/* The scales of a group: one for each name, while lengths agree and no column has it.
 */
struct scales {
    struct {
        char name[64];
        int64_t length;
        hid_t set;
    } of[AXES_MOST];
    int n;
};

static hid_t scale_of(struct scales *all, hid_t group, const char *axis, int64_t length)
{
    for (int i = 0; i < all->n; i++)
        if (strcmp(all->of[i].name, axis) == 0)
            return all->of[i].length == length ? all->of[i].set : H5I_INVALID_HID;
    if (all->n == AXES_MOST || axis[0] == '\0' ||
        H5Lexists(group, axis, H5P_DEFAULT) > 0)
        return H5I_INVALID_HID;
    hid_t set = make_scale(group, axis, length);
    snprintf(all->of[all->n].name, sizeof all->of[all->n].name, "%s", axis);
    all->of[all->n].length = length;
    all->of[all->n++].set = set;
    return set;
}

static int attach(struct scales *all, hid_t group, const struct index_column *c)
{
    hid_t set = H5Dopen2(group, c->name, H5P_DEFAULT);
    int rc = set < 0 ? -1 : 0;
    for (int i = 0; i < c->nd && rc == 0; i++) {
        hid_t scale = scale_of(all, group, c->axis[i], c->dim[i]);
        if (scale >= 0 && H5DSattach_scale(set, scale, (unsigned)i) < 0)
            rc = -1;
    }
    return set < 0 || H5Dclose(set) < 0 ? -1 : rc;
}

static void close_scales(struct scales *all)
{
    for (int i = 0; i < all->n; i++)
        if (all->of[i].set >= 0)
            H5Dclose(all->of[i].set);
}

static int put_scales(hid_t group, const struct index_table *t)
{
    struct scales all = {.n = 0};
    const struct index_column own = {
        .name = "iteration", .axis = {"sample"}, .nd = 1, .dim = {t->samples}};
    int rc = attach(&all, group, &own);
    for (int64_t i = 0; i < t->columns && rc == 0; i++)
        if (t->column[i].usable)
            rc = attach(&all, group, &t->column[i]);
    close_scales(&all);
    return rc;
}

/* Readers that open all groups refuse a data set without scales. */
static int put_source_scales(hid_t group, int64_t n)
{
    char name[][16] = {"path", "content", "first_sample", "samples", "iteration"};
    struct index_column c = {.axis = {"source"}, .nd = 1, .dim = {n}};
    struct scales all = {.n = 0};
    int rc = 0;
    for (size_t i = 0; i < sizeof name / sizeof *name && rc == 0; i++) {
        c.name = name[i];
        rc = attach(&all, group, &c);
    }
    close_scales(&all);
    return rc;
}

static int put_columns(hid_t group, const struct index_table *t, index_put_f put,
                       void *ctx)
{
    int64_t *iteration = mem_alloc(t->samples, sizeof *iteration);
    for (int64_t i = 0; i < t->n; i++)
        for (int64_t k = 0; k < t->source[i].samples; k++)
            iteration[t->source[i].first + k] = t->source[i].iteration;
    int rc = put_plain(group, "iteration", COLUMN_I64, 0, t->samples, iteration);
    mem_free(iteration);
    for (int64_t i = 0; i < t->columns && rc == 0; i++) {
        struct index_column *c = &t->column[i];
        c->usable = c->usable && strcmp(c->name, "iteration") != 0;
        if (!c->usable)
            continue;
        hid_t set = put(ctx, group, t, c);
        rc = set < 0 ? -1 : put_labels(set, c);
        if (set >= 0 && H5Dclose(set) < 0)
            rc = -1;
    }
    return rc == 0 ? put_scales(group, t) : -1;
}

int index_put_head(hid_t file, const char *format)
{
    return shard_put_origin(file, format) != 0
               ? -1
               : shard_put_text(file, "comment",
                                "each group is one data set: open it with group=\"rollout\", "
                                "\"reward\" or \"advantage\"");
}

int index_table_write(hid_t file, const struct index_table *t, int kind,
                      index_put_f put, void *ctx)
{
    char name[32];
    snprintf(name, sizeof name, "sources/%s", index_kind[kind]);
    hid_t group =
        H5Gcreate2(file, index_kind[kind], H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    hid_t sources = H5Gcreate2(file, name, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
    if (group < 0 || sources < 0 || put_sources(sources, t) != 0 ||
        put_source_scales(sources, t->n) != 0 || put_columns(group, t, put, ctx) != 0)
        return -1;
    return H5Gclose(group) < 0 || H5Gclose(sources) < 0 ? -1 : 0;
}

/* Training data in HDF5 files: one data set for the samples, one for each label. */
#include "io/dataset.h"
#include "io/shard_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <string.h>

/* The colon of FILE.h5:/NAME, or NULL. */
static const char *colon_of(const char *path)
{
    for (const char *p = strchr(path, ':'); p != NULL; p = strchr(p + 1, ':'))
        if ((p - path >= 3 && strncmp(p - 3, ".h5", 3) == 0) ||
            (p - path >= 5 && strncmp(p - 5, ".hdf5", 5) == 0))
            return p;
    return NULL;
}

bool dataset_is_hdf5(const char *path)
{
    return colon_of(path) != NULL;
}

/* An open data set and its sizes, which are those of the file's bytes. */
struct opened {
    const char *path;
    hid_t file, set;
    int nd;
    hsize_t dim[4];
    H5T_class_t type;
    size_t size;
    int64_t count;
};

static void close_set(struct opened *o)
{
    if (o->set >= 0)
        H5Dclose(o->set);
    if (o->file >= 0)
        H5Fclose(o->file);
}

/* Compression makes data at most so many times smaller (deflate: 1032). */
enum { SHRINKS = 2048 };

/* A header promises no more than the file holds, and no more than there is room for. */
static int check_stored(const struct opened *o)
{
    hid_t list = H5Dget_create_plist(o->set);
    int64_t stored = (int64_t)H5Dget_storage_size(o->set) / (int64_t)o->size;
    int filters = list >= 0 ? H5Pget_nfilters(list) : 0;
    if (list >= 0)
        H5Pclose(list);
    if (o->count / (filters > 0 ? SHRINKS : 1) > stored)
        return err_set(ERR_INPUT, "%s: %lld values are promised, far fewer are stored",
                       o->path, (long long)o->count);
    if (!mem_fits(o->count, sizeof(int64_t)))
        return err_set(ERR_INPUT, "%s: %lld values are more than the memory holds", o->path,
                       (long long)o->count);
    return 0;
}

/* Number of values, each at most as large as stored: a header cannot promise more than
 * there is, but for what was never written. */
static int read_shape(struct opened *o)
{
    hid_t space = H5Dget_space(o->set), type = H5Dget_type(o->set);
    o->nd = space >= 0 ? H5Sget_simple_extent_ndims(space) : -1;
    int rc = 0;
    if (type < 0 || o->nd < 1 || o->nd > 4) {
        rc = err_set(ERR_INPUT, "%s: has %d dimensions, 1 to 4 are read", o->path, o->nd);
    } else {
        H5Sget_simple_extent_dims(space, o->dim, NULL);
        o->type = H5Tget_class(type);
        o->size = H5Tget_size(type);
        o->count = 1;
        for (int i = 0; i < o->nd && rc == 0; i++)
            if (o->dim[i] < 1 || o->dim[i] > INT64_MAX ||
                __builtin_mul_overflow(o->count, (int64_t)o->dim[i], &o->count))
                rc = err_set(ERR_INPUT, "%s: dimension %d of %llu makes no sense", o->path,
                             i, (unsigned long long)o->dim[i]);
        if (rc == 0 && H5Dget_storage_size(o->set) == 0)
            rc = err_set(ERR_INPUT, "%s: nothing was ever written there", o->path);
        if (rc == 0)
            rc = check_stored(o);
    }
    if (type >= 0)
        H5Tclose(type);
    if (space >= 0)
        H5Sclose(space);
    return rc;
}

static int open_set(struct opened *o, const char *path)
{
    const char *colon = colon_of(path);
    *o = (struct opened){.path = path, .file = -1, .set = -1};
    if (colon == NULL)
        return err_set(ERR_USAGE, "%s: HDF5 data are named FILE.h5:/NAME", path);
    char *file = text_new("%.*s", (int)(colon - path), path);
    shard_quiet();
    o->file = H5Fopen(file, H5F_ACC_RDONLY, H5P_DEFAULT);
    int rc = o->file < 0 ? shard_fail(ERR_INPUT, file, "cannot be opened as HDF5") : 0;
    if (rc == 0) {
        o->set = H5Dopen2(o->file, colon + 1, H5P_DEFAULT);
        if (o->set < 0)
            rc = err_set(ERR_INPUT, "%s: has no data set '%s'", file, colon + 1);
    }
    mem_free(file);
    return rc == 0 ? read_shape(o) : -1;
}

static int read_values(struct dataset *d, const struct opened *o)
{
    const bool bytes = o->type == H5T_INTEGER && o->size == 1;
    if (o->nd < 2)
        return err_set(ERR_INPUT, "%s: is one row; [samples, width] or more is expected",
                       o->path);
    if (!bytes && o->type != H5T_FLOAT)
        return err_set(ERR_INPUT, "%s: holds neither real numbers nor bytes", o->path);
    d->n = (int64_t)o->dim[0];
    d->channels = o->nd == 4 ? (int64_t)o->dim[1] : 1;
    d->height = o->nd >= 3 ? (int64_t)o->dim[o->nd - 2] : 1;
    d->width = (int64_t)o->dim[o->nd - 1];
    d->sample = mem_alloc(o->count, sizeof *d->sample);
    if (H5Dread(o->set, H5T_NATIVE_FLOAT, H5S_ALL, H5S_ALL, H5P_DEFAULT, d->sample) < 0)
        return shard_fail(ERR_INPUT, o->path, "cannot be read");
    for (int64_t i = 0; i < o->count; i++) {
        if (bytes) /* pictures, as in npy */
            d->sample[i] = d->sample[i] / 127.5f - 1.0f;
        if (!isfinite(d->sample[i]))
            return err_set(ERR_INPUT, "%s: value %lld is not finite", o->path,
                           (long long)i);
    }
    return 0;
}

int dataset_read_hdf5(struct dataset *d, const char *path)
{
    struct opened o;
    *d = (struct dataset){0};
    int rc = open_set(&o, path);
    if (rc == 0)
        rc = read_values(d, &o);
    close_set(&o);
    if (rc != 0)
        dataset_free(d);
    return rc;
}

int64_t *dataset_hdf5_labels(const char *path, int64_t n)
{
    struct opened o;
    int64_t *label = NULL;
    int rc = open_set(&o, path);
    if (rc == 0 && (o.nd != 1 || o.count != n || o.type != H5T_INTEGER))
        rc = err_set(ERR_INPUT, "%s: %lld integers are needed, one for each sample", path,
                     (long long)n);
    if (rc == 0) {
        label = mem_alloc(n, sizeof *label);
        if (H5Dread(o.set, H5T_NATIVE_INT64, H5S_ALL, H5S_ALL, H5P_DEFAULT, label) < 0)
            rc = shard_fail(ERR_INPUT, path, "cannot be read");
    }
    close_set(&o);
    if (rc == 0)
        return label;
    mem_free(label);
    return NULL;
}

/* Sealed files, the part that reading and writing share: types, attributes, errors of
 * HDF5 as ours, and the content digest. */
#include "io/shard_internal.h"

#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <mpi.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static const char *software_version = "unknown", *software_commit = "unknown";

void shard_software(const char *version, const char *commit)
{
    software_version = version;
    software_commit = commit;
    /* A file whose close could not flush (full disk) stays half open in HDF5, which then
     * crashes when it is shut down: at exit, or inside MPI_Finalize if it was opened
     * after MPI_Init. Nothing here needs the shutdown. */
    H5dont_atexit(); /* before anything else of HDF5 */
    shard_quiet();
    H5open();
}

const char *shard_kind_name(enum shard_kind k)
{
    static const char *const name[] = {"rollout", "reward", "advantage", "policy",
                                       "table", "statistics"};
    return name[k];
}

const char *shard_type_name(enum column_type type)
{
    static const char *const name[] = {"f32", "f64", "i32", "i64", "u8", "text"};
    return name[type];
}

void shard_library(char *buf, int64_t size)
{
    unsigned major = 0, minor = 0, release = 0;
    H5get_libversion(&major, &minor, &release);
    snprintf(buf, (size_t)size, "HDF5 %u.%u.%u", major, minor, release);
}

void shard_quiet(void)
{
    setenv("HDF5_USE_FILE_LOCKING", "FALSE", 0);
    H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
}

static herr_t innermost(unsigned n, const H5E_error2_t *e, void *out)
{
    if (n == 0 && e->desc != NULL)
        snprintf(out, 256, "%s", e->desc);
    return 0;
}

int shard_fail(enum err_code code, const char *path, const char *fmt, ...)
{
    char what[256], why[256] = "";
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, why);
    H5Eclear2(H5E_DEFAULT);
    const char *number = strstr(why, "errno = ");
    int e = number != NULL ? atoi(number + 8) : 0;
    if (e == ENOSPC || e == EDQUOT)
        return err_set(code,
                       "%s: %s: disk full (%s); free space on this file system, "
                       "then run the same command again",
                       path, what, strerror(e));
    return err_set(code, "%s: %s%s%s%s", path, what, why[0] != '\0' ? ": " : "",
                   e != 0 ? strerror(e) : why,
                   e == EFBIG ? "; raise the limit of a file's size (ulimit -f)" : "");
}

hid_t shard_access(void)
{
    hid_t p = H5Pcreate(H5P_FILE_ACCESS);
    if (p >= 0 && (H5Pset_fapl_sec2(p) < 0 ||
                   H5Pset_libver_bounds(p, H5F_LIBVER_V110, H5F_LIBVER_V110) < 0 ||
                   H5Pset_fclose_degree(p, H5F_CLOSE_STRONG) < 0 ||
                   H5Pset_cache(p, 0, 521, (size_t)4 << 20, 0.75) < 0)) {
        H5Pclose(p);
        return H5I_INVALID_HID;
    }
    return p;
}

/* Attributes and links stay inside the root's checksummed object header; netCDF-4
 * readers want the links' creation order. */
hid_t shard_creation(void)
{
    hid_t p = H5Pcreate(H5P_FILE_CREATE);
    if (p >= 0 && (H5Pset_attr_phase_change(p, 64, 48) < 0 ||
                   H5Pset_link_phase_change(p, 128, 96) < 0 ||
                   H5Pset_link_creation_order(p, H5P_CRT_ORDER_TRACKED |
                                                     H5P_CRT_ORDER_INDEXED) < 0)) {
        H5Pclose(p);
        return H5I_INVALID_HID;
    }
    return p;
}

/* The descriptor under an open file, or -1. */
static int descriptor(hid_t file)
{
    int *fd = NULL;
    return H5Fget_vfd_handle(file, H5P_DEFAULT, (void **)&fd) < 0 || fd == NULL ? -1 : *fd;
}

int shard_reserve(hid_t file, const char *path)
{
    hsize_t size = 0;
    int fd = descriptor(file);
    if (fd < 0 || H5Fget_filesize(file, &size) < 0)
        return shard_fail(ERR_IO, path, "cannot write");
    int e = size > 0 ? posix_fallocate(fd, 0, (off_t)size) : 0;
    if (e == 0 || e == EINVAL || e == EOPNOTSUPP || e == EINTR)
        return 0;
    errno = e;
    err_set_errno("cannot write", path);
    return -1;
}

void shard_give_up(hid_t file, const char *tmp)
{
    int memory = memfd_create("sluice", MFD_CLOEXEC), fd = descriptor(file);
    if (memory < 0 || fd < 0 || dup3(memory, fd, O_CLOEXEC) < 0) {
        /* Space for what the close flushes, mostly. */
        if (truncate(tmp, 0) != 0)
            log_debug("%s: cannot truncate: %s", tmp, strerror(errno));
    }
    H5Fclose(file);
    H5Eclear2(H5E_DEFAULT);
    if (memory >= 0)
        close(memory);
}

static hid_t number_type(enum column_type type)
{
    switch (type) {
    case COLUMN_F32:
        return H5T_IEEE_F32LE;
    case COLUMN_F64:
        return H5T_IEEE_F64LE;
    case COLUMN_I32:
        return H5T_STD_I32LE;
    case COLUMN_I64:
        return H5T_STD_I64LE;
    default:
        return H5T_STD_U8LE;
    }
}

hid_t shard_type(enum column_type type, int64_t text_len)
{
    if (type != COLUMN_TEXT)
        return H5Tcopy(number_type(type));
    hid_t t = H5Tcopy(H5T_C_S1);
    if (t >= 0 &&
        (H5Tset_size(t, text_len > 0 ? (size_t)text_len : 1) < 0 ||
         H5Tset_strpad(t, H5T_STR_NULLPAD) < 0 || H5Tset_cset(t, H5T_CSET_UTF8) < 0)) {
        H5Tclose(t);
        return H5I_INVALID_HID;
    }
    return t;
}

int64_t shard_type_size(enum column_type type, int64_t text_len)
{
    static const int64_t size[] = {4, 8, 4, 8, 1};
    return type == COLUMN_TEXT ? text_len : size[type];
}

bool shard_type_of(hid_t h5type, enum column_type *type, int64_t *text_len)
{
    *text_len = 0;
    if (H5Tget_class(h5type) == H5T_STRING) {
        *type = COLUMN_TEXT;
        *text_len = (int64_t)H5Tget_size(h5type);
        return H5Tis_variable_str(h5type) == 0 &&
               H5Tget_strpad(h5type) == H5T_STR_NULLPAD && *text_len > 0;
    }
    for (int t = COLUMN_F32; t < COLUMN_TEXT; t++)
        if (H5Tequal(h5type, number_type((enum column_type)t)) > 0) {
            *type = (enum column_type)t;
            return true;
        }
    return false;
}

static int put_scalar(hid_t object, const char *name, hid_t type, const void *value)
{
    hid_t space = H5Screate(H5S_SCALAR);
    hid_t a = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
    int rc = a < 0 || H5Awrite(a, type, value) < 0 ? -1 : 0;
    if (a >= 0 && H5Aclose(a) < 0)
        rc = -1;
    H5Sclose(space);
    return rc;
}

int shard_put_text(hid_t object, const char *name, const char *value)
{
    hid_t type = shard_type(COLUMN_TEXT, (int64_t)strlen(value));
    int rc = type < 0 ? -1 : put_scalar(object, name, type, value);
    if (rc == 0)
        H5Tclose(type); /* on failure its close would clear the message */
    return rc;
}

int shard_put_i64(hid_t object, const char *name, int64_t value)
{
    return put_scalar(object, name, H5T_STD_I64LE, &value);
}

char *shard_get_attribute(hid_t object, const char *name)
{
    enum { MOST = 1 << 20 };
    char *out = NULL;
    if (H5Aexists(object, name) <= 0)
        return NULL;
    hid_t a = H5Aopen(object, name, H5P_DEFAULT);
    hid_t type = a < 0 ? -1 : H5Aget_type(a), space = a < 0 ? -1 : H5Aget_space(a);
    int64_t i;
    double f;
    if (type < 0 || space < 0 || H5Sget_simple_extent_npoints(space) != 1)
        goto done;
    H5T_class_t class = H5Tget_class(type);
    size_t size = H5Tget_size(type);
    if (class == H5T_STRING && H5Tis_variable_str(type) == 0 && size < MOST) {
        out = mem_alloc((int64_t)size + 1, 1);
        if (H5Aread(a, type, out) < 0) {
            mem_free(out);
            out = NULL;
        }
    } else if (class == H5T_INTEGER && H5Aread(a, H5T_NATIVE_INT64, &i) >= 0) {
        out = text_new("%lld", (long long)i);
    } else if (class == H5T_FLOAT && H5Aread(a, H5T_NATIVE_DOUBLE, &f) >= 0) {
        out = text_new("%.17g", f);
    }
done:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (a >= 0)
        H5Aclose(a);
    return out;
}

bool shard_get_i64(hid_t object, const char *name, int64_t *value)
{
    char *s = shard_get_attribute(object, name);
    bool good = s != NULL && text_to_i64(s, value);
    mem_free(s);
    return good;
}

int shard_put_origin(hid_t root, const char *format)
{
    char hdf5[64], now[32], mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "";
    int n = 0;
    shard_library(hdf5, sizeof hdf5);
    if (MPI_Get_library_version(mpi, &n) != MPI_SUCCESS) /* allowed without MPI_Init */
        mpi[0] = '\0';
    mpi[strcspn(mpi, ",\n")] = '\0';
    const char *const text[][2] = {
        {"format", format},          {"format_version", SHARD_FORMAT_VERSION},
        {"software", "sluice"},      {"software_version", software_version},
        {"commit", software_commit}, {"created", log_now(now)},
        {"hdf5_library", hdf5},      {"mpi_library", mpi},
    };
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (shard_put_text(root, text[i][0], text[i][1]) != 0)
            return -1;
    return 0;
}

struct digest *shard_part_begin(const char *name, enum column_type type, int nd,
                                const int64_t *dim)
{
    struct digest *d = digest_create();
    digest_add_text(d, name);
    digest_add_text(d, shard_type_name(type));
    digest_add_i64(d, nd);
    for (int i = 0; i < nd; i++)
        digest_add_i64(d, dim[i]);
    return d;
}

void shard_part_add(struct digest *d, enum column_type type, int64_t text_len,
                    const void *p, int64_t count)
{
    if (type != COLUMN_TEXT) {
        digest_add(d, p, count * shard_type_size(type, 0));
        return;
    }
    for (int64_t i = 0; i < count;
         i++) { /* without padding: its width must not count */
        const char *s = (const char *)p + i * text_len;
        int64_t n = text_len;
        while (n > 0 && s[n - 1] == '\0')
            n--;
        digest_add_i64(d, n);
        digest_add(d, s, n);
    }
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct shard_part *)a)->name,
                  ((const struct shard_part *)b)->name);
}

void shard_join(struct shard_part *part, int64_t n, char content[DIGEST_HEX])
{
    struct digest *d = digest_create();
    if (n > 1)
        qsort(part, (size_t)n, sizeof *part, by_name);
    for (int64_t i = 0; i < n; i++) {
        digest_add_text(d, part[i].name);
        digest_add_text(d, part[i].hex);
    }
    digest_finish(d, content);
}

/* Opening sealed files. Nothing in a file is believed before it was checked: sizes
 * against the storage that is really there and that against the file's size, types
 * against the six that we write, links only where they lead to a data set of the same
 * file. */
#include "io/seal.h"
#include "io/shard_internal.h"

#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

void shard_close(struct shard *s)
{
    if (s == NULL)
        return;
    if (s->file >= 0)
        H5Fclose(s->file); /* strong: takes the data sets along */
    for (int64_t i = 0; i < s->members; i++)
        mem_free(s->member[i].name);
    mem_free(s->member);
    mem_free(s->head.parent);
    mem_free(s->text);
    mem_free(s->path);
    mem_free(s);
}

/* Says what a file is that HDF5 would refuse with a riddle. */
static int check_plain(const char *path)
{
    static const unsigned char magic[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
    unsigned char head[8];
    struct stat st;
    if (stat(path, &st) != 0)
        return err_set_errno("cannot open", path);
    if (S_ISDIR(st.st_mode))
        return err_set(ERR_INPUT, "%s: is a directory, an HDF5 file was expected",
                       path);
    if (!S_ISREG(st.st_mode))
        return err_set(ERR_INPUT, "%s: is not a regular file", path);
    if (st.st_size == 0)
        return err_set(ERR_INPUT, "%s: is empty", path);
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return err_set_errno("cannot open", path);
    /* behind the seal, or at the start (index.h5, files of others) */
    size_t n = fread(head, 1, sizeof head, f);
    if (n == sizeof head && memcmp(head, magic, sizeof magic) != 0 &&
        fseek(f, SEAL_BYTES, SEEK_SET) == 0)
        n = fread(head, 1, sizeof head, f);
    int bad = ferror(f) ? errno : 0;
    fclose(f);
    if (bad != 0) {
        errno = bad;
        return err_set_errno("cannot read", path);
    }
    if (n != sizeof head || memcmp(head, magic, sizeof magic) != 0)
        return err_set(ERR_INPUT,
                       "%s: is not an HDF5 file (or its first bytes are damaged)",
                       path);
    return 0;
}

static int want_text(struct shard *s, const char *name, char *out, size_t size)
{
    const char *t = shard_attribute(s, name);
    if (t == NULL || strlen(t) >= size)
        return err_set(ERR_INPUT, "%s: the attribute '%s' is missing or damaged",
                       s->path, name);
    snprintf(out, size, "%s", t);
    return 0;
}

static int want_i64(struct shard *s, const char *name, int64_t *out)
{
    if (!shard_get_i64(s->file, name, out))
        return err_set(ERR_INPUT, "%s: the attribute '%s' is missing or damaged",
                       s->path, name);
    return 0;
}

static int read_kind(struct shard *s, int kind)
{
    char name[16];
    if (want_text(s, "kind", name, sizeof name) != 0)
        return -1;
    int k = SHARD_ROLLOUT;
    while (k <= SHARD_STATISTICS && strcmp(name, shard_kind_name((enum shard_kind)k)) != 0)
        k++;
    if (k > SHARD_STATISTICS)
        return err_set(ERR_INPUT, "%s: is of the unknown kind '%s'", s->path, name);
    if (kind >= 0 && kind != k)
        return err_set(ERR_INPUT, "%s: is a %s file, a %s file was expected", s->path,
                       name, shard_kind_name((enum shard_kind)kind));
    s->head.kind = (enum shard_kind)k;
    return 0;
}

static int read_head(struct shard *s, int kind)
{
    char version[16];
    int64_t done = 0;
    struct shard_head *h = &s->head;
    const char *t = shard_attribute(s, "format");
    if (t == NULL || strcmp(t, SHARD_FORMAT) != 0)
        return err_set(ERR_INPUT, "%s: is an HDF5 file but no %s file", s->path,
                       SHARD_FORMAT);
    if (want_text(s, "format_version", version, sizeof version) != 0)
        return -1;
    if (atoi(version) != SHARD_FORMAT_MAJOR)
        return err_set(
            ERR_INPUT,
            "%s: has format version %s, this program reads %d.x; use a newer "
            "release",
            s->path, version, SHARD_FORMAT_MAJOR);
    if (!shard_get_i64(s->file, "complete", &done) || done != 1)
        return err_set(ERR_INPUT, "%s: is incomplete (its writer was interrupted)",
                       s->path);
    if (read_kind(s, kind) != 0 || want_i64(s, "iteration", &h->iteration) != 0 ||
        want_i64(s, "number", &h->number) != 0 ||
        want_i64(s, "policy_version", &h->policy_version) != 0 ||
        want_text(s, "run_id", h->run_id, sizeof h->run_id) != 0 ||
        want_text(s, "config_digest", h->config_digest, sizeof h->config_digest) != 0)
        return -1;
    return want_text(s, "content_sha256", s->content, sizeof s->content);
}

/* Whether the storage holds what the shape claims, so that sizes taken from here are
 * bounded by the file's size. Chunked without compression is all that we write. */
static bool storage_fits(const struct shard *s, const struct shard_member *m)
{
    hsize_t chunk[SHARD_MAX_ND];
    int64_t size = shard_type_size(m->type, m->text_len), bytes, chunk_bytes = size;
    hid_t how = H5Dget_create_plist(m->set);
    bool good = how >= 0 && H5Pget_layout(how) == H5D_CHUNKED &&
                H5Pget_chunk(how, m->nd, chunk) == m->nd;
    for (int i = 0; i < m->nd && good; i++)
        good = chunk[i] <= INT64_MAX &&
               !__builtin_mul_overflow(chunk_bytes, (int64_t)chunk[i], &chunk_bytes);
    if (how >= 0)
        H5Pclose(how);
    if (!good || __builtin_mul_overflow(m->count, size, &bytes))
        return false;
    if (bytes == 0)
        return true;
    if (bytes > s->file_size || chunk_bytes > s->file_size)
        return false;
    hsize_t stored = H5Dget_storage_size(m->set);
    return stored >= (hsize_t)bytes && stored <= (hsize_t)s->file_size;
}

/* 1: a column; 0: something to ignore; -1: damaged. */
static int read_member(struct shard *s, hid_t group, const char *name,
                       struct shard_member *m)
{
    hsize_t dim[H5S_MAX_RANK];
    int rc = -1;
    hid_t type = -1, space = -1;
    m->set = H5Dopen2(group, name, H5P_DEFAULT);
    if (m->set < 0)
        return shard_fail(ERR_INPUT, s->path, "cannot open the column '%s'", name);
    if (H5Aexists(m->set, SHARD_AXIS_ONLY) > 0) {
        rc = 0;
        goto done;
    }
    type = H5Dget_type(m->set);
    space = H5Dget_space(m->set);
    if (type < 0 || space < 0)
        goto done;
    m->nd = H5Sget_simple_extent_ndims(space);
    if (!shard_type_of(type, &m->type, &m->text_len) || m->nd < 1 ||
        m->nd > SHARD_MAX_ND) {
        rc = 0; /* what a later minor version may have added */
        goto done;
    }
    bool good = H5Sget_simple_extent_dims(space, dim, NULL) == m->nd;
    m->count = m->row = 1;
    for (int i = 0; i < m->nd && good; i++) {
        good = dim[i] <= INT64_MAX / 2 &&
               !__builtin_mul_overflow(m->count, (int64_t)dim[i], &m->count) &&
               (i == 0 || !__builtin_mul_overflow(m->row, (int64_t)dim[i], &m->row));
        m->dim[i] = (int64_t)dim[i];
    }
    if (!good || !storage_fits(s, m))
        err_set(ERR_INPUT,
                "%s: the column '%s' claims more values than the file holds; it is "
                "damaged",
                s->path, name);
    else
        rc = 1;
done:
    if (space >= 0)
        H5Sclose(space);
    if (type >= 0)
        H5Tclose(type);
    if (rc != 1) {
        H5Dclose(m->set);
        m->set = H5I_INVALID_HID;
    }
    if (rc < 0 && (type < 0 || space < 0))
        err_set(ERR_INPUT, "%s: the column '%s' is damaged", s->path, name);
    return rc;
}

/* Name of link i, by name; NULL when it is no hard link to a data set. */
static char *link_name(struct shard *s, hsize_t i, bool *bad)
{
    H5L_info_t link;
    H5O_info_t object;
    ssize_t n = H5Lget_name_by_idx(s->file, ".", H5_INDEX_NAME, H5_ITER_INC, i, NULL, 0,
                                   H5P_DEFAULT);
    *bad = true;
    if (n <= 0 || n > 4096)
        return NULL;
    char *name = mem_alloc(n + 1, 1);
    *bad = H5Lget_name_by_idx(s->file, ".", H5_INDEX_NAME, H5_ITER_INC, i, name,
                              (size_t)n + 1, H5P_DEFAULT) != n ||
           H5Lget_info(s->file, name, &link, H5P_DEFAULT) < 0;
    if (!*bad && link.type == H5L_TYPE_HARD) {
        *bad = H5Oget_info_by_name2(s->file, name, &object, H5O_INFO_BASIC,
                                    H5P_DEFAULT) < 0;
        if (!*bad && object.type == H5O_TYPE_DATASET)
            return name;
    }
    mem_free(name);
    return NULL;
}

static int read_members(struct shard *s)
{
    H5G_info_t info;
    if (H5Gget_info(s->file, &info) < 0 || info.nlinks > SHARD_MEMBERS_MOST)
        return shard_fail(ERR_INPUT, s->path, "the list of columns is damaged");
    s->member = mem_alloc((int64_t)info.nlinks, sizeof *s->member);
    for (hsize_t i = 0; i < info.nlinks; i++) {
        bool bad;
        char *name = link_name(s, i, &bad);
        if (name == NULL && bad)
            return shard_fail(ERR_INPUT, s->path, "the list of columns is damaged");
        if (name == NULL)
            continue;
        struct shard_member *m = &s->member[s->members];
        int rc = read_member(s, s->file, name, m);
        if (rc == 1) {
            m->name = name;
            s->members++;
            continue;
        }
        mem_free(name);
        if (rc < 0)
            return -1;
    }
    return 0;
}

/* "parents/NAME" as n texts of at most `most` bytes, stride most + 1. */
static char *read_parent_texts(struct shard *s, const char *name, int64_t most,
                               int64_t *n)
{
    struct shard_member m = {0};
    char *raw = NULL, *out = NULL;
    int rc = read_member(s, s->file, name, &m);
    if (rc < 0)
        return NULL;
    if (rc == 0 || m.type != COLUMN_TEXT || m.nd != 1 || m.count > SHARD_MAX_PARENTS) {
        err_set(ERR_INPUT, "%s: '%s' is damaged", s->path, name);
        goto done;
    }
    raw = mem_alloc(m.count * m.text_len, 1);
    hid_t type = shard_type(COLUMN_TEXT, m.text_len);
    if (m.count > 0 && H5Dread(m.set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, raw) < 0) {
        shard_fail(ERR_INPUT, s->path, "cannot read '%s'", name);
    } else {
        out = mem_alloc(m.count * (most + 1), 1);
        for (int64_t i = 0; i < m.count; i++)
            memcpy(out + i * (most + 1), raw + i * m.text_len,
                   strnlen(raw + i * m.text_len,
                           (size_t)(m.text_len < most ? m.text_len : most)));
        *n = m.count;
    }
    H5Tclose(type);
done:
    if (rc == 1)
        H5Dclose(m.set);
    mem_free(raw);
    return out;
}

static int read_parents(struct shard *s)
{
    enum { PATH = sizeof s->head.parent->path, CONTENT = DIGEST_HEX };
    int64_t n = 0, m = 0;
    char *path = read_parent_texts(s, "parents/path", PATH - 1, &n);
    char *content =
        path == NULL ? NULL : read_parent_texts(s, "parents/content", CONTENT - 1, &m);
    int rc = content == NULL ? -1 : 0;
    if (rc == 0 && n != m)
        rc = err_set(ERR_INPUT, "%s: has %lld parents but %lld digests of them",
                     s->path, (long long)n, (long long)m);
    if (rc == 0) {
        s->head.parent = mem_alloc(n, sizeof *s->head.parent);
        s->head.parents = n;
    }
    for (int64_t i = 0; i < n && rc == 0; i++) {
        memcpy(s->head.parent[i].path, path + i * PATH, PATH);
        memcpy(s->head.parent[i].content, content + i * CONTENT, CONTENT);
    }
    mem_free(path);
    mem_free(content);
    return rc;
}

struct shard *shard_open(const char *path, int kind)
{
    shard_quiet();
    if (check_plain(path) != 0)
        return NULL;
    struct shard *s = mem_alloc(1, sizeof *s);
    s->path = mem_text(path);
    s->file_size = file_size(path);
    hid_t access = shard_access();
    s->file = H5Fopen(path, H5F_ACC_RDONLY, access);
    if (s->file < 0)
        shard_fail(ERR_INPUT, path, "cannot be read as an HDF5 file");
    H5Pclose(access);
    if (s->file < 0 || read_head(s, kind) != 0 || read_members(s) != 0 ||
        read_parents(s) != 0) {
        shard_close(s);
        return NULL;
    }
    return s;
}

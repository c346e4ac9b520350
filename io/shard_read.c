/* Reading columns of an opened file, and recomputing its content digest. */
#include "io/seal.h"
#include "io/shard_internal.h"

#include "io/sys/mem.h"

#include <string.h>

enum { BLOCK_BYTES = 16 << 20 }; /* read at a time when the digest is recomputed */

const struct shard_head *shard_head(const struct shard *s)
{
    return &s->head;
}

const char *shard_content(const struct shard *s)
{
    return s->content;
}

const char *shard_attribute(struct shard *s, const char *name)
{
    mem_free(s->text);
    s->text = shard_get_attribute(s->file, name);
    return s->text;
}

static struct shard_member *find(struct shard *s, const char *name)
{
    for (int64_t i = 0; i < s->members; i++)
        if (strcmp(s->member[i].name, name) == 0)
            return &s->member[i];
    return NULL;
}

const char *shard_label(struct shard *s, const char *column, const char *name)
{
    struct shard_member *m = find(s, column);
    mem_free(s->text);
    s->text = m == NULL ? NULL : shard_get_attribute(m->set, name);
    return s->text;
}

bool shard_has(struct shard *s, const char *name, enum column_type *type, int *nd,
               int64_t dim[SHARD_MAX_ND])
{
    const struct shard_member *m = find(s, name);
    if (m == NULL)
        return false;
    if (type != NULL)
        *type = m->type;
    if (nd != NULL)
        *nd = m->nd;
    if (dim != NULL)
        memcpy(dim, m->dim, sizeof m->dim);
    return true;
}

static struct shard_member *want(struct shard *s, const char *name,
                                 enum column_type type)
{
    struct shard_member *m = find(s, name);
    if (m == NULL) {
        err_set(ERR_INPUT, "%s: has no column '%s'", s->path, name);
        return NULL;
    }
    if (m->type == type)
        return m;
    err_set(ERR_INPUT, "%s: the column '%s' is of type %s, %s was expected", s->path,
            name, shard_type_name(m->type), shard_type_name(type));
    return NULL;
}

static int read_rows(struct shard *s, struct shard_member *m, int64_t first,
                     int64_t count, void *out)
{
    hsize_t start[SHARD_MAX_ND] = {(hsize_t)first}, block[SHARD_MAX_ND];
    for (int i = 0; i < m->nd; i++)
        block[i] = (hsize_t)(i == 0 ? count : m->dim[i]);
    if (count == 0 || m->row == 0)
        return 0;
    int rc = 0;
    hid_t type = shard_type(m->type, m->text_len), file = H5Dget_space(m->set);
    hid_t memory = H5Screate_simple(m->nd, block, NULL);
    if (type < 0 || file < 0 || memory < 0 ||
        H5Sselect_hyperslab(file, H5S_SELECT_SET, start, NULL, block, NULL) < 0 ||
        H5Dread(m->set, type, memory, file, H5P_DEFAULT, out) < 0)
        rc = shard_fail(ERR_INPUT, s->path, "cannot read the column '%s'", m->name);
    H5Sclose(memory);
    H5Sclose(file);
    H5Tclose(type);
    return rc;
}

void *shard_get(struct shard *s, const char *name, enum column_type type, int nd,
                const int64_t *expect, int64_t dim_out[SHARD_MAX_ND])
{
    struct shard_member *m = want(s, name, type);
    if (m == NULL)
        return NULL;
    if (expect != NULL) {
        bool same = nd == m->nd;
        for (int i = 0; i < nd && same; i++)
            same = expect[i] < 0 || expect[i] == m->dim[i];
        if (!same) {
            struct text t = {0};
            for (int i = 0; i < m->nd; i++)
                text_add(&t, "%s%lld", i > 0 ? ", " : "", (long long)m->dim[i]);
            text_add(&t, "], expected [");
            for (int i = 0; i < nd; i++)
                text_add(&t, expect[i] < 0 ? "%sany" : "%s%lld", i > 0 ? ", " : "",
                         (long long)expect[i]);
            err_set(ERR_INPUT, "%s: the column '%s' has the shape [%s]", s->path, name,
                    t.s);
            text_free(&t);
            return NULL;
        }
    }
    void *out = mem_alloc(m->count, (size_t)shard_type_size(m->type, m->text_len));
    if (read_rows(s, m, 0, m->dim[0], out) != 0) {
        mem_free(out);
        return NULL;
    }
    if (dim_out != NULL)
        memcpy(dim_out, m->dim, sizeof m->dim);
    return out;
}

int shard_get_rows(struct shard *s, const char *name, enum column_type type,
                   int64_t first, int64_t count, void *out)
{
    struct shard_member *m = want(s, name, type);
    if (m == NULL)
        return -1;
    if (first < 0 || count < 0 || first > m->dim[0] - count)
        return err_set(ERR_INPUT,
                       "%s: the column '%s' has %lld rows, %lld from %lld on "
                       "were asked for",
                       s->path, name, (long long)m->dim[0], (long long)count,
                       (long long)first);
    return read_rows(s, m, first, count, out);
}

char *shard_get_text(struct shard *s, const char *name, int64_t *n, int64_t *text_len)
{
    struct shard_member *m = want(s, name, COLUMN_TEXT);
    if (m == NULL)
        return NULL;
    int64_t stride = m->text_len + 1;
    char *raw = mem_alloc(m->count, (size_t)m->text_len), *out = NULL;
    if (read_rows(s, m, 0, m->dim[0], raw) == 0) {
        out = mem_alloc(m->count, (size_t)stride);
        for (int64_t i = 0; i < m->count; i++)
            memcpy(out + i * stride, raw + i * m->text_len, (size_t)m->text_len);
        *n = m->count;
        *text_len = stride;
    }
    mem_free(raw);
    return out;
}

int64_t shard_columns(struct shard *s, char ***names)
{
    *names = mem_alloc(s->members, sizeof **names);
    for (int64_t i = 0; i < s->members; i++) /* HDF5 lists them in byte order */
        (*names)[i] = mem_text(s->member[i].name);
    return s->members;
}

struct name_list {
    char **name;
    int64_t n, cap;
};

static herr_t add_name(hid_t object, const char *name, const H5A_info_t *info,
                       void *ctx)
{
    struct name_list *l = ctx;
    (void)object;
    (void)info;
    if (l->n == l->cap) {
        l->name = mem_resize(l->name, l->cap, l->cap * 2 + 16, sizeof *l->name);
        l->cap = l->cap * 2 + 16;
    }
    l->name[l->n++] = mem_text(name);
    return l->n < SHARD_MEMBERS_MOST ? 0 : 1;
}

int64_t shard_attributes(struct shard *s, char ***names)
{
    struct name_list l = {0};
    hsize_t at = 0;
    H5Aiterate2(s->file, H5_INDEX_NAME, H5_ITER_INC, &at, add_name, &l);
    *names = l.name;
    return l.n;
}

static int recompute_column(struct shard *s, struct shard_member *m,
                            char hex[DIGEST_HEX])
{
    int64_t size = shard_type_size(m->type, m->text_len);
    int64_t row_bytes = m->row * size;
    int64_t rows =
        row_bytes < BLOCK_BYTES ? BLOCK_BYTES / (row_bytes > 0 ? row_bytes : 1) : 1;
    if (rows > m->dim[0])
        rows = m->dim[0];
    char *buf = mem_alloc(m->count > 0 ? rows * m->row : 0, (size_t)size);
    struct digest *d = shard_part_begin(m->name, m->type, m->nd, m->dim);
    int rc = 0;
    for (int64_t at = 0; at < m->dim[0] && m->count > 0 && rc == 0; at += rows) {
        int64_t n = m->dim[0] - at < rows ? m->dim[0] - at : rows;
        rc = read_rows(s, m, at, n, buf);
        if (rc == 0)
            shard_part_add(d, m->type, m->text_len, buf, n * m->row);
    }
    digest_finish(d, hex);
    mem_free(buf);
    return rc;
}

static int recompute(struct shard *s, char content[DIGEST_HEX])
{
    struct shard_part *part = mem_alloc(s->members, sizeof *part);
    int rc = 0;
    for (int64_t i = 0; i < s->members && rc == 0; i++) {
        part[i].name = s->member[i].name;
        rc = recompute_column(s, &s->member[i], part[i].hex);
    }
    if (rc == 0)
        shard_join(part, s->members, content);
    mem_free(part);
    return rc;
}

int shard_recompute(struct shard *s, char content[DIGEST_HEX])
{
    return seal_check(s->path, NULL) != 0 ? -1 : recompute(s, content);
}

int shard_verify(const char *path)
{
    char hex[DIGEST_HEX];
    bool sealed = false;
    if (seal_check(path, &sealed) != 0)
        return -1;
    struct shard *s = shard_open(path, -1);
    if (s == NULL)
        return -1;
    int rc = sealed ? 0
                    : err_set(ERR_INPUT,
                              "%s: bears no seal; the file is damaged or was altered",
                              path);
    if (rc == 0)
        rc = recompute(s, hex);
    if (rc == 0 && strcmp(hex, s->content) != 0)
        rc = err_set(ERR_INPUT,
                     "%s: the values do not belong to the stored "
                     "content_sha256; the file was altered",
                     path);
    shard_close(s);
    return rc;
}

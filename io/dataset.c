/* Training data. Every size in a header is checked against the file before it is used;
 * what does not fit exactly is refused. */
#include "io/dataset.h"

#include "io/csv.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { CIFAR_PLANES = 3 * 32 * 32, CIFAR_RECORD = 1 + CIFAR_PLANES };
#define MAX_LABEL 1000000

/* A mapped file. */
struct source {
    const char *path;
    const unsigned char *p;
    int64_t len;
};

static float pixel(unsigned char v)
{
    return (float)v / 127.5f - 1.0f;
}

static int64_t total(const struct dataset *d)
{
    return d->n * d->channels * d->height * d->width;
}

/* Fills the shape from dim[nd], the first of them the samples: [n, w], [n, h, w] or
 * [n, c, h, w]. The product times item bytes must be what follows the header. */
static int set_shape(struct dataset *d, const struct source *s, const int64_t *dim,
                     int nd, int64_t item, int64_t header)
{
    int64_t count = item;
    if (nd < 2 || nd > 4)
        return err_set(
            ERR_INPUT,
            "%s: has %d dimensions, [samples, width], [samples, height, width] "
            "or [samples, channels, height, width] is expected",
            s->path, nd);
    for (int i = 0; i < nd; i++)
        if (dim[i] < 1 || __builtin_mul_overflow(count, dim[i], &count))
            return err_set(ERR_INPUT, "%s: dimension %d of %lld makes no sense",
                           s->path, i, (long long)dim[i]);
    if (count != s->len - header)
        return err_set(
            ERR_INPUT,
            "%s: the header promises %lld bytes of data, the file holds %lld", s->path,
            (long long)count, (long long)(s->len - header));
    d->n = dim[0];
    d->channels = nd == 4 ? dim[1] : 1;
    d->height = nd >= 3 ? dim[nd - 2] : 1;
    d->width = dim[nd - 1];
    return 0;
}

static void set_pixels(struct dataset *d, const unsigned char *p)
{
    int64_t n = total(d);
    d->sample = mem_alloc(n, sizeof *d->sample);
    for (int64_t i = 0; i < n; i++)
        d->sample[i] = pixel(p[i]);
}

static int read_cifar(struct dataset *d, const struct source *s)
{
    if (s->len == 0 || s->len % CIFAR_RECORD != 0)
        return err_set(ERR_INPUT,
                       "%s: %lld bytes are no whole number of %d-byte records", s->path,
                       (long long)s->len, CIFAR_RECORD);
    *d = (struct dataset){
        .n = s->len / CIFAR_RECORD, .channels = 3, .height = 32, .width = 32};
    d->sample = mem_alloc(total(d), sizeof *d->sample);
    d->label = mem_alloc(d->n, sizeof *d->label);
    for (int64_t i = 0; i < d->n; i++) {
        const unsigned char *record = s->p + i * CIFAR_RECORD;
        d->label[i] = record[0];
        for (int64_t k = 0; k < CIFAR_PLANES; k++)
            d->sample[i * CIFAR_PLANES + k] = pixel(record[1 + k]);
    }
    return 0;
}

/* The header of an idx file of unsigned bytes; returns its length, 0 on error. */
static int64_t idx_header(const struct source *s, int64_t dim[4], int *nd)
{
    if (s->len < 4 || s->p[0] != 0 || s->p[1] != 0) {
        err_set(ERR_INPUT, "%s: is no idx file (two zero bytes come first)", s->path);
        return 0;
    }
    if (s->p[2] != 0x08) {
        err_set(ERR_INPUT, "%s: idx type 0x%02x, only 0x08 (unsigned bytes) is read",
                s->path, s->p[2]);
        return 0;
    }
    *nd = s->p[3];
    int64_t header = 4 + 4 * (int64_t)*nd;
    if (*nd < 1 || *nd > 4 || header > s->len) {
        err_set(ERR_INPUT, "%s: idx header with %d dimensions in %lld bytes", s->path,
                *nd, (long long)s->len);
        return 0;
    }
    for (int i = 0; i < *nd; i++) {
        const unsigned char *q = s->p + 4 + 4 * i;
        dim[i] = (int64_t)q[0] << 24 | q[1] << 16 | q[2] << 8 | q[3];
    }
    return header;
}

static int read_idx_labels(struct dataset *d, const char *path)
{
    struct source s = {path, NULL, 0};
    int64_t dim[4];
    int rc = -1, nd = 0;
    if (file_map(path, &s.p, &s.len) != 0)
        return -1;
    int64_t header = idx_header(&s, dim, &nd);
    if (header == 0)
        goto done;
    if (nd != 1 || dim[0] != d->n || s.len - header != d->n) {
        err_set(ERR_INPUT, "%s: %lld labels are needed, one for each sample", path,
                (long long)d->n);
        goto done;
    }
    d->label = mem_alloc(d->n, sizeof *d->label);
    for (int64_t i = 0; i < d->n; i++)
        d->label[i] = s.p[header + i];
    rc = 0;
done:
    file_unmap(s.p, s.len);
    return rc;
}

static int read_idx(struct dataset *d, const struct source *s, const char *labels)
{
    int64_t dim[4];
    int nd = 0;
    int64_t header = idx_header(s, dim, &nd);
    if (header == 0 || set_shape(d, s, dim, nd, 1, header) != 0)
        return -1;
    set_pixels(d, s->p + header);
    return labels == NULL ? 0 : read_idx_labels(d, labels);
}

/* The text after 'key': in an npy header, or NULL. */
static const char *npy_field(const char *header, const char *key)
{
    const char *p = strstr(header, key);
    if (p == NULL)
        return NULL;
    p += strlen(key);
    p += strspn(p, " ");
    return *p == ':' ? p + 1 + strspn(p + 1, " ") : NULL;
}

/* "(1410, 24)" -> dim; returns the number of dimensions, 0 when it is malformed. */
static int npy_shape(const char *p, int64_t dim[4])
{
    int nd = 0;
    if (*p++ != '(')
        return 0;
    for (;;) {
        p += strspn(p, " ");
        if (*p == ')')
            return nd;
        char *end = NULL;
        if (nd == 4 || *p < '0' || *p > '9')
            return 0;
        dim[nd++] = strtoll(p, &end, 10);
        p = end + strspn(end, " ");
        if (*p == ',')
            p++;
        else if (*p != ')')
            return 0;
    }
}

static int npy_values(struct dataset *d, const struct source *s, int64_t at)
{
    int64_t n = total(d);
    d->sample = mem_alloc(n, sizeof *d->sample);
    memcpy(d->sample, s->p + at, (size_t)n * sizeof *d->sample);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(d->sample[i]))
            return err_set(ERR_INPUT, "%s: value %lld is not finite", s->path,
                           (long long)i);
    return 0;
}

static int read_npy(struct dataset *d, const struct source *s)
{
    int64_t dim[4], at = 0, header = 0;
    const unsigned char *p = s->p;
    if (s->len >= 10 && memcmp(p, "\x93NUMPY", 6) == 0 && p[6] == 1) {
        at = 10;
        header = p[8] | p[9] << 8;
    } else if (s->len >= 12 && memcmp(p, "\x93NUMPY", 6) == 0 && p[6] == 2) {
        at = 12;
        header = p[8] | p[9] << 8 | p[10] << 16 | (int64_t)p[11] << 24;
    } else {
        return err_set(ERR_INPUT, "%s: is no npy file of version 1 or 2", s->path);
    }
    if (header > s->len - at || header > 65536)
        return err_set(ERR_INPUT, "%s: an npy header of %lld bytes does not fit",
                       s->path, (long long)header);
    char *text = text_new("%.*s", (int)header, (const char *)p + at);
    const char *descr = npy_field(text, "'descr'");
    const char *order = npy_field(text, "'fortran_order'");
    const char *shape = npy_field(text, "'shape'");
    bool real = descr != NULL && strncmp(descr, "'<f4'", 5) == 0;
    int rc = -1, nd = shape == NULL ? 0 : npy_shape(shape, dim);
    if (!real && (descr == NULL || strncmp(descr, "'|u1'", 5) != 0))
        err_set(ERR_INPUT,
                "%s: dtype %.16s; float32 ('<f4') and uint8 ('|u1') are read", s->path,
                descr == NULL ? "missing" : descr);
    else if (order == NULL || strncmp(order, "False", 5) != 0)
        err_set(ERR_INPUT, "%s: save it in C order (numpy.ascontiguousarray)", s->path);
    else if (nd == 0)
        err_set(ERR_INPUT, "%s: the npy header has no usable shape", s->path);
    else
        rc = set_shape(d, s, dim, nd, real ? 4 : 1, at + header);
    if (rc == 0 && real)
        rc = npy_values(d, s, at + header);
    else if (rc == 0)
        set_pixels(d, p + at + header);
    mem_free(text);
    return rc;
}

/* Numbers of one line of csv. */
struct row {
    double *v;
    int64_t n, cap;
};

/* Parses a line into r; the column (from 1) of the first field that is no number of a
 * float's range, 0 when all are. */
static int64_t read_row(struct row *r, struct csv *c)
{
    struct csv_field f;
    for (r->n = 0; csv_field(c, &f); r->n++) {
        if (r->n == r->cap) {
            r->v = mem_resize(r->v, r->cap, r->cap * 2 + 64, sizeof *r->v);
            r->cap = r->cap * 2 + 64;
        }
        if (!csv_number(&f, &r->v[r->n]) || fabs(r->v[r->n]) > FLT_MAX)
            return r->n + 1;
    }
    return 0;
}

static int add_row(struct dataset *d, const struct row *r, bool labelled, int64_t *cap)
{
    int64_t w = d->width;
    if (d->n == *cap) {
        int64_t more = *cap * 2 + 256;
        d->sample = mem_resize(d->sample, *cap * w, more * w, sizeof *d->sample);
        if (labelled)
            d->label = mem_resize(d->label, *cap, more, sizeof *d->label);
        *cap = more;
    }
    for (int64_t k = 0; k < w; k++)
        d->sample[d->n * w + k] = (float)r->v[k];
    if (labelled) {
        double v = r->v[w];
        if (v < 0 || v > MAX_LABEL || v != floor(v))
            return err_set(ERR_INPUT, "label %g is no class number from 0 to %d", v,
                           MAX_LABEL);
        d->label[d->n] = (int64_t)v;
    }
    d->n++;
    return 0;
}

/* A first line that does not begin with a number is a header. */
static int read_csv(struct dataset *d, const struct source *s, bool labelled)
{
    struct row r = {0};
    struct csv c;
    int64_t cap = 0;
    int rc = 0;
    *d = (struct dataset){.channels = 1, .height = 1};
    csv_begin(&c, s->path, s->p, s->len);
    while (rc == 0 && csv_next(&c)) {
        int64_t bad = read_row(&r, &c);
        if (c.number == 1 && bad == 1)
            continue;
        if (d->n == 0)
            d->width = r.n - labelled;
        if (bad != 0)
            rc = err_set(ERR_INPUT, "%s:%lld: column %lld is not a finite number",
                         s->path, (long long)c.number, (long long)bad);
        else if (r.n != d->width + labelled || d->width < 1)
            rc = err_set(ERR_INPUT, "%s:%lld: has %lld columns, %lld are expected",
                         s->path, (long long)c.number, (long long)r.n,
                         (long long)(d->n == 0 ? 2 : d->width + labelled));
        else if (add_row(d, &r, labelled, &cap) != 0)
            rc = csv_where(&c);
    }
    if (rc == 0 && d->n == 0)
        rc = err_set(ERR_INPUT, "%s: holds no rows of numbers", s->path);
    mem_free(r.v);
    return rc;
}

static bool ends_with(const char *s, const char *end)
{
    size_t n = strlen(s), m = strlen(end);
    return n >= m && strcmp(s + n - m, end) == 0;
}

static const char *guess(const struct source *s)
{
    if (s->len >= 6 && memcmp(s->p, "\x93NUMPY", 6) == 0)
        return "npy";
    if (ends_with(s->path, ".csv"))
        return "csv";
    if (s->len > 0 && s->len % CIFAR_RECORD == 0)
        return "cifar";
    if (s->len >= 4 && s->p[0] == 0 && s->p[1] == 0 && s->p[2] == 0x08 && s->p[3] <= 4)
        return "idx";
    return NULL;
}

int dataset_read(struct dataset *d, const char *path, const char *format,
                 const char *labels)
{
    struct source s = {path, NULL, 0};
    int rc = -1;
    *d = (struct dataset){0};
    if (labels != NULL && labels[0] == '\0')
        labels = NULL;
    if (strcmp(format, "hdf5") == 0 || dataset_is_hdf5(path))
        return labels == NULL ? dataset_read_hdf5(d, path)
                              : err_set(ERR_USAGE, "labels '%s': HDF5 has FILE.h5:/NAME",
                                        labels);
    if (file_map(path, &s.p, &s.len) != 0)
        return -1;
    if (strcmp(format, "auto") == 0)
        format = guess(&s);
    if (format == NULL)
        err_set(ERR_INPUT, "%s: its format is not recognised; set `format`",
                path);
    else if (strcmp(format, "csv") == 0)
        rc = labels == NULL || strcmp(labels, "last") == 0
                 ? read_csv(d, &s, labels != NULL)
                 : err_set(ERR_USAGE, "labels '%s': for csv only 'last' has a meaning",
                           labels);
    else if (strcmp(format, "idx") == 0)
        rc = read_idx(d, &s, labels);
    else if (labels != NULL)
        err_set(ERR_USAGE, "labels '%s': a %s file takes none", labels, format);
    else if (strcmp(format, "cifar") == 0)
        rc = read_cifar(d, &s);
    else if (strcmp(format, "npy") == 0)
        rc = read_npy(d, &s);
    else
        err_set(ERR_USAGE, "data format '%s': one of auto, cifar, idx, npy, csv, hdf5",
                format);
    file_unmap(s.p, s.len);
    if (rc != 0)
        dataset_free(d);
    for (int64_t i = 0; rc == 0 && d->label != NULL && i < d->n; i++)
        if (d->label[i] >= d->classes)
            d->classes = d->label[i] + 1;
    d->factors = rc == 0 && d->label != NULL;
    d->factor[0] = d->classes;
    return rc;
}

void dataset_first(struct dataset *d, int64_t n)
{
    d->n = n < d->n ? n : d->n;
}

void dataset_keep(struct dataset *d, const int64_t *keep, int64_t n)
{
    int64_t size = d->channels * d->height * d->width, kept = 0;
    if (n == 0 || d->label == NULL)
        return;
    for (int64_t i = 0; i < d->n; i++) {
        bool wanted = false;
        for (int64_t k = 0; k < n; k++)
            wanted = wanted || d->label[i] == keep[k];
        if (!wanted)
            continue;
        memmove(d->sample + kept * size, d->sample + i * size,
                (size_t)size * sizeof *d->sample);
        d->label[kept++] = d->label[i];
    }
    d->n = kept;
}

void dataset_free(struct dataset *d)
{
    mem_free(d->sample);
    mem_free(d->label);
    *d = (struct dataset){0};
}

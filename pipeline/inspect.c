/* Statistics of files. Columns are read in blocks, so that a file larger than memory
 * can be looked at. */
#include "pipeline/inspect.h"

#include "io/safetensors.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK_BYTES = 16 << 20 };

/* Sums about the first value, which keeps the variance of a large mean exact enough. */
struct sums {
    double shift, first, second, min, max;
    int64_t n, nan;
};

static void sums_add(struct sums *s, double v)
{
    if (isnan(v)) {
        s->nan++;
        return;
    }
    if (s->n++ == 0) {
        s->shift = isfinite(v) ? v : 0;
        s->min = s->max = v;
    }
    double d = v - s->shift;
    s->first += d;
    s->second += d * d;
    if (v < s->min)
        s->min = v;
    if (v > s->max)
        s->max = v;
}

static struct inspect_stats sums_finish(const struct sums *s)
{
    struct inspect_stats r = {NAN, NAN, NAN, NAN, s->nan, -1};
    if (s->n == 0)
        return r;
    double n = (double)s->n, mean = s->first / n;
    r.min = s->min;
    r.max = s->max;
    r.mean = s->shift + mean;
    r.std = sqrt(fmax(s->second / n - mean * mean, 0));
    return r;
}

static void add_values(struct sums *s, enum column_type type, const void *p, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = 0;
        switch (type) {
        case COLUMN_F32:
            v = ((const float *)p)[i];
            break;
        case COLUMN_F64:
            v = ((const double *)p)[i];
            break;
        case COLUMN_I32:
            v = ((const int32_t *)p)[i];
            break;
        case COLUMN_I64:
            v = (double)((const int64_t *)p)[i];
            break;
        default:
            v = ((const uint8_t *)p)[i];
        }
        sums_add(s, v);
    }
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int count_distinct(struct shard *s, const char *name, struct inspect_stats *out)
{
    int64_t n = 0, stride = 0;
    char *text = shard_get_text(s, name, &n, &stride);
    if (text == NULL)
        return -1;
    char **at = mem_alloc(n, sizeof *at);
    for (int64_t i = 0; i < n; i++)
        at[i] = text + i * stride;
    if (n > 1)
        qsort(at, (size_t)n, sizeof *at, by_text);
    *out = (struct inspect_stats){NAN, NAN, NAN, NAN, 0, n > 0};
    for (int64_t i = 1; i < n; i++)
        out->distinct += strcmp(at[i], at[i - 1]) != 0;
    mem_free(at);
    mem_free(text);
    return 0;
}

static int column_stats(struct shard *s, const char *name, struct inspect_stats *out)
{
    static const int64_t size[] = {4, 8, 4, 8, 1};
    enum column_type type;
    int nd, rc = 0;
    int64_t dim[SHARD_MAX_ND], row = 1;
    struct sums sums = {0};
    shard_has(s, name, &type, &nd, dim);
    if (type == COLUMN_TEXT)
        return count_distinct(s, name, out);
    for (int i = 1; i < nd; i++)
        row *= dim[i];
    int64_t fit = row > 0 ? BLOCK_BYTES / size[type] / row : 1;
    int64_t rows = fit < 1 ? 1 : fit < dim[0] ? fit : dim[0];
    void *buf = mem_alloc(row > 0 ? rows * row : 0, (size_t)size[type]);
    for (int64_t at = 0; at < dim[0] && row > 0 && rc == 0; at += rows) {
        int64_t n = dim[0] - at < rows ? dim[0] - at : rows;
        rc = shard_get_rows(s, name, type, at, n, buf);
        if (rc == 0)
            add_values(&sums, type, buf, n * row);
    }
    mem_free(buf);
    *out = sums_finish(&sums);
    return rc;
}

static int read_column(struct shard *s, const char *name, struct inspect_column *c)
{
    enum column_type type;
    if (!shard_has(s, name, &type, &c->nd, c->dim))
        return err_set(ERR_INPUT, "the column '%s' vanished", name);
    c->name = mem_text(name);
    c->type = shard_type_name(type);
    c->units = mem_text(shard_label(s, name, "units"));
    c->long_name = mem_text(shard_label(s, name, "long_name"));
    return column_stats(s, name, &c->stats);
}

static int read_shard(const char *path, struct inspect_file *out)
{
    char **name = NULL;
    int64_t n = 0;
    struct shard *s = shard_open(path, -1);
    if (s == NULL)
        return -1;
    out->kind = shard_kind_name(shard_head(s)->kind);
    memcpy(out->stored, shard_content(s), sizeof out->stored);
    n = shard_attributes(s, &name);
    out->attribute = mem_alloc(n, sizeof *out->attribute);
    for (int64_t i = 0; i < n; i++) {
        const char *value = shard_attribute(s, name[i]);
        if (value != NULL)
            out->attribute[out->attributes++] =
                (struct inspect_attribute){mem_text(name[i]), mem_text(value)};
    }
    file_list_free(name, n);
    n = shard_columns(s, &name);
    out->column = mem_alloc(n, sizeof *out->column);
    int rc = 0;
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = read_column(s, name[i], &out->column[out->columns++]);
    file_list_free(name, n);
    if (rc == 0)
        rc = shard_recompute(s, out->content);
    shard_close(s);
    return rc;
}

static const struct {
    const char *name;
    int64_t size;
} tensor_type[] = {
    [ST_F64] = {"f64", 8},   [ST_F32] = {"f32", 4},   [ST_F16] = {"f16", 2},
    [ST_BF16] = {"bf16", 2}, [ST_I64] = {"i64", 8},   [ST_I32] = {"i32", 4},
    [ST_U8] = {"u8", 1},     [ST_BOOL] = {"bool", 1}, [ST_I16] = {"i16", 2},
    [ST_I8] = {"i8", 1},     [ST_U64] = {"u64", 8},   [ST_U32] = {"u32", 4},
    [ST_U16] = {"u16", 2},   [ST_OTHER] = {"f8", 1},
};

static void tensor_stats(const struct st_tensor *t, struct inspect_stats *out)
{
    struct sums sums = {0};
    double *v = mem_alloc(t->count, sizeof *v);
    if (st_to_f64(t, v) == 0)
        for (int64_t i = 0; i < t->count; i++)
            sums_add(&sums, v[i]);
    else
        err_clear(); /* a type without a conversion: shape and digest alone */
    mem_free(v);
    *out = sums_finish(&sums);
}

static void read_tensor(const struct st_tensor *t, struct inspect_column *c,
                        struct digest *whole)
{
    char hex[DIGEST_HEX];
    *c = (struct inspect_column){
        .name = mem_text(t->name), .type = tensor_type[t->type].name, .nd = t->nd};
    memcpy(c->dim, t->dim, (size_t)t->nd * sizeof *c->dim);
    tensor_stats(t, &c->stats);
    struct digest *d = digest_create(); /* as for the columns of our own files */
    digest_add_text(d, t->name);
    digest_add_text(d, c->type);
    digest_add_i64(d, t->nd);
    for (int i = 0; i < t->nd; i++)
        digest_add_i64(d, t->dim[i]);
    digest_add(d, t->data, t->count * tensor_type[t->type].size);
    digest_finish(d, hex);
    digest_add_text(whole, t->name);
    digest_add_text(whole, hex);
}

static int by_tensor_name(const void *a, const void *b)
{
    return strcmp((*(const struct st_tensor *const *)a)->name,
                  (*(const struct st_tensor *const *)b)->name);
}

static int read_tensors(const char *path, struct inspect_file *out)
{
    struct st_file *f = st_open(path);
    if (f == NULL)
        return -1;
    int64_t n = st_number(f);
    const struct st_tensor **t = mem_alloc(n, sizeof *t);
    for (int64_t i = 0; i < n; i++)
        t[i] = st_at(f, i);
    if (n > 1)
        qsort(t, (size_t)n, sizeof *t, by_tensor_name);
    struct digest *whole = digest_create();
    out->kind = "safetensors";
    out->column = mem_alloc(n, sizeof *out->column);
    for (; out->columns < n; out->columns++)
        read_tensor(t[out->columns], &out->column[out->columns], whole);
    digest_finish(whole, out->content);
    mem_free(t);
    st_close(f);
    return 0;
}

int inspect_read(const char *path, struct inspect_file *out)
{
    const char *dot = strrchr(path, '.');
    *out = (struct inspect_file){0};
    int rc = dot != NULL && strcmp(dot, ".safetensors") == 0 ? read_tensors(path, out)
                                                             : read_shard(path, out);
    if (rc != 0)
        inspect_free(out);
    return rc;
}

void inspect_free(struct inspect_file *f)
{
    for (int64_t i = 0; i < f->attributes; i++) {
        mem_free(f->attribute[i].name);
        mem_free(f->attribute[i].value);
    }
    for (int64_t i = 0; i < f->columns; i++) {
        mem_free(f->column[i].name);
        mem_free(f->column[i].units);
        mem_free(f->column[i].long_name);
    }
    mem_free(f->attribute);
    mem_free(f->column);
    *f = (struct inspect_file){0};
}

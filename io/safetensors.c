/* Safetensors. Everything in the header is hostile until checked: the length against
 * the file, each shape by overflow-checked products, each range against the data, and
 * all ranges together against the rule of the format that they tile the data without
 * overlap or gap. After st_open every pointer in a st_tensor is good for its count. */
#include "io/safetensors.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEADER_MAX INT64_C(100000000) /* as the format's own library */
#define TENSORS_MAX 1000000

static const struct {
    const char *name;
    int64_t size;
    enum st_type type;
} types[] = {
    {"F64", 8, ST_F64},   {"F32", 4, ST_F32},       {"F16", 2, ST_F16},
    {"BF16", 2, ST_BF16}, {"I64", 8, ST_I64},       {"I32", 4, ST_I32},
    {"U8", 1, ST_U8},     {"BOOL", 1, ST_BOOL},     {"I16", 2, ST_I16},
    {"I8", 1, ST_I8},     {"U64", 8, ST_U64},       {"U32", 4, ST_U32},
    {"U16", 2, ST_U16},   {"F8_E4M3", 1, ST_OTHER}, {"F8_E5M2", 1, ST_OTHER},
};

enum { TYPES = sizeof types / sizeof types[0] };

struct st_file {
    const unsigned char *map;
    int64_t len, n;
    struct json *header;
    struct st_tensor *t; /* [n], by place in the file */
    struct st_tensor **by_name;
};

static int64_t type_size(enum st_type type)
{
    for (int i = 0; i < TYPES; i++)
        if (types[i].type == type)
            return types[i].size;
    return 0;
}

static int read_shape(const char *path, const struct json *v, struct st_tensor *t)
{
    if (v == NULL || json_kind(v) != JSON_LIST_T)
        return err_set(ERR_INPUT, "%s: tensor '%s': no list 'shape'", path, t->name);
    if (json_count(v) > SAFETENSORS_MAX_ND)
        return err_set(ERR_INPUT,
                       "%s: tensor '%s': %lld dimensions, at most %d are read", path,
                       t->name, (long long)json_count(v), SAFETENSORS_MAX_ND);
    t->nd = (int)json_count(v);
    t->count = 1;
    for (int i = 0; i < t->nd; i++) {
        if (!json_to_i64(json_item(v, i), &t->dim[i]) || t->dim[i] < 0)
            return err_set(
                ERR_INPUT,
                "%s: tensor '%s': dimension %d is no count (an integer, 0 or "
                "more)",
                path, t->name, i);
        if (__builtin_mul_overflow(t->count, t->dim[i], &t->count))
            return err_set(ERR_INPUT, "%s: tensor '%s': the shape's size overflows",
                           path, t->name);
    }
    return 0;
}

/* One header entry; avail is the number of data bytes. */
static int read_entry(const char *path, const struct json *v, int64_t avail,
                      struct st_tensor *t)
{
    const char *dtype = json_text(json_get(v, "dtype"));
    const struct json *at = json_get(v, "data_offsets");
    int64_t begin = 0, end = 0, bytes = 0;
    int k = 0;
    if (dtype == NULL)
        return err_set(ERR_INPUT, "%s: tensor '%s': no text 'dtype'", path, t->name);
    while (k < TYPES && strcmp(types[k].name, dtype) != 0)
        k++;
    if (k == TYPES)
        return err_set(ERR_INPUT, "%s: tensor '%s': unknown dtype '%s'", path, t->name,
                       dtype);
    t->type = types[k].type;
    if (read_shape(path, json_get(v, "shape"), t) != 0)
        return -1;
    if (at == NULL || json_count(at) != 2 || !json_to_i64(json_item(at, 0), &begin) ||
        !json_to_i64(json_item(at, 1), &end))
        return err_set(ERR_INPUT,
                       "%s: tensor '%s': 'data_offsets' is not a list of two integers",
                       path, t->name);
    if (begin < 0 || end < begin || end > avail)
        return err_set(
            ERR_INPUT,
            "%s: tensor '%s': bytes %lld to %lld are not inside the %lld bytes "
            "of data; the file is cut short or damaged",
            path, t->name, (long long)begin, (long long)end, (long long)avail);
    if (__builtin_mul_overflow(t->count, types[k].size, &bytes) || bytes != end - begin)
        return err_set(
            ERR_INPUT,
            "%s: tensor '%s': %lld bytes of data do not fit %lld values of %s", path,
            t->name, (long long)(end - begin), (long long)t->count, dtype);
    return 0;
}

static int by_place(const void *a, const void *b)
{
    const struct st_tensor *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->data, q = (uintptr_t)y->data;
    if (p != q)
        return p < q ? -1 : 1;
    /* Empty tensors share their place with the next one and come before it. */
    return (x->count > y->count) - (x->count < y->count);
}

static int by_name(const void *a, const void *b)
{
    const struct st_tensor *x = *(struct st_tensor *const *)a;
    const struct st_tensor *y = *(struct st_tensor *const *)b;
    return strcmp(x->name, y->name);
}

static int check_tiling(const char *path, struct st_file *f, int64_t head)
{
    const unsigned char *at = f->map + head, *end = f->map + f->len;
    qsort(f->t, (size_t)f->n, sizeof *f->t, by_place);
    for (int64_t i = 0; i < f->n; i++) {
        const unsigned char *p = f->t[i].data;
        if (p < at)
            return err_set(ERR_INPUT, "%s: tensors '%s' and '%s' overlap", path,
                           f->t[i - 1].name, f->t[i].name);
        if (p > at)
            return err_set(ERR_INPUT,
                           "%s: %lld bytes before tensor '%s' belong to no tensor; the "
                           "file is damaged",
                           path, (long long)(p - at), f->t[i].name);
        at = p +
             f->t[i].count * (f->t[i].type == ST_OTHER ? 1 : type_size(f->t[i].type));
    }
    if (at != end)
        return err_set(ERR_INPUT,
                       "%s: %lld bytes after the last tensor; the file is damaged",
                       path, (long long)(end - at));
    return 0;
}

static int read_tensors(const char *path, struct st_file *f, int64_t head)
{
    int64_t entries = json_count(f->header);
    if (entries > TENSORS_MAX)
        return err_set(ERR_INPUT, "%s: %lld tensors, at most %d are read", path,
                       (long long)entries, TENSORS_MAX);
    f->t = mem_alloc(entries, sizeof *f->t);
    f->by_name = mem_alloc(entries, sizeof(struct st_tensor *));
    for (int64_t i = 0; i < entries; i++) {
        struct st_tensor *t = &f->t[f->n];
        const struct json *v = json_entry(f->header, i, &t->name);
        int64_t begin = 0;
        if (strcmp(t->name, "__metadata__") == 0)
            continue;
        if (read_entry(path, v, f->len - head, t) != 0)
            return -1;
        json_to_i64(json_item(json_get(v, "data_offsets"), 0), &begin);
        t->data = f->map + head + begin;
        f->n++;
    }
    if (check_tiling(path, f, head) != 0)
        return -1;
    for (int64_t i = 0; i < f->n; i++)
        f->by_name[i] = &f->t[i];
    qsort(f->by_name, (size_t)f->n, sizeof(struct st_tensor *), by_name);
    return 0;
}

static int read_header(const char *path, struct st_file *f)
{
    uint64_t n = 0;
    if (f->len < 8)
        return err_set(ERR_INPUT, "%s: %lld bytes: too short for a safetensors file",
                       path, (long long)f->len);
    for (int i = 7; i >= 0; i--)
        n = n << 8 | f->map[i];
    if (n > (uint64_t)HEADER_MAX)
        return err_set(ERR_INPUT,
                       "%s: header of %llu bytes (at most %lld): no safetensors file",
                       path, (unsigned long long)n, (long long)HEADER_MAX);
    if ((int64_t)n > f->len - 8)
        return err_set(
            ERR_INPUT,
            "%s: header of %llu bytes in a file of %lld bytes: the file is cut "
            "short or no safetensors file",
            path, (unsigned long long)n, (long long)f->len);
    f->header = json_parse((const char *)f->map + 8, (int64_t)n, path);
    if (f->header == NULL)
        return err_add("safetensors header");
    if (json_kind(f->header) != JSON_MAP_T)
        return err_set(ERR_INPUT, "%s: the safetensors header is no JSON object", path);
    return read_tensors(path, f, 8 + (int64_t)n);
}

struct st_file *st_open(const char *path)
{
    struct st_file *f = mem_alloc(1, sizeof *f);
    if (file_map(path, &f->map, &f->len) == 0 && read_header(path, f) == 0)
        return f;
    st_close(f);
    return NULL;
}

void st_close(struct st_file *f)
{
    if (f == NULL)
        return;
    mem_free(f->by_name);
    mem_free(f->t);
    json_free(f->header);
    file_unmap(f->map, f->len);
    mem_free(f);
}

int64_t st_number(const struct st_file *f)
{
    return f->n;
}

const struct st_tensor *st_at(const struct st_file *f, int64_t i)
{
    ERR_BUG_IF(i < 0 || i >= f->n);
    return &f->t[i];
}

const struct st_tensor *st_find(const struct st_file *f, const char *name)
{
    struct st_tensor want = {.name = name}, *p = &want;
    struct st_tensor **found =
        bsearch(&p, f->by_name, (size_t)f->n, sizeof(struct st_tensor *), by_name);
    return found == NULL ? NULL : *found;
}

static float from_f16(uint16_t h)
{
    int e = h >> 10 & 31, m = h & 1023;
    float v = e == 0    ? ldexpf((float)m, -24)
              : e == 31 ? (m != 0 ? NAN : INFINITY)
                        : ldexpf((float)(m + 1024), e - 25);
    return h >> 15 ? -v : v;
}

static float from_bf16(uint16_t h)
{
    uint32_t u = (uint32_t)h << 16;
    float v;
    memcpy(&v, &u, 4);
    return v;
}

/* Value i of an array of C_TYPE at p, which may be unaligned. */
#define LOOP(C_TYPE, CONVERT)                            \
    for (int64_t i = 0; i < t->count; i++) {             \
        C_TYPE v;                                        \
        memcpy(&v, p + i * (int64_t)sizeof v, sizeof v); \
        out[i] = CONVERT(v);                             \
    }                                                    \
    return 0

int st_to_f64(const struct st_tensor *t, double *out)
{
    const unsigned char *p = t->data;
    switch (t->type) {
    case ST_F64:
        LOOP(double, (double));
    case ST_F32:
        LOOP(float, (double));
    case ST_F16:
        LOOP(uint16_t, (double)from_f16);
    case ST_BF16:
        LOOP(uint16_t, (double)from_bf16);
    case ST_I64:
        LOOP(int64_t, (double));
    case ST_I32:
        LOOP(int32_t, (double));
    case ST_I16:
        LOOP(int16_t, (double));
    case ST_I8:
        LOOP(int8_t, (double));
    case ST_U64:
        LOOP(uint64_t, (double));
    case ST_U32:
        LOOP(uint32_t, (double));
    case ST_U16:
        LOOP(uint16_t, (double));
    case ST_U8:
        LOOP(uint8_t, (double));
    default:
        return err_set(ERR_INPUT, "tensor '%s': its dtype cannot be read as numbers",
                       t->name);
    }
}

int st_to_f32(const struct st_tensor *t, float *out)
{
    const unsigned char *p = t->data;
    switch (t->type) {
    case ST_F32:
        if (t->count > 0)
            memcpy(out, p, (size_t)t->count * sizeof *out);
        return 0;
    case ST_F16:
        LOOP(uint16_t, from_f16);
    case ST_BF16:
        LOOP(uint16_t, from_bf16);
    default:
        break;
    }
    double *d = mem_alloc(t->count, sizeof *d);
    int rc = st_to_f64(t, d);
    for (int64_t i = 0; i < t->count && rc == 0; i++)
        out[i] = (float)d[i];
    mem_free(d);
    return rc;
}

int st_to_i64(const struct st_tensor *t, int64_t *out)
{
    const unsigned char *p = t->data;
    switch (t->type) {
    case ST_I64:
        LOOP(int64_t, (int64_t));
    case ST_I32:
        LOOP(int32_t, (int64_t));
    case ST_I16:
        LOOP(int16_t, (int64_t));
    case ST_I8:
        LOOP(int8_t, (int64_t));
    case ST_U32:
        LOOP(uint32_t, (int64_t));
    case ST_U16:
        LOOP(uint16_t, (int64_t));
    case ST_U8:
        LOOP(uint8_t, (int64_t));
    case ST_BOOL:
        LOOP(uint8_t, 0 !=);
    case ST_U64:
        for (int64_t i = 0; i < t->count; i++) {
            memcpy(&out[i], p + 8 * i, 8);
            if (out[i] < 0)
                return err_set(ERR_INPUT, "tensor '%s': value %lld exceeds 2^63",
                               t->name, (long long)i);
        }
        return 0;
    default:
        return err_set(ERR_INPUT, "tensor '%s': integers were expected", t->name);
    }
}

static int64_t bytes_of(const struct st_out *t)
{
    int64_t n = type_size(t->type);
    for (int i = 0; i < t->nd; i++)
        n *= t->dim[i];
    return n;
}

static void make_header(const struct st_out *t, int64_t n, struct text *out)
{
    struct json_out *o = json_out_create();
    int64_t at = 0;
    json_out_map(o, "__metadata__");
    json_out_text(o, "format", "pt");
    json_out_end(o);
    for (int64_t i = 0; i < n; i++) {
        int k = 0;
        while (types[k].type != t[i].type)
            k++;
        json_out_map(o, t[i].name);
        json_out_text(o, "dtype", types[k].name);
        json_out_list(o, "shape");
        for (int d = 0; d < t[i].nd; d++)
            json_out_i64(o, NULL, t[i].dim[d]);
        json_out_end(o);
        json_out_list(o, "data_offsets");
        json_out_i64(o, NULL, at);
        at += bytes_of(&t[i]);
        json_out_i64(o, NULL, at);
        json_out_end(o);
        json_out_end(o);
    }
    json_out_finish(o, 0, out);
    while (out->len % 8 != 0) /* data begin at a multiple of 8 */
        text_add_bytes(out, " ", 1);
}

int st_write(const char *path, const struct st_out *t, int64_t n)
{
    struct text head = {0};
    unsigned char len[8];
    char *tmp = file_tmp_name(path);
    int rc = -1;
    make_header(t, n, &head);
    for (int i = 0; i < 8; i++)
        len[i] = (unsigned char)((uint64_t)head.len >> (8 * i));
    FILE *f = fopen(tmp, "wbe");
    if (f == NULL) {
        err_set_errno("cannot create", tmp);
        goto done;
    }
    bool good = fwrite(len, 1, 8, f) == 8 &&
                fwrite(head.s, 1, (size_t)head.len, f) == (size_t)head.len;
    for (int64_t i = 0; i < n && good; i++) {
        size_t bytes = (size_t)bytes_of(&t[i]);
        good = bytes == 0 || fwrite(t[i].data, 1, bytes, f) == bytes;
    }
    if (!good)
        err_set_errno("cannot write", path);
    if (fclose(f) != 0 && good) {
        good = false;
        err_set_errno("cannot write", path);
    }
    if (good)
        rc = file_publish(tmp, path);
    else
        unlink(tmp);
done:
    text_free(&head);
    mem_free(tmp);
    return rc;
}

/* Safetensors: round trip, dtypes, and hostile files. Runs in one process. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <unistd.h>

static char path[64];

/* A file of this header (its true length unless given) and n zero bytes of data. */
static void write_raw(const char *head, uint64_t len, int64_t n)
{
    int64_t h = (int64_t)strlen(head);
    unsigned char *b = mem_alloc(8 + h + n, 1);
    for (int i = 0; i < 8; i++)
        b[i] = (unsigned char)((len != 0 ? len : (uint64_t)h) >> (8 * i));
    memcpy(b + 8, head, (size_t)h);
    if (file_write(path, b, 8 + h + n) != 0)
        abort();
    mem_free(b);
}

static void refuses(const char *what, const char *head, uint64_t len, int64_t n)
{
    write_raw(head, len, n);
    struct st_file *f = st_open(path);
    tap_ok(f == NULL && err_code() == ERR_INPUT && strstr(err_text(), path) != NULL,
           "refuses %s: %s", what, f == NULL ? err_text() : "accepted");
    st_close(f);
}

static void refuses_tensor(const char *what, const char *entry, int64_t n)
{
    char head[1000];
    snprintf(head, sizeof head, "{\"ten\":%s}", entry);
    refuses(what, head, 0, n);
    tap_ok(strstr(err_text(), "'ten'") != NULL, "... naming the tensor");
}

static void test_hostile(void)
{
    refuses("a header length of 2^60", "{}", UINT64_C(1) << 60, 0);
    refuses("a header length of 2^64-1", "{}", UINT64_MAX, 0);
    refuses("a header longer than the file", "{}", 3, 0);
    refuses("a header of 100 MB + 1", "{}", 100000001, 0);
    refuses("garbage", "hello world", 0, 0);
    refuses("a list as header", "[]", 0, 0);
    refuses("data of no tensor", "{}", 0, 1);
    refuses("duplicate tensors",
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]},"
            "\"a\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}}",
            0, 0);
    refuses_tensor("a negative shape",
                   "{\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]}", 4);
    refuses_tensor("a real as shape",
                   "{\"dtype\":\"F32\",\"shape\":[1.0],\"data_offsets\":[0,4]}", 4);
    refuses_tensor("a shape that overflows",
                   "{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296,2],"
                   "\"data_offsets\":[0,4]}",
                   4);
    refuses_tensor("a byte count that overflows",
                   "{\"dtype\":\"F64\",\"shape\":[2305843009213693953],"
                   "\"data_offsets\":[0,8]}",
                   8);
    refuses_tensor("nine dimensions",
                   "{\"dtype\":\"U8\",\"shape\":[1,1,1,1,1,1,1,1,1],"
                   "\"data_offsets\":[0,1]}",
                   1);
    refuses_tensor("an unknown dtype",
                   "{\"dtype\":\"F33\",\"shape\":[1],\"data_offsets\":[0,4]}", 4);
    refuses_tensor("no dtype", "{\"shape\":[1],\"data_offsets\":[0,4]}", 4);
    refuses_tensor("no shape", "{\"dtype\":\"F32\",\"data_offsets\":[0,4]}", 4);
    refuses_tensor("no offsets", "{\"dtype\":\"F32\",\"shape\":[1]}", 4);
    refuses_tensor("an entry that is no object", "7", 4);
    refuses_tensor("offsets beyond the file",
                   "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}", 4);
    refuses_tensor("offsets that run backwards",
                   "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]}", 4);
    refuses_tensor("negative offsets",
                   "{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[-4,0]}", 4);
    refuses_tensor("a size that does not fit the shape",
                   "{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}", 4);
    refuses_tensor("a gap", "{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}",
                   2);
    refuses("overlapping tensors",
            "{\"a\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[0,3]},"
            "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[2,4]}}",
            0, 4);
    if (file_write(path, "", 0) != 0)
        abort();
    tap_ok(st_open(path) == NULL && err_code() == ERR_INPUT,
           "refuses an empty file: %s", err_text());
    tap_ok(st_open("/tmp") == NULL && err_code() == ERR_INPUT,
           "refuses a directory: %s", err_text());
}

static const float f32s[6] = {1, -2, 0.5f, 4, 1e-30f, 6};
static const double f64s[2] = {0.1, -1e300};
static const int64_t i64s[3] = {-1, 0, INT64_C(1) << 40};
static const unsigned char u8s[3] = {0, 128, 255};

static int write_sample(void)
{
    const struct st_out t[] = {
        {"u", ST_U8, 1, {3}, u8s},      {"f", ST_F32, 2, {2, 3}, f32s},
        {"e", ST_F32, 2, {0, 5}, NULL}, {"d", ST_F64, 1, {2}, f64s},
        {"i", ST_I64, 1, {3}, i64s},    {"s", ST_F64, 0, {0}, f64s},
    };
    return st_write(path, t, 6);
}

static void test_round_trip(void)
{
    float f[6];
    double d[2];
    int64_t i[3];
    tap_ok(write_sample() == 0, "writes");
    struct st_file *s = st_open(path);
    if (!tap_ok(s != NULL, "reads its own file: %s", err_text()))
        return;
    tap_ok(st_number(s) == 6 && strcmp(st_at(s, 1)->name, "f") == 0,
           "in the order given");
    const struct st_tensor *t = st_find(s, "f");
    tap_ok(t != NULL && t->nd == 2 && t->dim[0] == 2 && t->dim[1] == 3 &&
               t->count == 6 && st_to_f32(t, f) == 0 && memcmp(f, f32s, sizeof f) == 0,
           "float32");
    tap_ok(st_to_f64(st_find(s, "d"), d) == 0 && memcmp(d, f64s, sizeof d) == 0,
           "float64");
    tap_ok(st_to_i64(st_find(s, "i"), i) == 0 && memcmp(i, i64s, sizeof i) == 0,
           "int64");
    tap_ok(st_to_f32(st_find(s, "u"), f) == 0 && f[2] == 255, "u8 as float");
    tap_ok(st_find(s, "e")->count == 0 && st_to_f32(st_find(s, "e"), f) == 0, "empty");
    tap_ok(st_find(s, "s")->count == 1 && st_find(s, "s")->nd == 0, "scalar");
    tap_ok(st_find(s, "zz") == NULL, "absent names are NULL");
    tap_ok(st_to_i64(st_find(s, "f"), i) == -1 && strstr(err_text(), "'f'") != NULL,
           "floats are no integers: %s", err_text());
    st_close(s);
}

static void test_half(void)
{
    static const struct {
        uint16_t h;
        float v;
    } half[] = {{0x3c00, 1},     {0xc000, -2},           {0x0001, 0x1p-24f},
                {0x7bff, 65504}, {0x03ff, 0x1.ff8p-15f}, {0x7c00, INFINITY},
                {0x8000, -0.0f}, {0x3555, 0x1.554p-2f}};
    unsigned char b[200] = {0};
    float f[8];
    const char *head =
        "{\"h\":{\"dtype\":\"F16\",\"shape\":[8],\"data_offsets\":[0,16]},"
        "\"b\":{\"dtype\":\"BF16\",\"shape\":[2],\"data_offsets\":[16,20]}}";
    size_t n = strlen(head);
    b[0] = (unsigned char)n;
    memcpy(b + 8, head, n);
    for (size_t k = 0; k < 8; k++)
        memcpy(b + 8 + n + 2 * k, &half[k].h, 2);
    memcpy(b + 8 + n + 16, (uint16_t[]){0x3f80, 0xc120}, 4);
    if (file_write(path, b, (int64_t)(8 + n + 20)) != 0)
        abort();
    struct st_file *s = st_open(path);
    if (!tap_ok(s != NULL, "half-precision file: %s", err_text()))
        return;
    int good = st_to_f32(st_find(s, "h"), f) == 0;
    for (size_t k = 0; k < 8; k++)
        good = good && memcmp(&f[k], &half[k].v, 4) == 0;
    tap_ok(good, "float16 exactly");
    tap_ok(st_to_f32(st_find(s, "b"), f) == 0 && f[0] == 1 && f[1] == -10, "bfloat16");
    st_close(s);
}

/* Opens what is in `path` and touches every byte it promises. */
static double touch(void)
{
    struct st_file *s = st_open(path);
    double sum = 0;
    if (s == NULL) {
        if (err_code() != ERR_INPUT)
            abort();
        return 0;
    }
    for (int64_t i = 0; i < st_number(s); i++) {
        const struct st_tensor *t = st_at(s, i);
        double *v = mem_alloc(t->count, sizeof *v);
        if (st_to_f64(t, v) == 0 && t->count > 0)
            sum += v[t->count - 1];
        mem_free(v);
    }
    st_close(s);
    return sum;
}

static void overwrite(const void *p, int64_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(p, 1, (size_t)n, f) != (size_t)n || fclose(f) != 0)
        abort();
}

static void test_damage(void)
{
    char *good = NULL;
    int64_t len = 0, refused = 0;
    static const char bytes[] = {'0', '9', '-', '"', '}', '[', ',', (char)0xff, 0};
    if (write_sample() != 0 || file_read(path, 1 << 20, &good, &len) != 0)
        abort();
    for (int64_t cut = 0; cut < len; cut++) {
        overwrite(good, cut);
        struct st_file *s = st_open(path);
        refused += s == NULL;
        st_close(s);
    }
    tap_ok(refused == len, "every truncation is refused (%lld of %lld)",
           (long long)refused, (long long)len);
    double sum = 0;
    for (int64_t at = 0; at < len; at++)
        for (size_t k = 0; k < sizeof bytes; k++) {
            char was = good[at];
            good[at] = bytes[k];
            overwrite(good, len);
            sum += touch();
            good[at] = was;
        }
    tap_ok(1, "no damaged byte crashes the reader (%d)", sum == 0);
    mem_free(good);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/sluice-st-%ld", (long)getpid());
    test_round_trip();
    test_half();
    test_hostile();
    test_damage();
    unlink(path);
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

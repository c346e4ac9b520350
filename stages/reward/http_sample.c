/* Numbers are printed with nine digits, which identify a float; base64 is RFC 4648. */
#include "stages/reward/http_sample.h"

#include "io/image.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/reward/pixels.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { JPEG_QUALITY = 95 };

static const char *const names[HTTP_PARTS] = {
    "png", "jpeg", "data_url", "values", "text", "prompt", "label", "index", "iteration"};

const char *http_sample_part_name(enum http_part part)
{
    return names[part];
}

enum http_part http_sample_part(const char *name, int64_t len)
{
    int k = 0;
    while (k < HTTP_PARTS && ((int64_t)strlen(names[k]) != len ||
                              memcmp(names[k], name, (size_t)len) != 0))
        k++;
    return (enum http_part)k;
}

static enum coding_kind kind(const struct http_shape *shape)
{
    return shape->coding == NULL ? CODING_NONE : shape->coding->kind;
}

const char *http_sample_lacks(const struct http_shape *shape, enum http_part part)
{
    bool picture =
        kind(shape) == CODING_NONE && (shape->channels == 1 || shape->channels == 3);
    if ((part == HTTP_PNG || part == HTTP_JPEG || part == HTTP_DATA_URL) && !picture)
        return "the samples are no pictures of 1 or 3 channels";
    if (part == HTTP_TEXT && kind(shape) != CODING_TEXT)
        return "the samples are no texts";
    return NULL;
}

static int64_t size_of(const struct http_shape *s)
{
    return s->channels * s->height * s->width;
}

bool http_sample_finite(const struct http_shape *shape, const float *x)
{
    float sum = 0;
    int64_t n = size_of(shape);
    for (int64_t i = 0; i < n; i++)
        sum += x[i] * 0.0f; /* NaN from any infinity or NaN */
    for (int64_t i = 0; i < n && kind(shape) == CODING_SERIES; i++) {
        float v = x[i];
        coding_decode(shape->coding, &v, 1);
        sum += v * 0.0f;
    }
    return sum == 0;
}

void http_sample_add_string(struct text *out, const char *s)
{
    text_add_bytes(out, "\"", 1);
    for (const char *p = s;; p++) {
        if (*p != '"' && *p != '\\' && (unsigned char)*p >= 0x20)
            continue;
        text_add_bytes(out, s, p - s);
        s = p + 1;
        if (*p == '\0')
            break;
        text_add(out, *p < ' ' && *p > 0 ? "\\u%04x" : "\\%c", (unsigned)(unsigned char)*p);
    }
    text_add_bytes(out, "\"", 1);
}

/* [-]D.DDDDDDDDe[-]EE without the zeros at the end of the digits. 10^k is exact in double up
 * to k = 22, so one product or quotient is nearly exact, and the ninth digit of it is
 * certainly good enough to tell floats apart. */
void http_sample_add_number(struct text *out, float v)
{
    static const double ten[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,
                                 1e8,  1e9,  1e10, 1e11, 1e12, 1e13, 1e14, 1e15,
                                 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    double a = fabs((double)v);
    char s[24];
    int n = 0, e = 0;
    if (a == 0) {
        text_add_bytes(out, "0", 1);
        return;
    }
    if (a < 1e-12 || a >= 1e12) {
        text_add(out, "%.9g", (double)v);
        return;
    }
    while (a >= 10 * ten[e > 0 ? e : 0])
        e++;
    while (a * ten[-e > 0 ? -e : 0] < 1)
        e--;
    int64_t digits = llrint(e <= 8 ? a * ten[8 - e] : a / ten[e - 8]);
    if (digits == 1000000000) {
        digits = 100000000;
        e++;
    }
    int keep = 9;
    for (; keep > 1 && digits % 10 == 0; keep--)
        digits /= 10;
    if (v < 0)
        s[n++] = '-';
    for (int k = keep - 1, at = n + (keep > 1); k >= 0; k--, digits /= 10)
        s[k > 0 ? at + k : n] = (char)('0' + digits % 10);
    if (keep > 1)
        s[n + 1] = '.';
    n += keep + (keep > 1);
    if (e != 0) {
        s[n++] = 'e';
        if (e < 0)
            s[n++] = '-';
        int m = e < 0 ? -e : e;
        if (m >= 10)
            s[n++] = (char)('0' + m / 10);
        s[n++] = (char)('0' + m % 10);
    }
    text_add_bytes(out, s, n);
}

static void add_base64(struct text *out, const unsigned char *p, int64_t n)
{
    static const char letter[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char s[1024];
    int64_t at = 0;
    for (int64_t i = 0; i < n; i += 3) {
        unsigned v = (unsigned)p[i] << 16 | (i + 1 < n ? (unsigned)p[i + 1] << 8 : 0) |
                     (i + 2 < n ? p[i + 2] : 0);
        s[at++] = letter[v >> 18];
        s[at++] = letter[v >> 12 & 63];
        s[at++] = i + 1 < n ? letter[v >> 6 & 63] : '=';
        s[at++] = i + 2 < n ? letter[v & 63] : '=';
        if (at == sizeof s || i + 3 >= n) {
            text_add_bytes(out, s, at);
            at = 0;
        }
    }
}

static int add_picture(const struct http_shape *shape, const struct http_sample *s,
                       enum http_part part, struct text *out)
{
    uint8_t *rgb = mem_alloc(shape->height * shape->width * 3, 1);
    unsigned char *jpeg = NULL;
    struct text png = {0};
    int64_t len = 0;
    int rc;
    pixels_from_sample(s->x, shape->channels, shape->height, shape->width, rgb);
    if (part == HTTP_JPEG)
        rc = image_jpeg(rgb, shape->height, shape->width, JPEG_QUALITY, &jpeg, &len);
    else
        rc = image_png(rgb, shape->height, shape->width, &png);
    if (rc == 0) {
        text_add(out, "\"%s", part == HTTP_DATA_URL ? "data:image/png;base64," : "");
        add_base64(out, jpeg != NULL ? jpeg : (unsigned char *)png.s,
                   jpeg != NULL ? len : png.len);
        text_add_bytes(out, "\"", 1);
    }
    mem_free(jpeg);
    text_free(&png);
    mem_free(rgb);
    return rc;
}

static void add_values(const struct http_shape *shape, const float *x, struct text *out)
{
    for (int64_t i = 0, n = size_of(shape); i < n; i++) {
        bool row = i % shape->width == 0, plane = i % (shape->height * shape->width) == 0;
        float v = x[i];
        if (kind(shape) == CODING_SERIES)
            coding_decode(shape->coding, &v, 1);
        const char *open = i == 0 ? "[[[" : plane ? "]],[[" : row ? "],[" : ",";
        text_add_bytes(out, open, (int64_t)strlen(open));
        http_sample_add_number(out, v);
    }
    text_add_bytes(out, "]]]", 3);
}

int http_sample_add(const struct http_shape *shape, const struct http_sample *s,
                    enum http_part part, struct text *out)
{
    char *letters;
    switch (part) {
    case HTTP_PNG:
    case HTTP_JPEG:
    case HTTP_DATA_URL:
        return add_picture(shape, s, part, out);
    case HTTP_VALUES:
        add_values(shape, s->x, out);
        break;
    case HTTP_TEXT:
        letters = mem_alloc(shape->width + 1, 1);
        coding_decode_text(shape->coding, s->x, shape->width, letters);
        http_sample_add_string(out, letters);
        mem_free(letters);
        break;
    case HTTP_PROMPT:
        http_sample_add_string(out, s->prompt);
        break;
    case HTTP_LABEL:
        text_add(out, "%lld", (long long)s->label);
        break;
    case HTTP_INDEX:
        text_add(out, "%lld", (long long)s->index);
        break;
    case HTTP_ITERATION:
        text_add(out, "%lld", (long long)s->iteration);
        break;
    case HTTP_PARTS:
        ERR_BUG("no part of a sample");
    }
    return 0;
}

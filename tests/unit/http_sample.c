/* Samples as JSON: numbers that read back as themselves, base64, templates, questions. */
#include "stages/reward/http_sample.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/reward/http_chat.h"
#include "stages/reward/http_template.h"
#include "tests/tap.h"

#include <stdlib.h>

static int back(float v, struct text *t)
{
    t->len = 0;
    http_sample_add_number(t, v);
    struct json *j = json_parse(t->s, t->len, "number");
    double d = 0;
    int same = j != NULL && json_to_f64(j, &d) && (float)d == v && strtof(t->s, NULL) == v;
    json_free(j);
    if (!same)
        printf("# %.9g is printed as %s\n", (double)v, t->s);
    return same;
}

static void numbers(void)
{
    static const float some[] = {0, 1, -1, 10, 9.9999999f, 99999.99f, 0.1f, 1e-12f, 1e12f,
                                 123456792, 3.4e38f, 1e-45f, -0.5f, 1e9f, 999999.94f};
    struct text t = {0};
    int64_t wrong = 0, n = 200000;
    for (size_t i = 0; i < sizeof some / sizeof *some; i++)
        wrong += !back(some[i], &t);
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits = (uint32_t)rng_u64(3, i);
        float v;
        memcpy(&v, &bits, sizeof v);
        if (i % 2) /* of the usual size */
            v = (float)(rng_uniform(4, i) * 8 - 4);
        wrong += isfinite(v) && !back(v, &t);
    }
    tap_ok(wrong == 0, "%lld numbers, %lld read back as others", (long long)n,
           (long long)wrong);
    t.len = 0;
    http_sample_add_number(&t, -0.25f);
    text_add(&t, " ");
    http_sample_add_number(&t, 1500);
    tap_ok(strcmp(t.s, "-2.5e-1 1.5e3") == 0, "short: %s", t.s);
    text_free(&t);
}

static void strings(void)
{
    struct text t = {0};
    http_sample_add_string(&t, "a\"b\\c\n\x01\xc3\xa9");
    tap_ok(strcmp(t.s, "\"a\\\"b\\\\c\\u000a\\u0001\xc3\xa9\"") == 0, "escapes: %s", t.s);
    text_free(&t);
}

static int64_t letter(char c)
{
    static const char all[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *p = c == '\0' ? NULL : strchr(all, c);
    return p == NULL ? -1 : p - all;
}

static void pictures(void)
{
    float x[3 * 5 * 7];
    const struct http_shape shape = {3, 5, 7, NULL};
    const struct http_sample s = {.x = x, .prompt = ""};
    const char *head = "\"data:image/png;base64,iVBORw0KGgo";
    struct text url = {0}, png = {0}, jpeg = {0};
    rng_normal(9, x, 3 * 5 * 7);
    int rc = http_sample_add(&shape, &s, HTTP_DATA_URL, &url) |
             http_sample_add(&shape, &s, HTTP_PNG, &png) |
             http_sample_add(&shape, &s, HTTP_JPEG, &jpeg);
    tap_ok(rc == 0 && strncmp(url.s, head, strlen(head)) == 0, "a data URL of a PNG");
    tap_ok(strcmp(url.s + 23, png.s + 1) == 0 && strncmp(jpeg.s, "\"/9j/", 5) == 0,
           "PNG and JPEG in base64");
    int64_t n = png.len - 2, pad = 0, wrong = n % 4 != 0;
    while (png.s[n - pad] == '=')
        pad++;
    for (int64_t i = 1; i <= n - pad; i++)
        wrong += letter(png.s[i]) < 0;
    /* A PNG ends with these bytes: IEND and its sum. */
    const unsigned char last[3] = {0x42, 0x60, 0x82};
    unsigned char end[3] = {0};
    int64_t at = n - 3;
    unsigned v = 0;
    for (int64_t i = 0; i < 4; i++)
        v = v << 6 | (unsigned)(letter(png.s[at + i]) < 0 ? 0 : letter(png.s[at + i]));
    for (int64_t i = 0; i < 3; i++)
        end[i] = (unsigned char)(v >> (16 - 8 * i));
    tap_ok(wrong == 0 && end[0] == last[pad],
           "padded, of the alphabet, up to the PNG's last byte");
    text_free(&url);
    text_free(&png);
    text_free(&jpeg);
}

/* The body of two samples by a request and an item template, or NULL. */
static char *body(const struct http_shape *shape, const float *x, const char *request,
                  const char *item)
{
    struct http_sample s = {.x = x, .label = 3, .index = 8, .iteration = 2, .prompt = "a \"b\""};
    struct http_template *one = http_template_parse("http.item", item, shape, NULL);
    struct http_template *t =
        one == NULL ? NULL : http_template_parse("http.request", request, shape, one);
    struct text out = {0};
    if (t == NULL)
        return NULL;
    int rc = http_template_begin(t, &s, &out);
    for (int i = 0; i < 2 && rc == 0 && http_template_lists(t); i++, s.index++, s.x += 4)
        rc = http_template_item(t, &s, i == 0, &out);
    if (http_template_lists(t))
        http_template_end(t, &out);
    http_template_free(t);
    if (rc != 0)
        ERR_BUG("%s", err_text());
    return out.s;
}

static void is_body(const struct http_shape *shape, const char *request, const char *item,
                    const char *want)
{
    static const float x[8] = {1, -1, -1, 1, 0.5f, 2, -3, 0};
    char *got = body(shape, x, request, item);
    if (want[0] == '{' || want[0] == '[')
        tap_ok(got != NULL && strcmp(got, want) == 0, "%s: %s", request,
               got != NULL ? got : err_text());
    else
        tap_ok(got == NULL && strstr(err_text(), want) != NULL, "%s with %s: %s", request,
               item, err_text());
    err_clear();
    mem_free(got);
}

static void templates(void)
{
    struct coding series = {.kind = CODING_SERIES, .mean = 1, .std = 2}, text = {0};
    if (coding_set_alphabet(&text, "AC") != 0)
        ERR_BUG("%s", err_text());
    const struct http_shape curve = {1, 1, 4, &series}, words = {2, 1, 2, &text},
                            plane = {2, 1, 2, NULL};
    is_body(&curve, "{\"a\": 1, \"s\": \"$samples\", \"b\": [true, null, 0.5, \"x\"]}",
            "{\"v\": \"$values\", \"i\": \"$index\"}",
            "{\"a\":1,\"s\":[{\"v\":[[[3,-1,-1,3]]],\"i\":8},{\"v\":[[[2,5,-5,1]]],\"i\":9}],"
            "\"b\":[true,null,0.5,\"x\"]}");
    is_body(&words, "[\"$samples\"]", "[\"$text\", \"$prompt\", \"$label\", \"$iteration\"]",
            "[[[\"AC\",\"a \\\"b\\\"\",3,2],[\"AA\",\"a \\\"b\\\"\",3,2]]]");
    is_body(&plane, "{\"one\": \"$values\"}", "\"$index\"", "{\"one\":[[[1,-1]],[[-1,1]]]}");
    is_body(&curve, "{\"s\": \"$samples\"}", "{\"s\": \"$samples\"}", "http.item");
    is_body(&curve, "{\"s\": \"$samples\", \"l\": \"$label\"}", "\"$values\"", "http.item");
    is_body(&curve, "{\"s\": 1}", "\"$values\"", "names no part");
    is_body(&curve, "{\"s\": \"$samples\"}", "\"$png\"", "no pictures");
    is_body(&curve, "{\"s\": \"$samples\"}", "\"$text\"", "no texts");
    is_body(&curve, "{\"s\": \"$samples\"}", "\"$value\"", "$values");
    is_body(&curve, "{\"s\": $samples}", "\"$values\"", "no JSON");
    float bad[4] = {1, (float)NAN, 0, 0}, big[4] = {0, 3e38f, 0, 0};
    tap_ok(!http_sample_finite(&curve, bad) && !http_sample_finite(&curve, big) &&
               http_sample_finite(&plane, big),
           "what is not finite, or is not in the series' units");
}

static void question(const struct http_shape *shape, const char *text, bool prompts,
                     const char *want)
{
    static const float x[4] = {1, -1, -1, 1};
    const struct http_chat c = {.model = "m", .question = text, .max_tokens = 4,
                                .logprobs = true, .shape = shape};
    const struct http_sample s = {.x = x, .label = 7, .prompt = "a \"cat\""};
    struct text out = {0};
    int rc = http_chat_check(&c, prompts);
    if (rc == 0)
        rc = http_chat_body(&c, &s, &out);
    struct json *v = rc == 0 ? json_parse(out.s, out.len, "body") : NULL;
    tap_ok(rc == 0 ? v != NULL && strstr(out.s, want) != NULL
                   : strstr(err_text(), want) != NULL,
           "%s: %.90s", text, rc == 0 ? out.s : err_text());
    err_clear();
    json_free(v);
    text_free(&out);
}

static void questions(void)
{
    struct coding text = {0};
    if (coding_set_alphabet(&text, "AC") != 0)
        ERR_BUG("%s", err_text());
    const struct http_shape words = {2, 1, 2, &text}, picture = {1, 2, 2, NULL};
    question(&words, "Is {sample} {prompt}, {label}? {x}", true,
             "\"content\":\"Is AC a \\\"cat\\\", 7? {x}\"}]");
    question(&picture, "Is it {prompt}?", true, "\"url\":\"data:image/png;base64,");
    question(&picture, "Is it {prompt}?", true, "\"logprobs\":true,\"top_logprobs\":20}");
    question(&picture, "Is it {prompt}?", false, "http.prompts");
    question(&picture, "{sample}?", true, "for series and texts");
    question(&words, "good?", true, "{sample} must be in it");
    question(&words, "", true, "set what the model is asked");
}

int main(void)
{
    numbers();
    strings();
    pictures();
    templates();
    questions();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

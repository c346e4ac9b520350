/* JSON: typed access, refusals, and the writer. Runs in one process. */
#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <unistd.h>

static struct json *parse(const char *s)
{
    return json_parse(s, (int64_t)strlen(s), "test");
}

static void refuses(const char *s, const char *what)
{
    struct json *v = parse(s);
    tap_ok(v == NULL && err_code() == ERR_INPUT && strstr(err_text(), "test") != NULL,
           "refuses %s (%s)", what, v == NULL ? err_text() : "accepted");
    json_free(v);
}

static void test_access(void)
{
    struct json *v = parse("{\"b\": 1, \"a\": [true, null, 2.5, \"x\"], \"c\": {}}");
    const struct json *a = json_get(v, "a");
    const char *key = NULL;
    int64_t i = 0;
    double d = 0;
    bool b = false;
    tap_ok(json_count(v) == 3 && json_entry(v, 0, &key) != NULL &&
               strcmp(key, "b") == 0,
           "entries keep the file's order");
    tap_ok(json_to_i64(json_get(v, "b"), &i) && i == 1, "integer");
    tap_ok(json_to_f64(json_get(v, "b"), &d) && d == 1, "integer read as a real");
    tap_ok(json_to_bool(json_item(a, 0), &b) && b, "bool");
    tap_ok(json_kind(json_item(a, 1)) == JSON_NULL_T, "null");
    tap_ok(json_to_f64(json_item(a, 2), &d) && d == 2.5 &&
               !json_to_i64(json_item(a, 2), &i),
           "a real is no integer");
    tap_ok(strcmp(json_text(json_item(a, 3)), "x") == 0 && json_text(a) == NULL,
           "text");
    tap_ok(json_item(a, 4) == NULL && json_get(v, "d") == NULL &&
               json_get(a, "b") == NULL,
           "absent entries are NULL");
    tap_ok(json_kind(json_get(v, "c")) == JSON_MAP_T &&
               json_count(json_get(v, "c")) == 0,
           "empty map");
    json_free(v);
}

static void test_refusals(void)
{
    char deep[2000] = "";
    refuses("{\"a\": 1, \"a\": 2}", "duplicate keys");
    refuses("{\"a\": 1} x", "trailing text");
    refuses("{\"a\": ", "a cut file");
    refuses("", "nothing");
    refuses("{\"a\": NaN}", "NaN");
    refuses("{\"a\": 99999999999999999999}", "an integer beyond 64 bits");
    refuses("{\"a\": \"\xff\"}", "text that is not UTF-8");
    memset(deep, '[', 65);
    memset(deep + 65, ']', 65);
    refuses(deep, "nesting beyond 64 levels");
    struct json *v = json_read("/nonexistent/x.json", 100);
    tap_ok(v == NULL && err_code() == ERR_INPUT, "refuses a missing file");
}

static void test_writer(void)
{
    struct text t = {0};
    struct json_out *o = json_out_create();
    json_out_i64(o, "n", -3);
    json_out_f64(o, "x", 0.1);
    json_out_f64(o, "nan", NAN);
    json_out_text(o, "s", "a\"b");
    json_out_text(o, "bad", "\xff");
    json_out_i64(o, "key\xff", 1);
    json_out_list(o, "l");
    json_out_map(o, NULL);
    json_out_bool(o, "t", true);
    json_out_end(o);
    json_out_i64(o, NULL, 7);
    json_out_end(o);
    json_out_finish(o, 0, &t);
    struct json *v = json_parse(t.s, t.len, "round trip");
    double x = 0;
    bool b = false;
    tap_ok(v != NULL && strchr(t.s, '\n') == NULL, "indent 0 is one line: %s", t.s);
    tap_ok(json_to_f64(json_get(v, "x"), &x) && x == 0.1, "reals survive exactly");
    tap_ok(json_kind(json_get(v, "nan")) == JSON_NULL_T, "NaN becomes null");
    tap_ok(strcmp(json_text(json_get(v, "s")), "a\"b") == 0, "quotes are escaped");
    tap_ok(json_kind(json_get(v, "bad")) == JSON_NULL_T,
           "text that is not UTF-8: null");
    tap_ok(json_get(v, "key?") != NULL, "a key that is not UTF-8 is written all the same");
    tap_ok(json_to_bool(json_get(json_item(json_get(v, "l"), 0), "t"), &b) && b,
           "nested entries");
    json_free(v);
    text_free(&t);
}

/* Files as others read them: an object over several lines, and a line for each. */
static void test_files(void)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/sluice_json_%ld", (long)getpid());
    for (int64_t i = 0; i < 3; i++) {
        struct json_out *o = json_out_create();
        json_out_i64(o, "n", i);
        int rc = i == 0 ? json_out_file(o, path) : json_out_append(o, path);
        tap_ok(rc == 0, "written: %s", rc == 0 ? "yes" : err_text());
    }
    char *text = NULL;
    int64_t len = 0;
    tap_ok(file_read(path, 1000, &text, &len) == 0 &&
               strcmp(text, "{\n  \"n\": 0\n}\n{\"n\": 1}\n{\"n\": 2}\n") == 0,
           "an object and two lines");
    mem_free(text);
    unlink(path);
    struct json *v = parse("{\"a\": 1.5, \"b\": \"x\"}");
    tap_ok(json_number(v, "a", 7) == 1.5 && json_number(v, "b", 7) == 7 &&
               json_number(v, "c", 7) == 7 && json_number(NULL, "a", 7) == 7,
           "a number, or what stands for it");
    json_free(v);
    tap_ok(json_out_append(json_out_create(), "/nonexistent/x") != 0 && err_code() != ERR_NONE,
           "a folder that is not there: %s", err_text());
}

int main(void)
{
    test_files();
    test_access();
    test_refusals();
    test_writer();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

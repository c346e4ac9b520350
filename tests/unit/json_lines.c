/* Files of JSON lines as a kill, an editor or a stranger may leave them. Runs in one
 * process. */
#include "io/json_lines.h"
#include "io/sys/file.h"
#include "tests/work.h"

static char path[128];

/* The values of "n" of all lines, and how many lines were skipped: "1 2 /3". */
static void gives(const char *text, int64_t len, const char *want, const char *what)
{
    struct text got = {0};
    struct json *v;
    must(file_write(path, text, len));
    struct json_lines *l = json_lines_open(path);
    while ((v = json_lines_next(l)) != NULL) {
        int64_t n = -1;
        json_to_i64(json_get(v, "n"), &n);
        text_add(&got, "%lld ", (long long)n);
        json_free(v);
    }
    text_add(&got, "/%lld", (long long)json_lines_unreadable(l));
    tap_ok(strcmp(got.s, want) == 0 && err_code() == ERR_NONE, "%s: %s", what, got.s);
    json_lines_close(l);
    text_free(&got);
}

static void gives_text(const char *text, const char *want, const char *what)
{
    gives(text, (int64_t)strlen(text), want, what);
}

static void test_lines(void)
{
    gives_text("", "/0", "an empty file");
    gives_text("{\"n\": 1}\n{\"n\": 2}\n", "1 2 /0", "whole lines");
    gives_text("{\"n\": 1}\n{\"n\": 2}", "1 2 /0", "a last line without its newline");
    gives_text("{\"n\": 1}\n{\"n\": 2", "1 /1", "a cut last line");
    gives_text("\n{\"n\": 1}\n\n\n", "1 /0", "blank lines");
    gives_text("rubbish\n{\"n\": 1}\n[1]\n7\n\xff\n{\"n\": 2}\n", "1 2 /4",
               "lines that are no object");
    gives_text("{\"n\": 1, \"n\": 1}\n{}\n", "-1 /1", "a key twice, an empty object");
    gives("{\"n\": 1}\n\0\0\0\n{\"n\": 2}\n", 22, "1 2 /1", "zero bytes in between");
}

/* Blanks around an object are valid JSON, so the length alone is at fault. */
static void test_long_lines(void)
{
    enum { MOST = 1 << 24 };
    struct text t = {0};
    char *blanks = mem_alloc(MOST + 1, 1);
    memset(blanks, ' ', MOST);
    text_add_bytes(&t, blanks, MOST - 7);
    text_add(&t, "{\"n\":1}\n");
    text_add_bytes(&t, blanks, MOST - 6);
    text_add(&t, "{\"n\":2}\n{\"n\":3}\n");
    gives(t.s, t.len, "1 3 /1", "lines of 16 MiB and of a byte more");
    mem_free(blanks);
    text_free(&t);
}

static void test_refusals(void)
{
    tap_ok(json_lines_open("/nonexistent/x.jsonl") == NULL && err_code() == ERR_INPUT,
           "refuses a missing file");
    tap_ok(json_lines_open(work) == NULL && err_code() == ERR_INPUT, "refuses a directory");
    err_clear();
}

int main(void)
{
    work_begin("lines");
    snprintf(path, sizeof path, "%s/x.jsonl", work);
    test_lines();
    test_long_lines();
    test_refusals();
    work_end();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

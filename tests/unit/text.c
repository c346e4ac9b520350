/* Strings: growth, whole-string numbers, durations, spelling suggestions. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "tests/tap.h"

static void seconds(const char *s, double want)
{
    double v = -1;
    bool good = text_to_seconds(s, &v);
    tap_ok(want < 0 ? !good : good && v == want, "duration '%s'%s", s,
           want < 0 ? " is refused" : "");
}

static void test_numbers(void)
{
    int64_t i = 0;
    double r = 0;
    tap_ok(text_to_i64("-42", &i) && i == -42, "an integer");
    tap_ok(!text_to_i64("4.2", &i) && !text_to_i64("", &i) && !text_to_i64("7x", &i) &&
               !text_to_i64("9223372036854775808", &i),
           "no integers");
    tap_ok(text_to_f64("1e-4", &r) && r == 1e-4, "a number");
    tap_ok(!text_to_f64("nan", &r) && !text_to_f64("inf", &r) &&
               !text_to_f64("1e999", &r) && !text_to_f64("", &r) &&
               !text_to_f64("1,5", &r),
           "no finite numbers");
}

static void test_nearest(void)
{
    const char *commands[] = {"run", "report", "export", "run"};
    char word[121];
    tap_ok(strcmp(text_nearest("rnu", commands, 4), "run") == 0 &&
               strcmp(text_nearest("reprot", commands, 4), "report") == 0 &&
               strcmp(text_nearest("exports", commands, 4), "export") == 0,
           "transposed, swapped and added letters");
    tap_ok(text_nearest("run", commands, 4) == commands[0], "the first of equals");
    tap_ok(text_nearest("", commands, 4) == NULL &&
               text_nearest("run", commands, 0) == NULL,
           "an empty word, an empty list");
    memset(word, 'r', sizeof word - 1);
    word[sizeof word - 1] = '\0';
    tap_ok(text_nearest(word, commands, 4) == NULL, "a very long word");
}

int main(void)
{
    struct text t = {0};
    for (int i = 0; i < 1000; i++)
        text_add(&t, "%d,", i % 10);
    text_add_bytes(&t, "a\0b", 3);
    tap_ok(t.len == 2003 && t.s[t.len] == '\0' && memcmp(t.s + 1998, "9,a\0b", 5) == 0,
           "a text grows and ends in NUL");
    text_free(&t);
    tap_ok(t.s == NULL && t.len == 0, "and is empty when freed");
    char *s = text_new("%s-%d", "x", 3);
    tap_ok(strcmp(s, "x-3") == 0, "text_new");
    mem_free(s);
    test_numbers();
    seconds("90", 90);
    seconds("90s", 90);
    seconds("15m", 900);
    seconds("1.5h", 5400);
    seconds("2d", 172800);
    seconds("02:30", 150);
    seconds("1:30:00", 5400);
    seconds("1-00:00:00", 86400);
    seconds("1-12", 129600);
    seconds("2-01:30", 178200);
    seconds("", -1);
    seconds("-5", -1);
    seconds("5x", -1);
    seconds("1:2:3:4", -1);
    seconds("1:30m", -1);
    seconds(":30", -1);
    seconds("1:", -1);
    seconds("1::2", -1);
    seconds("1:-5", -1);
    seconds("1-", -1);
    seconds("-1-00", -1);
    seconds("5 m", -1);
    seconds("5mm", -1);
    seconds("inf", -1);
    seconds("nan", -1);
    seconds("never", -1);
    const char *words[] = {"update.lr", "update.beta1", "run.seed"};
    tap_ok(strcmp(text_nearest("update.lrr", words, 3), "update.lr") == 0 &&
               strcmp(text_nearest("run.sead", words, 3), "run.seed") == 0,
           "the nearest word");
    tap_ok(text_nearest("zz", words, 3) == NULL, "none is near");
    tap_ok(text_unknown("key", "run.sead", words, 3) == -1 && err_code() == ERR_USAGE &&
               strcmp(err_text(), "unknown key \"run.sead\"; did you mean \"run.seed\"? (there "
                                  "are update.lr, update.beta1, run.seed)") == 0,
           "an unknown word: %s", err_text());
    test_nearest();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

/* Lines, fields, names, numbers and texts of csv, and what is refused. */
#include "io/csv.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <string.h>

static struct csv over(const char *text, size_t len)
{
    struct csv c;
    csv_begin(&c, "a.csv", (const unsigned char *)text, (int64_t)len);
    return c;
}

static bool is(const struct csv_field *f, const char *text)
{
    return f->len == (int64_t)strlen(text) && memcmp(f->p, text, strlen(text)) == 0;
}

static void lines(void)
{
    static const char text[] = "a,bc \r\n\n\r\n1,,x\t\nlast";
    struct csv c = over(text, sizeof text - 1);
    struct csv_field f;
    int64_t k = -1;
    tap_ok(csv_next(&c) && c.number == 1 && csv_column(&c, "bc", &k) == 0 && k == 1,
           "a column by its name");
    tap_ok(csv_column(&c, "b", &k) != 0 && err_code() == ERR_INPUT,
           "no such column: %s", err_text());
    tap_ok(csv_next(&c) && c.number == 4, "blank lines count and are left out");
    tap_ok(csv_field(&c, &f) && is(&f, "1") && csv_field(&c, &f) && is(&f, "") &&
               csv_field(&c, &f) && is(&f, "x") && !csv_field(&c, &f),
           "fields in turn, an empty one too");
    tap_ok(csv_field_at(&c, 2, &f) == 0 && is(&f, "x"), "a field by its number");
    tap_ok(csv_field_at(&c, 3, &f) != 0 && csv_where(&c) == -1 &&
               strstr(err_text(), "a.csv:4") != NULL,
           "too few columns: %s", err_text());
    tap_ok(csv_next(&c) && csv_field(&c, &f) && is(&f, "last") && !csv_next(&c),
           "a last line without its end");
    c = over("", 0);
    tap_ok(!csv_next(&c), "no lines");
}

static void fields(void)
{
    static const char zero[] = "1\0002,3";
    struct csv c = over(zero, sizeof zero - 1);
    struct csv_field f = {.p = " 2.5", .len = 4};
    double v = 0;
    tap_ok(csv_number(&f, &v) && v == 2.5, "a number");
    f = (struct csv_field){.p = "inf", .len = 3};
    tap_ok(!csv_number(&f, &v), "infinity is refused");
    tap_ok(csv_next(&c) && csv_field(&c, &f) && !csv_number(&f, &v),
           "a number with a byte 0 in it is refused");
    tap_ok(csv_check_texts(&c) != 0, "a text with a byte 0 is refused: %s", err_text());
    c = over("\"a\"", 3);
    tap_ok(csv_next(&c) && csv_check_texts(&c) != 0, "quotes are refused: %s",
           err_text());
    char *big = mem_alloc(CSV_FIELD_MOST + 1, 1);
    memset(big, 'a', CSV_FIELD_MOST + 1);
    f = (struct csv_field){.p = big, .len = CSV_FIELD_MOST + 1};
    tap_ok(csv_text(&f) == NULL && err_code() == ERR_INPUT && !csv_number(&f, &v),
           "a text that is too long: %s", err_text());
    f.len = 3;
    char *text = csv_text(&f);
    tap_ok(text != NULL && strcmp(text, "aaa") == 0, "a copy");
    mem_free(text);
    mem_free(big);
}

int main(void)
{
    lines();
    fields();
    tap_ok(mem_live() == 0, "all memory is given back");
    return tap_done();
}

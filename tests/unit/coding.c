/* Codings of data: there and back, config.json, tables of texts and labels, refusals. */
#include "io/dataset.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <unistd.h>

static char path[64];

static void put(const char *text)
{
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        abort();
}

static int parse(const char *json, struct coding *c)
{
    struct json *v = json_parse(json, (int64_t)strlen(json), "config.json");
    int rc = v == NULL ? -1 : coding_read(v, "config.json", c);
    json_free(v);
    return rc;
}

static void refuses(const char *json, const char *word)
{
    struct coding c;
    tap_ok(parse(json, &c) != 0 && err_code() == ERR_INPUT &&
               strstr(err_text(), word) != NULL,
           "refuses %s: %s", json, err_text());
}

static void test_series(void)
{
    const float values[] = {0.5f, 2, 8, 1, 4, 0.25f};
    for (int log_of = 0; log_of < 2; log_of++) {
        float x[6], worst = 0;
        double sum = 0, squares = 0;
        struct coding c, again = {0};
        memcpy(x, values, sizeof x);
        tap_ok(coding_fit(&c, log_of, x, 6) == 0 && coding_encode(&c, x, 6) == 0, "fit");
        for (int i = 0; i < 6; i++) {
            sum += (double)x[i];
            squares += (double)x[i] * (double)x[i];
        }
        tap_ok(fabs(sum) < 1e-6 && fabs(squares - 6) < 1e-5, "mean 0, variance 1: %g, %g",
               sum / 6, squares / 6);
        char *text = coding_insert(&c, "{\"a\": {\"b\": 1}\n}\n");
        tap_ok(parse(text, &again) == 0 && again.kind == c.kind && again.log == c.log &&
                   again.mean == c.mean && again.std == c.std,
               "config.json keeps every bit: %.17g, %.17g", again.mean, again.std);
        mem_free(text);
        coding_decode(&again, x, 6);
        for (int i = 0; i < 6; i++)
            worst = fmaxf(worst, fabsf(x[i] / values[i] - 1));
        tap_ok(worst < 1e-6f, "and back: %g", (double)worst);
    }
    struct coding c;
    tap_ok(coding_fit(&c, true, (const float[]){1, 0}, 2) != 0, "log of 0: %s", err_text());
    tap_ok(coding_fit(&c, false, (const float[]){3, 3}, 2) != 0, "equal: %s", err_text());
}

static void test_text(void)
{
    struct coding c = {0}, again = {0};
    float x[4 * 5];
    char s[6];
    tap_ok(coding_set_alphabet(&c, " CAT") == 0, "an alphabet");
    tap_ok(coding_encode_text(&c, "TAC", 5, x) == 0 && x[3 * 5 + 0] == 1 &&
               x[2 * 5 + 0] == -1 && x[0 * 5 + 4] == 1,
           "one-hot, filled up with blanks");
    coding_decode_text(&c, x, 5, s);
    tap_ok(strcmp(s, "TAC") == 0, "and back: '%s'", s);
    x[1 * 5 + 4] = 2;
    coding_decode_text(&c, x, 5, s);
    tap_ok(strcmp(s, "TAC C") == 0, "an inner blank stays: '%s'", s);
    tap_ok(coding_encode_text(&c, "TAG", 5, x) != 0, "%s", err_text());
    tap_ok(coding_encode_text(&c, "TACTAC", 5, x) != 0, "%s", err_text());
    char *text = coding_insert(&c, "{}");
    tap_ok(parse(text, &again) == 0 && strcmp(again.alphabet, " CAT") == 0,
           "config.json keeps the alphabet");
    mem_free(text);
    coding_set_alphabet(&c, "ACGT");
    tap_ok(coding_encode_text(&c, "ACG", 4, x) != 0, "%s", err_text());
    refuses("{\"data\": 3}", "series");
    refuses("{\"data\": {\"kind\": \"text\"}}", "alphabet");
    refuses("{\"data\": {\"kind\": \"text\", \"alphabet\": \"ACA\"}}", "twice");
    refuses("{\"data\": {\"kind\": \"text\", \"alphabet\": \"A\"}}", "2 to 64");
    refuses("{\"data\": {\"kind\": \"text\", \"alphabet\": \"A\\n\"}}", "printable");
    refuses("{\"data\": {\"kind\": \"series\", \"mean\": 1}}", "std");
    refuses("{\"data\": {\"kind\": \"series\", \"mean\": 1, \"std\": 0}}", "std");
    refuses("{\"data\": {\"kind\": \"series\", \"mean\": 1, \"sdt\": 1}}", "'std'");
}

static void bad_table(const char *text, const char *column, const char *word)
{
    struct dataset d;
    struct coding c = {0};
    put(text);
    tap_ok(dataset_read_text(&d, path, column, 0, &c) != 0 && d.sample == NULL &&
               strstr(err_text(), word) != NULL,
           "refuses: %s", err_text());
}

static void test_table(void)
{
    struct dataset d;
    struct coding c = {0};
    put("id,seq,score,class\r\n1,GATC,0.5,2\r\n2,GA,0.25,0\r\n\r\n3,TTTT,0,1\r\n");
    tap_ok(dataset_read_text(&d, path, "seq", 0, &c) == 0 && d.n == 3 && d.channels == 5 &&
               d.height == 1 && d.width == 4 && strcmp(c.alphabet, " ACGT") == 0,
           "a column of texts: alphabet '%s'", c.alphabet);
    char s[5];
    coding_decode_text(&c, d.sample + 1 * 5 * 4, 4, s);
    tap_ok(strcmp(s, "GA") == 0, "the second is '%s'", s);
    tap_ok(dataset_add_labels(&d, path, "class") == 0 && d.classes == 3 &&
               d.label[0] == 2 && d.label[2] == 1,
           "a column of labels");
    tap_ok(dataset_add_labels(&d, path, "score") != 0 && d.factors == 1, "%s", err_text());
    tap_ok(dataset_add_labels(&d, path, "class") == 0 && d.classes == 9 &&
               d.factors == 2 && d.factor[1] == 3 && d.label[0] == 8 && d.label[1] == 0,
           "two labels are joined, the last running fastest");
    dataset_first(&d, 2);
    tap_ok(dataset_add_labels(&d, path, "class") != 0, "%s", err_text());
    dataset_free(&d);
    tap_ok(coding_set_alphabet(&c, "ACGT ") == 0 &&
               dataset_read_text(&d, path, "seq", 6, &c) == 0 && d.width == 6 &&
               strcmp(c.alphabet, "ACGT ") == 0,
           "a given alphabet and length");
    dataset_free(&d);
    tap_ok(coding_set_alphabet(&c, "ACGT") == 0 &&
               dataset_read_text(&d, path, "seq", 0, &c) != 0,
           "no blank to fill up with: %s", err_text());
    put("CAT\nTAC");
    c = (struct coding){0};
    tap_ok(dataset_read_text(&d, path, "", 0, &c) == 0 && d.n == 2 && d.channels == 3,
           "a file of texts alone");
    dataset_free(&d);
    bad_table("id,seq\n1,GA\n2\n", "seq", ":3");
    bad_table("id,seq\n1,GA\n2,\"A\"\n", "seq", "quotes");
    bad_table("id,seq\n1,GA\n", "sequence", "'sequence'");
    bad_table("id,seq\n", "seq", "no rows");
    bad_table("", "", "no rows");
    bad_table("seq,a\n,1\n,2\n", "seq", "empty");
    bad_table("A\nA\n", "", "alphabet");
    bad_table("A\xff\n", "", "printable");
}

/* The real tables. */
static void test_shared(const char *name, const char *column, const int64_t want[3],
                        const char *alphabet)
{
    struct dataset d;
    struct coding c = {0};
    char sub[96];
    snprintf(sub, sizeof sub, "data/%s", name);
    const char *file = tap_shared(sub);
    if (file == NULL) {
        tap_skip(name, "the data sets are not here");
        return;
    }
    int rc = dataset_read_text(&d, file, column, 0, &c);
    tap_ok(rc == 0 && d.n == want[0] && d.channels == want[1] && d.width == want[2] &&
               strcmp(c.alphabet, alphabet) == 0,
           "%s: %lld texts of up to %lld characters '%s'%s", name, (long long)d.n,
           (long long)d.width, c.alphabet, rc == 0 ? "" : err_text());
    dataset_free(&d);
}

int main(void)
{
    snprintf(path, sizeof path, "/tmp/sluice-coding.XXXXXX");
    int fd = mkstemp(path);
    if (fd < 0)
        return 1;
    close(fd);
    test_series();
    test_text();
    test_table();
    test_shared("tfbind8/tfbind8.csv", "seq", (const int64_t[]){65536, 4, 8}, "ACGT");
    test_shared("molecules/qm9.csv", "smiles", (const int64_t[]){132040, 14, 22},
                " #()12345=CFNO");
    unlink(path);
    tap_ok(mem_live() == 0, "all memory is given back: %lld", (long long)mem_live());
    return tap_done();
}

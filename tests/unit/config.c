/* Configuration: types, ranges, origins, errors that say where and what, round trips.
 */
#include "io/sys/mem.h"
#include "pipeline/schema.h"
#include "tests/config_case.h"

static const struct config_key table[] = {
    {"run.dir", CONFIG_TEXT, "", 0, 0, NULL, false, "where"},
    {"run.seed", CONFIG_INT, "7", 0, 9007199254740992.0, NULL, true, "seed"},
    {"run.limit", CONFIG_DURATION, "90", 0, 1e9, NULL, false, "time"},
    {"net.lr", CONFIG_REAL, "3e-4", 0, 1, NULL, true, "rate"},
    {"net.batch", CONFIG_INT, "auto", 1, 64, "auto", true, "batch"},
    {"net.flip", CONFIG_BOOL, "true", 0, 0, NULL, true, "flip"},
    {"net.kind", CONFIG_CHOICE, "ddim", 0, 0, "ddim|ddpm", true, "kind"},
    {"net.classes", CONFIG_INT_LIST, "[]", 0, 9, NULL, true, "classes"},
    {"staleness", CONFIG_INT, "0", 0, 5, NULL, true, "top level"},
    {.key = NULL},
};

static void test_values(void)
{
    struct config *c = config_create(table);
    const int64_t *list = NULL;
    tap_ok(config_int(c, "run.seed") == 7 && config_real(c, "net.lr") == 3e-4 &&
               config_bool(c, "net.flip") && config_is(c, "net.batch", "auto") &&
               config_list(c, "net.classes", &list) == 0 &&
               strcmp(config_origin(c, "net.lr"), "default") == 0,
           "defaults come from the table");
    tap_ok(reads(c, "# a comment\nrun:\n  dir: \"a \\\"b\\\": c\"\n  limit: 1:30:00\n"
                    "net:\n  lr: 0.25\n  batch: 8\n  kind: ddpm\n  classes: [0, 3,5]\n"
                    "  flip: no\nstaleness: 2\n"),
           "a file is read: %s", err_text());
    tap_ok(strcmp(config_text(c, "run.dir"), "a \"b\": c") == 0 &&
               config_real(c, "run.limit") == 5400 &&
               config_real(c, "net.lr") == 0.25 && config_int(c, "net.batch") == 8 &&
               !config_is(c, "net.batch", "auto") &&
               config_choice(c, "net.kind") == 1 && config_int(c, "staleness") == 2 &&
               !config_bool(c, "net.flip"),
           "its values are the configuration's");
    tap_ok(config_list(c, "net.classes", &list) == 3 && list[1] == 3 && list[2] == 5,
           "a list");
    char want[96];
    snprintf(want, sizeof want, "%s:6", path);
    tap_ok(strcmp(config_origin(c, "net.lr"), want) == 0, "origin %s",
           config_origin(c, "net.lr"));
    tap_ok(config_override(c, "net.classes=0,3,9") == 0 &&
               config_list(c, "net.classes", &list) == 3 && list[2] == 9 &&
               config_override(c, "net.classes=[]") == 0 &&
               config_list(c, "net.classes", &list) == 0 &&
               strcmp(config_origin(c, "net.classes"), "command line") == 0,
           "lists on the command line");
    tap_ok(config_override(c, "run.dir=") == 0 && config_text(c, "run.dir")[0] == '\0',
           "an empty text");
    config_destroy(c);
}

static void test_digest(void)
{
    struct config *a = config_create(table), *b = config_create(table);
    char da[DIGEST_HEX], db[DIGEST_HEX];
    config_override(a, "net.lr=1e-4");
    config_override(b, "net.lr=0.0001");
    config_override(b, "run.dir=elsewhere");
    config_digest(a, da);
    config_digest(b, db);
    tap_ok(strcmp(da, db) == 0 && config_difference(a, b) == NULL,
           "spelling and keys that shape no result do not enter the digest");
    config_override(b, "net.batch=4");
    config_digest(b, db);
    tap_ok(strcmp(da, db) != 0 && strcmp(config_difference(a, b), "net.batch") == 0,
           "the first difference is named");
    config_destroy(a);
    config_destroy(b);
}

static void test_round_trip(void)
{
    struct config *a = config_create(table), *b = config_create(table);
    struct text t = {0}, u = {0};
    config_override(a, "run.dir=a: \"x\" \\ # ~ [1] \xc3\xa4");
    config_override(a, "net.lr=0.1234567890123");
    config_override(a, "net.classes=1,2");
    for (int help = 0; help < 2; help++) {
        config_dump(a, &t, help != 0);
        tap_ok(reads(b, t.s), "the saved configuration reads back: %s", err_text());
        text_free(&t);
    }
    config_dump(a, &t, false);
    config_dump(b, &u, false);
    tap_ok(strcmp(t.s, u.s) == 0, "and says the same");
    text_free(&t);
    text_free(&u);
    config_destroy(a);
    config_destroy(b);
}

static void test_refusals(void)
{
    refused("net:\n  optimiser_kind: 1\n", ":2: unknown key 'net.optimiser_kind'; did "
                                           "you mean 'net.kind'? (keys there: lr, ");
    refused("net:\n  batsh: 1\n", "did you mean 'net.batch'?");
    refused("run:\n  lr: 1\n", "did you mean 'net.lr'?");
    refused("nett:\n  lr: 1\n", "unknown key 'nett'");
    refused("net:\n  lr: nan\n",
            ":2: net.lr: 'nan' is not accepted, it takes a finite");
    refused("net:\n  lr: .inf\n", "finite");
    refused("net:\n  lr: 2\n", "from 0 to 1");
    refused("net:\n  batch: 1.5\n", "an integer from 1 to 64, or auto");
    refused("net:\n  batch: many\n", "or auto");
    refused("net:\n  batch:\n", "net.batch: ''");
    refused("net:\n  kind: ddqm\n", "one of ddim|ddpm");
    refused("net:\n  flip: maybe\n", "true or false");
    refused("net:\n  classes: [1, 10]\n", "integers");
    refused("net:\n  classes: [1, [2]]\n", "plain numbers only");
    refused("net:\n  lr: [1]\n", "a list");
    refused("net:\n  lr: {a: 1}\n", "is a section here");
    refused("net: 5\n", "is a section");
    refused("net:\n  lr: 1\n  lr: 0.5\n", ":3: 'net.lr' is given twice");
    refused("net:\n  lr: 1\nnet:\n  batch: 2\n", "section 'net' is given twice");
    refused("run: {seed: 1}\n---\nrun: {seed: 2}\n", "second document");
    refused("- a\n- b\n", "lines expected");
    refused("run: {seed: 1\n", ":2:");
    refused("run: {seed: &a 1}\nstaleness: *a\n", "aliases");
    refused("? [a]\n: 1\n", "a key must be a plain word");
    refused("run: {dir: \"a\\0b\"}\n", "NUL");
    refused("run: {limit: 5parsecs}\n", "a duration");
    refused_override("net.lr", "section.key=value");
    refused_override("=3", "section.key=value");
    refused_override("net.l=3", "did you mean 'net.lr'");
    refused_override("run.seed=99999999999999999999", "an integer");
    refused_override("run.seed=-1", "from 0");
    refused_override("run.dir=a\tb", "a line of text");
    refused_override("run.dir=\xff", "UTF-8");
    refused_override("net.classes=1,,2", "list");
    refused_override("net.classes=[1", "list");
    refused_override("net.classes=1,", "list");
}

/* The keys of a section stand together in the program's table: it is written in its
 * order, and a file with a section in two parts is refused. */
static void test_sections(void)
{
    for (const struct config_key *k = schema; k->key != NULL; k++) {
        size_t n = strcspn(k->key, ".");
        const struct config_key *last = k;
        for (const struct config_key *j = k; j->key != NULL; j++)
            if (strncmp(j->key, k->key, n + 1) == 0)
                last = j;
        while (last > k && strncmp(last->key, k->key, n + 1) == 0)
            last--;
        if (!tap_ok(last == k, "%s: its section is in one piece", k->key))
            return;
        while (k[1].key != NULL && strncmp(k[1].key, k->key, n + 1) == 0)
            k++;
    }
}

int main(void)
{
    case_begin(table);
    test_values();
    test_digest();
    test_round_trip();
    test_refusals();
    test_sections();
    struct config *c = config_create(table);
    tap_ok(reads(c, "") && reads(c, "---\n") && reads(c, "run:\n") && reads(c, "# x\n"),
           "empty files and sections are fine");
    tap_ok(config_override(c, "net.lr=2") != 0 && config_real(c, "net.lr") == 3e-4,
           "a refused value leaves the old one");
    unlink(path);
    tap_ok(config_read(c, path) != 0 && err_code() == ERR_INPUT, "a missing file: %s",
           err_text());
    config_destroy(c);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

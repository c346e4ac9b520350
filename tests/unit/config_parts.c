/* Parts of a configuration: maps, flat and nested, overrides, what falls back on the whole,
 * refusals, the saved file, digests. */
#include "io/sys/mem.h"
#include "tests/config_case.h"

static const struct config_key table[] = {
    {"run.seed", CONFIG_INT, "7", 0, 100, NULL, true, "seed"},
    {"what.name", CONFIG_TEXT, "none", 0, 0, NULL, true, "name"},
    {"what.weight", CONFIG_REAL, "1", -9, 9, NULL, true, "weight"},
    {"what.hours", CONFIG_INT_LIST, "[7, 22]", 0, 24, NULL, true, "hours"},
    {"what.folder", CONFIG_TEXT, "", 0, 0, NULL, false, "folder"},
    {"what.flip", CONFIG_BOOL, "true", 0, 0, NULL, true, "flip"},
    {"web.url", CONFIG_TEXT, "", 0, 0, NULL, true, "url"},
    {"web.wait", CONFIG_DURATION, "90", 0, 1e9, NULL, false, "wait"},
    {"web.name", CONFIG_TEXT, "", 0, 0, NULL, true, "name"},
    {"parts", CONFIG_PARTS, "", 0, 0, "what|web", true, "parts"},
    {"last", CONFIG_INT, "0", 0, 5, NULL, true, "top level"},
    {.key = NULL},
};

static void test_values(void)
{
    struct config *c = config_create(table);
    const struct config *p;
    const char *name;
    const int64_t *list = NULL;
    tap_ok(config_parts(c) == 0, "none at first");
    tap_ok(reads(c, "what: {name: all, weight: 3}\n"
                    "parts:\n  size: {name: jpeg, weight: 0.5, hours: [1, 2, 3]}\n"
                    "  taste:\n    name: http\n    what: {flip: off}\n    web:\n"
                    "      url: \"a: b\"\n      wait: 1:30\n  idle:\n  empty: {}\n"
                    "  flat: {what.weight: 2, web.url: x, web.name: y, web: }\nlast: 2\n"),
           "maps are read, nested and flat: %s", err_text());
    tap_ok(config_parts(c) == 5 && config_int(c, "last") == 2, "all of them, and what follows");
    p = config_part(c, 0, &name);
    tap_ok(strcmp(name, "size") == 0 && config_is(p, "what.name", "jpeg") &&
               config_real(p, "what.weight") == 0.5 && config_list(p, "what.hours", &list) == 3 &&
               list[2] == 3 && config_bool(p, "what.flip") && config_int(p, "run.seed") == 7,
           "its own keys, else the run's");
    tap_ok(config_part_sets(p, "what.weight") && !config_part_sets(p, "what.flip"),
           "it knows what it has set");
    p = config_part(c, 1, &name);
    tap_ok(strcmp(name, "taste") == 0 && !config_bool(p, "what.flip") &&
               config_is(p, "web.url", "a: b") && config_real(p, "web.wait") == 90 &&
               config_real(p, "what.weight") == 3 && config_list(p, "what.hours", &list) == 2,
           "sections in a part");
    p = config_part(c, 2, NULL);
    tap_ok(config_is(p, "what.name", "all"), "a part without keys is as the whole");
    p = config_part(c, 4, NULL);
    tap_ok(config_real(p, "what.weight") == 2 && config_is(p, "web.name", "y") &&
               config_is(p, "what.name", "all"),
           "keys with their section");
    tap_ok(strstr(config_origin(p, "web.url"), ":12") != NULL &&
               strstr(config_origin(p, "what.name"), ":1") != NULL,
           "origins: %s", config_origin(p, "web.url"));
    tap_ok(config_override(c, "what.weight=4") == 0 &&
               config_real(config_part(c, 1, NULL), "what.weight") == 4 &&
               config_real(config_part(c, 0, NULL), "what.weight") == 0.5,
           "what the whole sets later, parts without it have too");
    tap_ok(config_override(c, "parts.size.weight=2") == 0 &&
               config_override(c, "parts.size.hours=[4]") == 0 &&
               config_override(c, "parts.taste.web.url=") == 0 &&
               config_override(c, "parts.fresh.what.name=a.b=c") == 0,
           "overrides: %s", err_text());
    p = config_part(c, 0, NULL);
    tap_ok(config_real(p, "what.weight") == 2 && config_list(p, "what.hours", &list) == 1 &&
               list[0] == 4 && config_text(config_part(c, 1, NULL), "web.url")[0] == '\0' &&
               config_is(config_part(c, 5, &name), "what.name", "a.b=c") &&
               strcmp(name, "fresh") == 0 &&
               strcmp(config_origin(p, "what.hours"), "command line") == 0,
           "they are the parts', and may name a new one");
    tap_ok(reads(c, "parts: {size: {weight: 3}}\n") && config_parts(c) == 6 &&
               config_real(config_part(c, 0, NULL), "what.weight") == 3 &&
               config_is(config_part(c, 0, NULL), "what.name", "jpeg"),
           "a second file adds to what the first said");
    tap_ok(reads(c, "parts: {}\n") && reads(c, "parts:\n") && config_parts(c) == 6,
           "an empty map takes nothing away");
    tap_ok(config_override(c, "parts.size.weight=10") != 0 &&
               config_real(config_part(c, 0, NULL), "what.weight") == 3,
           "a refused value leaves the old one: %s", err_text());
    err_clear();
    config_destroy(c);
}

static void test_refusals(void)
{
    struct text many = {0};
    text_add(&many, "parts:\n");
    for (int i = 0; i < CONFIG_PARTS_MAX + 1; i++)
        text_add(&many, "  p%d: {}\n", i);
    refused(many.s, ":34: parts: at most 32");
    text_free(&many);
    refused("parts:\n  a:\n    name: b\n    [c]: d\n", ":4: a key must be a plain word");
    refused("parts: {a: {wight: 1}}\n", "did you mean 'what.weight'?");
    refused("parts: {a: {last: 1}}\n", "unknown key 'what.last'");
    refused("parts: {a: {run: {seed: 1}}}\n", "unknown key 'what.run'");
    refused("parts: {a: {run.seed: 1}}\n", "unknown key 'run.seed'");
    refused("parts: {a: {parts: {b: {}}}}\n", "unknown key 'what.parts'");
    refused("parts: {a: {nonsense: {}}}\n", "unknown key 'what.nonsense'");
    refused("parts: {a: {web: {web: {}}}}\n", "unknown key 'web.web'");
    refused("parts: {a: {web: {ulr: 1}}}\n", "unknown key 'web.ulr'; did you mean 'web.url'?");
    refused("parts: {a: {web: 5}}\n", "'parts.a.web' is a section");
    refused("parts: {a: {web: [5]}}\n", "'parts.a.web' is a section");
    refused("parts: {a: 5}\n", "parts.a: indented");
    refused("parts: {a: [5]}\n", "parts.a: indented");
    refused("parts: 5\n", "parts: named maps must follow");
    refused("parts: [a, b]\n", "parts: named maps must follow");
    refused("parts: \"\"\n", "parts: named maps must follow");
    refused("parts: {A: {}}\n", "is no name");
    refused("parts: {a-b: {}}\n", "is no name");
    refused("parts: {a.b: {}}\n", "is no name");
    refused("parts: {1a: {}}\n", "is no name");
    refused("parts: {_a: {}}\n", "is no name");
    refused("parts: {\"\": {}}\n", "is no name");
    refused("parts: {\"a\\0b\": {}}\n", "NUL");
    refused("parts: {a: {\"weight\\0b\": 1}}\n", "NUL");
    refused("parts: {abcdefghijklmnopqrstuvwxy: {}}\n", "at most 24");
    refused("parts: {[a]: {}}\n", "must be a plain word");
    refused("parts: {a: {[b]: 1}}\n", "must be a plain word");
    refused("parts: {a: {weight: 1, weight: 2}}\n", "'what.weight' is given twice");
    refused("parts: {a: {weight: 1, what: {weight: 2}}}\n", "'what.weight' is given twice");
    refused("parts: {a: {web: {url: 1}, web: {name: 2}}}\n", "'parts.a.web' is given twice");
    refused("parts: {a: {weight: 1}, a: {flip: on}}\n", "part 'parts.a' is given twice");
    refused("parts: {a: {}}\nparts: {b: {}}\n", "section 'parts' is given twice");
    refused("parts: {a: {weight: x}}\n", "a finite number from -9 to 9");
    refused("parts: {a: {weight: {b: 1}}}\n", "is a section here");
    refused("parts: {a: {weight: [1]}}\n", "a list");
    refused("parts: {a: {hours: [1, 99]}}\n", "integers");
    refused("parts: {a: {hours: [1, [9]]}}\n", "plain numbers only");
    refused("what: {name: &n x}\nparts: {a: {name: *n}}\n", "aliases");
    refused("what: {&m a: 1}\nparts: *m\n", "unknown key 'what.a'");
    refused("parts: {a: &m {weight: 1}, b: *m}\n", "aliases");
    refused("parts: {*m : {}}\n", ":1:");
    refused("parts: {a: {<<: {weight: 1}}}\n", "unknown key 'what.<<'");
    refused("parts: {a: {weight: 1}\n", ":2:");
    refused_override("parts=", "one by one");
    refused_override("parts=size", "one by one");
    refused_override("parts.a=1", "unknown key 'a'");
    refused_override("parts.=1", "unknown key ''");
    refused_override("parts..weight=1", "is no name");
    refused_override("parts.A.weight=1", "is no name");
    refused_override("parts.a.=1", "unknown key 'what.'");
    refused_override("parts.a.wight=1", "did you mean");
    refused_override("parts.a.run.seed=1", "unknown key 'run.seed'");
    refused_override("parts.a.weight=inf", "finite");
    refused_override("parts.a.web=1", "unknown key 'web'");
    refused_override("partsx.a.weight=1", "unknown key 'partsx.a.weight'");
}

static void test_round_trip(void)
{
    struct config *a = config_create(table), *b = config_create(table);
    struct text t = {0}, u = {0};
    const char *set[] = {"parts.z.url=unused", "parts.b.name=a: \"x\" \\ # ~ [1] \xc3\xa4",
                         "parts.b.web.name=null", "parts.b.hours=1,2", "parts.b.flip=no",
                         "parts.a.weight=0.1234567890123", "parts.a.web.wait=1:30:00",
                         "parts.a.folder="};
    tap_ok(config_override(a, set[0]) != 0, "a key of another section needs its name");
    err_clear();
    for (size_t i = 1; i < sizeof set / sizeof *set; i++)
        if (config_override(a, set[i]) != 0)
            tap_ok(0, "%s", err_text());
    for (int help = 0; help < 2; help++) {
        struct config *fresh = config_create(table);
        config_dump(a, &t, help != 0);
        tap_ok(reads(fresh, t.s), "the saved configuration reads back: %s", err_text());
        text_free(&t);
        config_dump(a, &t, false);
        config_dump(fresh, &u, false);
        tap_ok(strcmp(t.s, u.s) == 0, "and says the same");
        tap_ok(config_difference(a, fresh) == NULL && config_difference(fresh, a) == NULL,
               "no difference");
        text_free(&t);
        text_free(&u);
        config_destroy(fresh);
    }
    config_dump(b, &t, false);
    tap_ok(strstr(t.s, "parts: {}\n") != NULL && reads(b, t.s) && config_parts(b) == 0,
           "none is an empty map");
    text_free(&t);
    config_destroy(a);
    config_destroy(b);
}

static bool differ(const char *one, const char *other)
{
    struct config *a = config_create(table), *b = config_create(table);
    char da[DIGEST_HEX], db[DIGEST_HEX];
    if (!reads(a, one) || !reads(b, other))
        tap_ok(0, "%s", err_text());
    config_digest(a, da);
    config_digest(b, db);
    const char *d = config_difference(a, b);
    bool same = strcmp(da, db) == 0;
    if (same != (d == NULL) || (d != NULL && strcmp(d, "parts") != 0))
        tap_ok(0, "digest and difference agree");
    config_destroy(a);
    config_destroy(b);
    return !same;
}

static void test_digest(void)
{
    tap_ok(differ("", "parts: {a: {}}\n"), "a part is a difference");
    tap_ok(!differ("", "parts: {}\n"), "no parts are none");
    tap_ok(!differ("parts: {a: {weight: 1e-1}}\n", "parts: {a: {what: {weight: 0.10}}}\n"),
           "spelling is not");
    tap_ok(!differ("parts: {a: {folder: x, web.wait: 3}}\n", "parts: {a: {}}\n"),
           "keys that shape no result are not");
    tap_ok(differ("parts: {a: {weight: 1}}\n", "parts: {a: {weight: 2}}\n"), "a value is");
    tap_ok(differ("parts: {a: {weight: 1}}\n", "parts: {b: {weight: 1}}\n"), "a name is");
    tap_ok(differ("parts: {a: {}, b: {}}\n", "parts: {b: {}, a: {}}\n"), "the order is");
    tap_ok(differ("parts: {a: {name: b}}\n", "parts: {a: {}, b: {}}\n") &&
               differ("parts: {a: {weight: 1}, b: {}}\n", "parts: {a: {}, b: {weight: 1}}\n"),
           "and to whom a value belongs");
}

int main(void)
{
    case_begin(table);
    test_values();
    test_refusals();
    test_round_trip();
    test_digest();
    unlink(path);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

/* Bytes of the exec protocol: requests as documented, replies taken whole or not at all, and
 * tens of thousands of damaged ones. */
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/reward/exec_command.h"
#include "stages/reward/exec_wire.h"
#include "tests/tap.h"

#include <unistd.h>

enum { N = 5 };

static const struct exec_wire json = {.binary = false}, binary = {.binary = true};

static void put(struct text *t, const void *p, int64_t n)
{
    text_add_bytes(t, p, n);
}

/* A right reply to request 77. */
static void right(bool as_binary, struct text *t)
{
    static const double score[N] = {0.5, -1.25, 3e100, 0, -0.0};
    static const uint8_t status[N] = {0, 0, 0, 1, 3};
    const uint64_t head[] = {77, N};
    t->len = 0;
    if (!as_binary) {
        text_add(t, "{\"id\":77,\"note\":\"a \\\"NaN\\\" }\",\"scores\":[0.5,-1.25,3e100,"
                    "null,NaN],\"status\":[0,\"ok\",0,1,\"infeasible\"]}\n");
        return;
    }
    put(t, "SLXR\1\0\0", 8);
    put(t, head, sizeof head);
    put(t, score, sizeof score);
    put(t, status, sizeof status);
}

static int64_t take(const struct exec_wire *w, const struct text *t, int64_t n,
                    double *score, uint8_t *status)
{
    const char *why = NULL;
    char *copy = mem_alloc(t->len, 1); /* its own block: a read beyond it shows */
    memcpy(copy, t->s, (size_t)t->len);
    int64_t used = exec_wire_reply(w, copy, t->len, 77, n, score, status, &why);
    if (used < 0 && why == NULL)
        used = -2;
    mem_free(copy);
    return used;
}

static void whole(const struct exec_wire *w, const char *name)
{
    static const uint8_t want[N] = {0, 0, 0, 1, 3};
    struct text t = {0}, part = {0};
    double score[N];
    uint8_t status[N];
    right(w->binary, &t);
    bool good = take(w, &t, N, score, status) == t.len && memcmp(status, want, N) == 0 &&
                score[0] == 0.5 && score[1] == -1.25 && score[2] == 3e100 &&
                isnan(score[3]) && isnan(score[4]);
    tap_ok(good, "%s: a right reply", name);
    good = true;
    for (int64_t n = 0; n < t.len; n++) {
        part.len = 0;
        put(&part, t.s, n);
        good &= take(w, &part, N, score, status) == 0;
    }
    tap_ok(good, "%s: no beginning of it is a reply", name);
    tap_ok(take(w, &t, N + 1, score, status) < 0 && take(w, &t, N - 1, score, status) < 0,
           "%s: of another number of samples", name);
    text_free(&t);
    text_free(&part);
}

static void refused(const struct exec_wire *w, const char *reply, int64_t len)
{
    struct text t = {0};
    double score[N];
    uint8_t status[N];
    put(&t, reply, len);
    int64_t used = take(w, &t, N, score, status);
    for (int64_t i = 0; i < t.len; i++)
        if (t.s[i] < ' ')
            t.s[i] = '.';
    tap_ok(used == -1, "refused: %.60s", t.s);
    text_free(&t);
}

static void wrong(void)
{
    static const char *const lines[] = {
        "{\"id\":78,\"scores\":[1,2,3,4,5]}\n",
        "{\"scores\":[1,2,3,4,5]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,true]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,\"5\"]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,5],\"status\":[0,0,0,0]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,5],\"status\":[0,0,0,0,5]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,5],\"status\":[0,0,0,0,\"fine\"]}\n",
        "{\"id\":77,\"scores\":[1,2,3,4,1e999]}\n",
        "[77,1,2,3,4,5]\n",
        "\n",
    };
    char head[32] = "SLXR\1\0\0";
    const uint64_t id = 77, huge = 1ull << 60;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        refused(&json, lines[i], (int64_t)strlen(lines[i]));
    memcpy(head + 8, &id, 8);
    memcpy(head + 16, &huge, 8);
    refused(&binary, head, 24);
    refused(&binary, "SLXR\2", 5);
    refused(&binary, "{\"id\":1}\n", 9);
    struct text t = {0};
    for (int i = 0; i < 6000; i++)
        text_add(&t, "x");
    refused(&json, t.s, t.len);
    text_free(&t);
}

/* Whatever comes: nothing beyond the buffers is touched, and what is taken has a number
 * exactly where its status is ok. */
static void fuzz(const struct exec_wire *w, const char *name, int rounds)
{
    static const char *const pieces[] = {"NaN", "{}", "null", "]", "\n", "\"", "\\", "1e308",
                                         "-Infinity", "[[[[", "77", "\xff\xfe", "status"};
    struct text t = {0};
    int taken = 0, broken = 0;
    uint64_t key = 1;
    for (int r = 0; r < rounds; r++) {
        double score[N];
        uint8_t status[N];
        right(w->binary, &t);
        for (uint64_t k = 1 + rng_mix64(key++) % 4; k > 0; k--) {
            const uint64_t u = rng_mix64(key++), at = rng_mix64(key++);
            const char *piece = pieces[u % (sizeof pieces / sizeof *pieces)];
            if (t.len == 0)
                break;
            const int64_t i = (int64_t)(at % (uint64_t)t.len),
                          m = (int64_t)strlen(piece);
            if (u >> 8 & 1)
                t.s[i] = (char)(u >> 16);
            else if (u >> 9 & 1)
                memcpy(t.s + i, piece, (size_t)(m < t.len - i ? m : t.len - i));
            else if (u >> 10 & 1)
                t.len = i;
            else
                put(&t, piece, m);
        }
        int64_t used = take(w, &t, N, score, status);
        broken += used < -1 || used > t.len;
        for (int i = 0; i < N && used > 0; i++)
            broken += status[i] > REWARD_NON_FINITE ||
                      (status[i] == REWARD_OK) != (bool)isfinite(score[i]);
        taken += used > 0;
    }
    tap_ok(broken == 0, "%s: %d damaged replies, %d of them still whole, none misread", name,
           rounds, taken);
    text_free(&t);
}

static void hello(void)
{
    static const struct {
        const char *line;
        int64_t used;
    } cases[] = {
        {"sluice-exec 1 json my scorer\n", 29}, {"sluice-exec 1 json\n", 19},
        {"sluice-exec 1 json x\r\nmore", 22},   {"sluice-exec 1 js", 0},
        {"", 0},                                {"sluice-exec 1 jsonx\n", -1},
        {"sluice-exec 2 json x\n", -1},         {"sluice-exec 1 binary x\n", -1},
        {"\n", -1},                             {"Loading weights ...\n", -1},
    };
    char name[128];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *why = NULL;
        int64_t used = exec_wire_hello(&json, cases[i].line, (int64_t)strlen(cases[i].line),
                                       name, &why);
        tap_ok(used == cases[i].used, "first line %d", (int)i);
    }
    char endless[300];
    const char *why = NULL;
    memset(endless, 's', sizeof endless);
    tap_ok(exec_wire_hello(&json, endless, sizeof endless, name, &why) == -1,
           "a first line without an end");
}

static void requests(void)
{
    const float x[] = {0.1f, -1, NAN, 2, 0.25f, 1e-30f};
    const int64_t label[] = {4, 5, 6}, index[] = {0, 2};
    const struct reward_batch b = {.n = 3, .channels = 1, .height = 1, .width = 2,
                                   .sample = x, .label = label, .iteration = 9, .first = 40};
    struct text t = {0};
    exec_wire_request(&json, &b, index, 2, 77, &t);
    t.s[t.len - 1] = '\0';
    tap_ok(strcmp(t.s, "{\"id\":77,\"iteration\":9,\"numbers\":[40,42],\"labels\":[4,6],"
                       "\"shape\":[1,1,2],\"samples\":[[0.100000001,-1],[0.25,1e-30]]}") == 0,
           "JSON: %s", t.s);
    t.len = 0;
    exec_wire_request(&json, &b, (int64_t[]){1}, 1, 78, &t);
    tap_ok(strstr(t.s, "[[null,2]]") != NULL, "no number is null");
    struct coding text = {.kind = CODING_TEXT, .alphabet = "\"\\ "};
    const struct exec_wire texts = {.coding = &text};
    const struct reward_batch c = {.n = 1, .channels = 3, .height = 1, .width = 3,
                                   .sample = (float[]){1, -1, -1, -1, 1, -1, -1, -1, 1}};
    t.len = 0;
    exec_wire_request(&texts, &c, index, 1, 79, &t);
    tap_ok(strstr(t.s, "\"samples\":[\"\\\"\\\\\"]}") != NULL, "a text with a quote");
    t.len = 0;
    exec_wire_request(&binary, &b, index, 2, 77, &t);
    int64_t head[7], tail[4];
    float data[4];
    memcpy(head, t.s + 8, sizeof head);
    tap_ok(t.len == 64 + 16 + 32 && memcmp(t.s, "SLXQ\1\0\0", 8) == 0 && head[0] == 77 &&
               head[1] == 2 && head[2] == 1 && head[3] == 1 && head[4] == 2 && head[5] == 9 &&
               head[6] == 1,
           "binary: %lld bytes and the head", (long long)t.len);
    memcpy(data, t.s + 64, sizeof data);
    memcpy(tail, t.s + 80, sizeof tail);
    tap_ok(memcmp(data, x, 8) == 0 && memcmp(data + 2, x + 4, 8) == 0 && tail[0] == 40 &&
               tail[1] == 42 && tail[2] == 4 && tail[3] == 6,
           "binary: samples, numbers, labels");
    text_free(&t);
}

static void words(void)
{
    char **w = exec_command_words("  a 'b c'\"d \\\" \\\\ \\n\" \\ e\\\"  '' f\t");
    bool good = w != NULL && strcmp(w[0], "a") == 0 && strcmp(w[1], "b cd \" \\ \\n") == 0 &&
                strcmp(w[2], " e\"") == 0 && w[3][0] == '\0' && strcmp(w[4], "f") == 0 &&
                w[5] == NULL;
    tap_ok(good, "words of a command line");
    exec_command_free(w);
    static const char *const odd[] = {"", "  ", "a 'b", "\"", "''"};
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++)
        tap_ok(exec_command_words(odd[i]) == NULL && err_code() == ERR_USAGE, "refused: <%s>",
               odd[i]);
    err_clear();
}

static void identity(void)
{
    char hex[4][DIGEST_HEX], path[80];
    snprintf(path, sizeof path, "%.40s/exec_wire.%d",
             getenv("TMPDIR") != NULL ? getenv("TMPDIR") : "/tmp", (int)getpid());
    char *argv[] = {"sh", path, "QED", NULL};
    for (int i = 0; i < 4; i++) {
        if (i != 1 && file_write(path, i == 2 ? "two" : "one", 3) != 0)
            ERR_BUG("%s", err_text());
        argv[2] = i == 3 ? "SA" : "QED";
        struct digest *d = digest_create();
        exec_command_identify(argv, d);
        digest_finish(d, hex[i]);
    }
    tap_ok(strcmp(hex[0], hex[1]) == 0 && strcmp(hex[0], hex[2]) != 0 &&
               strcmp(hex[0], hex[3]) != 0,
           "a program is its words and its files");
    unlink(path);
}

int main(void)
{
    whole(&json, "JSON");
    whole(&binary, "binary");
    wrong();
    fuzz(&json, "JSON", 60000);
    fuzz(&binary, "binary", 60000);
    hello();
    requests();
    words();
    identity();
    tap_ok(mem_live() == 0, "all memory is given back");
    return tap_done();
}

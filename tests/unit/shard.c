/* Sealed files: what was written comes back, for every type and for empty columns; the
 * digest depends on the values alone; a reader meets any damage with a message; a full
 * disk leaves nothing behind. `shard write PATH` makes the sample of tests/e2e. */
#include "io/shard.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <errno.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

enum { N = 5, STEPS = 4, PIXELS = 12 };

struct options {
    const char *note, *units;
    int64_t pad; /* bytes that the texts are longer than need be */
    int64_t rows;
    double first_reward;
};

static struct shard_head head_of(struct shard_parent *parent)
{
    struct shard_head h = {.kind = SHARD_ROLLOUT,
                           .iteration = 4,
                           .number = 17,
                           .policy_version = 3,
                           .run_id = "test-run",
                           .parent = parent,
                           .parents = 2};
    memset(h.config_digest, 'c', 64);
    for (int i = 0; i < 2; i++) {
        snprintf(parent[i].path, sizeof parent[i].path, "policy/v%06d.h5", i);
        memset(parent[i].content, 'a' + i, 64);
        parent[i].content[64] = '\0';
    }
    return h;
}

struct values {
    float latents[N * (STEPS + 1) * PIXELS];
    double reward[N];
    int32_t small[N * 2];
    int64_t index[N], step_t[STEPS];
    uint8_t status[N];
    char prompt[N * 64];
};

static void fill(struct values *v, const struct options *o)
{
    int64_t width = 16 + o->pad;
    memset(v, 0, sizeof *v);
    for (int i = 0; i < N * (STEPS + 1) * PIXELS; i++)
        v->latents[i] = (float)sin(i * 0.37) * 3;
    v->latents[7] = NAN;
    for (int i = 0; i < N; i++) {
        v->reward[i] = i == 0 ? o->first_reward : -1.25 * i;
        v->small[2 * i] = -i;
        v->small[2 * i + 1] = INT32_MAX - i;
        v->index[i] = INT64_C(1) << (40 + i);
        v->status[i] = (uint8_t)(250 + i);
        if (i != 2)
            snprintf(v->prompt + i * width, 16, "prompt n\xc2\xb0 %d", i);
    }
    for (int i = 0; i < STEPS; i++)
        v->step_t[i] = 900 - 300 * i;
}

static int write_sample(const char *path, const struct options *o,
                        char content[DIGEST_HEX])
{
    static struct values v;
    struct shard_parent parent[2];
    const struct shard_head h = head_of(parent);
    int64_t n = o->rows;
    fill(&v, o);
    const struct column c[] = {
        {.name = "latents",
         .type = COLUMN_F32,
         .nd = 3,
         .dim = {n, STEPS + 1, PIXELS},
         .axis = {"sample", "state", "value"},
         .units = o->units,
         .long_name = "states of the chain",
         .data = v.latents,
         .chunk_first = true},
        {.name = "reward",
         .type = COLUMN_F64,
         .nd = 1,
         .dim = {n},
         .axis = {"sample"},
         .data = v.reward},
        {.name = "small",
         .type = COLUMN_I32,
         .nd = 2,
         .dim = {n, 2},
         .axis = {"sample", NULL},
         .data = v.small},
        {.name = "sample_index",
         .type = COLUMN_I64,
         .nd = 1,
         .dim = {n},
         .axis = {"sample"},
         .data = v.index},
        {.name = "t",
         .type = COLUMN_I64,
         .nd = 1,
         .dim = {STEPS},
         .axis = {"t"},
         .data = v.step_t},
        {.name = "status",
         .type = COLUMN_U8,
         .nd = 1,
         .dim = {n},
         .axis = {"sample"},
         .data = v.status},
        {.name = "prompt",
         .type = COLUMN_TEXT,
         .nd = 1,
         .dim = {n},
         .axis = {"sample"},
         .text_len = 16 + o->pad,
         .data = v.prompt},
    };
    struct shard_writer *w = shard_create(path, &h);
    if (w == NULL)
        return -1;
    int rc = shard_note(w, "reward_name", o->note);
    for (size_t i = 0; i < sizeof c / sizeof *c && rc == 0; i++)
        rc = shard_put(w, &c[i]);
    if (rc == 0)
        return shard_seal(w, content);
    shard_abort(w);
    return -1;
}

static const struct options plain = {"brightness", "1", 0, N, 0.5};

static void test_round_trip(const char *path)
{
    static struct values v;
    char hex[DIGEST_HEX];
    int64_t dim[SHARD_MAX_ND], n = 0, len = 0;
    fill(&v, &plain);
    tap_ok(write_sample(path, &plain, hex) == 0, "a file is sealed: %s", err_text());
    struct shard *s = shard_open(path, SHARD_ROLLOUT);
    if (!tap_ok(s != NULL, "and opens: %s", err_text()))
        return;
    const struct shard_head *h = shard_head(s);
    tap_ok(h->iteration == 4 && h->number == 17 && h->policy_version == 3 &&
               strcmp(h->run_id, "test-run") == 0 && strlen(h->config_digest) == 64 &&
               h->parents == 2 && strcmp(h->parent[1].path, "policy/v000001.h5") == 0 &&
               h->parent[1].content[0] == 'b',
           "the head comes back");
    tap_ok(strcmp(shard_content(s), hex) == 0, "so does the digest");
    tap_ok(strcmp(shard_attribute(s, "reward_name"), "brightness") == 0 &&
               shard_attribute(s, "absent") == NULL &&
               strcmp(shard_attribute(s, "complete"), "1") == 0 &&
               strcmp(shard_label(s, "latents", "long_name"), "states of the chain") ==
                   0,
           "and attributes");
    const int64_t shape[] = {-1, STEPS + 1, PIXELS};
    float *lat = shard_get(s, "latents", COLUMN_F32, 3, shape, dim);
    double *r = shard_get(s, "reward", COLUMN_F64, 0, NULL, NULL);
    int32_t *small = shard_get(s, "small", COLUMN_I32, 0, NULL, NULL);
    int64_t *idx = shard_get(s, "sample_index", COLUMN_I64, 0, NULL, NULL);
    uint8_t *st = shard_get(s, "status", COLUMN_U8, 0, NULL, NULL);
    tap_ok(lat != NULL && dim[0] == N &&
               memcmp(lat, v.latents, sizeof v.latents) == 0 &&
               memcmp(r, v.reward, sizeof v.reward) == 0 &&
               memcmp(small, v.small, sizeof v.small) == 0 &&
               memcmp(idx, v.index, sizeof v.index) == 0 &&
               memcmp(st, v.status, sizeof v.status) == 0,
           "and all values, bit for bit");
    char *text = shard_get_text(s, "prompt", &n, &len);
    tap_ok(text != NULL && n == N && len == 17 && text[2 * len] == '\0' &&
               strcmp(text + 3 * len, "prompt n\xc2\xb0 3") == 0,
           "and texts");
    tap_ok(shard_get_rows(s, "latents", COLUMN_F32, 3, 2, lat) == 0 &&
               memcmp(lat, v.latents + (size_t)3 * (STEPS + 1) * PIXELS,
                      sizeof(float) * 2 * (STEPS + 1) * PIXELS) == 0,
           "rows can be read alone");
    tap_ok(shard_get_rows(s, "latents", COLUMN_F32, 4, 2, lat) != 0 &&
               shard_get_rows(s, "latents", COLUMN_F32, INT64_MAX, 1, lat) != 0,
           "but none beyond the end: %s", err_text());
    const int64_t wrong[] = {-1, STEPS, PIXELS};
    tap_ok(shard_get(s, "latents", COLUMN_F32, 3, wrong, NULL) == NULL,
           "another shape is refused: %s", err_text());
    tap_ok(shard_get(s, "latents", COLUMN_F64, 3, shape, NULL) == NULL,
           "another type is refused: %s", err_text());
    tap_ok(shard_get(s, "nothing", COLUMN_F64, 0, NULL, NULL) == NULL &&
               !shard_has(s, "nothing", NULL, NULL, NULL) &&
               !shard_has(s, "state", NULL, NULL, NULL) &&
               shard_has(s, "t", NULL, NULL, NULL),
           "absent columns and bare axes are no columns: %s", err_text());
    char **names;
    n = shard_columns(s, &names);
    tap_ok(n == 7 && strcmp(names[0], "latents") == 0 && strcmp(names[6], "t") == 0,
           "the columns are listed");
    file_list_free(names, n);
    mem_free(lat);
    mem_free(r);
    mem_free(small);
    mem_free(idx);
    mem_free(st);
    mem_free(text);
    shard_close(s);
    tap_ok(shard_open(path, SHARD_POLICY) == NULL, "another kind is refused: %s",
           err_text());
    tap_ok(shard_verify(path) == 0, "the file verifies");
}

static void test_digest(const char *path)
{
    char a[DIGEST_HEX], b[DIGEST_HEX];
    struct options o = plain;
    write_sample(path, &plain, a);
    o.pad = 13;
    o.note = "another note";
    o.units = "m";
    tap_ok(write_sample(path, &o, b) == 0 && strcmp(a, b) == 0,
           "attributes and padding do not enter the digest");
    o.first_reward = nextafter(0.5, 1);
    tap_ok(write_sample(path, &o, b) == 0 && strcmp(a, b) != 0,
           "one bit of a value does");
    o = plain;
    o.rows = 0;
    tap_ok(write_sample(path, &o, b) == 0 && shard_verify(path) == 0,
           "a file without samples is sealed and verifies: %s", err_text());
    struct shard *s = shard_open(path, -1);
    int64_t dim[SHARD_MAX_ND] = {-1}, n = -1, len = 0;
    void *p = s == NULL ? NULL : shard_get(s, "latents", COLUMN_F32, 0, NULL, dim);
    char *t = s == NULL ? NULL : shard_get_text(s, "prompt", &n, &len);
    tap_ok(p != NULL && t != NULL && dim[0] == 0 && dim[1] == STEPS + 1 && n == 0,
           "and its columns read as empty");
    mem_free(p);
    mem_free(t);
    shard_close(s);
}

static void put_bytes(const char *path, const char *p, int64_t n)
{
    FILE *f = fopen(path, "wb");
    if (f == NULL || fwrite(p, 1, (size_t)n, f) != (size_t)n)
        abort();
    fclose(f);
}

/* 0: refused with a message that names the file; 1: all as written; 2: wrong. */
static int judge(const char *path, const char *content)
{
    char hex[DIGEST_HEX];
    err_clear();
    struct shard *s = shard_open(path, SHARD_ROLLOUT);
    int rc = s == NULL ? -1 : shard_recompute(s, hex);
    shard_close(s);
    if (rc != 0)
        return err_code() == ERR_INPUT && strstr(err_text(), path) != NULL ? 0 : 2;
    return strcmp(hex, content) == 0 ? 1 : 2;
}

static void test_damage(const char *path, const char *bad)
{
    char hex[DIGEST_HEX], *data, *copy;
    int64_t n, wrong = 0, refused = 0, flips = 0, cuts = 0, noticed = 0;
    write_sample(path, &plain, hex);
    if (file_read(path, 1 << 24, &data, &n) != 0)
        abort();
    copy = mem_alloc(n, 1);
    for (int64_t i = 0; i < 700; i++, flips++) {
        int64_t at = i < 100 ? i : i < 200 ? 412 + i : (i - 200) * n / 500;
        memcpy(copy, data, (size_t)n);
        copy[at] = (char)(copy[at] ^ (1 << (i % 8)));
        put_bytes(bad, copy, n);
        int verdict = judge(bad, hex);
        wrong += verdict == 2;
        refused += verdict == 0;
        noticed += shard_verify(bad) != 0 && err_code() == ERR_INPUT &&
                   strstr(err_text(), bad) != NULL;
        if (verdict == 2)
            printf("# flip at %lld of %lld: %s\n", (long long)at, (long long)n,
                   err_text());
    }
    tap_ok(wrong == 0, "%lld flipped bits: %lld refused, %lld harmless, %lld misread",
           (long long)flips, (long long)refused, (long long)(flips - refused - wrong),
           (long long)wrong);
    tap_ok(noticed == flips, "shard_verify refuses %lld of %lld files with a flipped bit",
           (long long)noticed, (long long)flips);
    refused = 0;
    for (int64_t i = 0; i < 60; i++, cuts++) {
        put_bytes(bad, data, i < 10 ? i : i * n / 60);
        refused += judge(bad, hex) == 0;
    }
    tap_ok(refused == cuts, "all of %lld truncated files are refused", (long long)cuts);
    mem_free(copy);
    mem_free(data);
}

static void refuse(const char *path, const char *word, const char *what)
{
    err_clear();
    tap_ok(shard_open(path, -1) == NULL && err_code() == ERR_INPUT &&
               strstr(err_text(), word) != NULL && strstr(err_text(), path) != NULL,
           "%s: %s", what, err_text());
}

static void test_foreign(const char *bad)
{
    static const char magic[] = "\x89HDF\r\n\x1a\n garbage follows and more of it";
    refuse("/no/such/file.h5", "No such file", "missing");
    refuse("/tmp", "directory", "a directory");
    put_bytes(bad, "", 0);
    refuse(bad, "is empty", "empty");
    put_bytes(bad, "hello, this is some text\n", 25);
    refuse(bad, "not an HDF5 file", "text");
    put_bytes(bad, magic, sizeof magic - 1);
    refuse(bad, "HDF5", "an HDF5 signature and garbage");
    unlink(bad);
    if (mkfifo(bad, 0600) == 0)
        refuse(bad, "not a regular file", "a pipe");
    unlink(bad);
}

static void test_abort(const char *path)
{
    struct shard_parent parent[2];
    const struct shard_head h = head_of(parent);
    double x[1] = {0};
    struct column c = {.name = "x", .type = COLUMN_F64, .nd = 1, .dim = {1}, .data = x};
    unlink(path);
    struct shard_writer *w = shard_create(path, &h);
    tap_ok(shard_put(w, &c) == 0 && shard_put(w, &c) != 0 && err_code() == ERR_IO,
           "a column is written once: %s", err_text());
    tap_ok(shard_seal(w, NULL) != 0, "a writer that failed does not seal: %s",
           err_text());
    char *tmp = file_tmp_name(path);
    tap_ok(!file_exists(path) && !file_exists(tmp), "and leaves nothing behind");
    shard_abort(shard_create(path, &h));
    tap_ok(!file_exists(path) && !file_exists(tmp), "nor does one that is given up");
    shard_abort(NULL);
    mem_free(tmp);
    tap_ok(shard_create("/proc/none/x.h5", &h) == NULL && err_code() == ERR_IO,
           "no file where none can be: %s", err_text());
}

static void test_full(const char *dir)
{
    enum { FLOATS = 1 << 20 };
    char path[512];
    struct shard_parent parent[2];
    const struct shard_head h = head_of(parent);
    const char *what = "a full disk is reported and leaves nothing behind";
    snprintf(path, sizeof path, "%s/full", dir);
    mkdir(path, 0700);
    if (mount("tmpfs", path, "tmpfs", 0, "size=2m") != 0) {
        tap_skip(what, "mounting a tmpfs is not permitted here");
        rmdir(path);
        return;
    }
    char *file = text_new("%s/x.h5", path);
    float *x = mem_alloc(FLOATS, sizeof *x);
    int64_t good = 0, tries = 0, live = mem_live();
    for (int64_t n = 1000; n <= FLOATS; n = n < 400000 ? n * 3 : n + 20000, tries++) {
        struct column c = {.name = "x",
                           .type = COLUMN_F32,
                           .nd = 1,
                           .dim = {n},
                           .axis = {"value"},
                           .data = x};
        err_clear();
        struct shard_writer *w = shard_create(file, &h);
        int rc = w == NULL ? -1 : shard_put(w, &c);
        if (rc != 0)
            shard_abort(w);
        else
            rc = shard_seal(w, NULL);
        char **names;
        int64_t left;
        file_list(path, "", "", &names, &left);
        file_list_free(names, left);
        if (rc == 0)
            good += left == 1 && shard_verify(file) == 0;
        else
            good += left == 0 && err_code() == ERR_IO &&
                    strstr(err_text(), "disk full") != NULL &&
                    strstr(err_text(), "x.h5") != NULL;
        unlink(file);
    }
    tap_ok(good == tries && err_code() == ERR_IO, "%s (%lld of %lld sizes): %s", what,
           (long long)good, (long long)tries, err_text());
    tap_ok(mem_live() == live, "and no memory is lost");
    mem_free(x);
    mem_free(file);
    umount(path);
    rmdir(path);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/sluice-shard.XXXXXX";
    char hex[DIGEST_HEX];
    if (argc == 3 && strcmp(argv[1], "write") == 0) {
        if (file_exists(argv[2]))
            err_set(ERR_USAGE, "%s: exists already", argv[2]);
        else
            write_sample(argv[2], &plain, hex);
        if (err_code() != ERR_NONE)
            fprintf(stderr, "%s\n", err_text());
        return err_code();
    }
    if (mkdtemp(dir) == NULL)
        return 1;
    char *path = text_new("%s/deep/er/s00017.h5", dir),
         *bad = text_new("%s/bad.h5", dir);
    test_round_trip(path);
    test_digest(path);
    test_damage(path, bad);
    test_foreign(bad);
    test_abort(path);
    test_full(dir);
    unlink(path);
    unlink(bad);
    mem_free(path);
    mem_free(bad);
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    tap_ok(system(command) == 0, "clean-up");
    tap_ok(mem_live() == 0, "no memory is lost: %lld blocks", (long long)mem_live());
    return tap_done();
}

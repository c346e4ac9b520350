/* Kept scores with a fake remote reward: nothing is asked twice, keys, failures, damaged and
 * torn files, two processes, folders that cannot be written, many records. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/reward/memory.h"
#include "tests/tap.h"

#include <ftw.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { D = 3, MOST = 1000 };

/* Sample i is {value, 0, 0}; its score is a function of the value and the round. */
struct peer {
    const char *identity;
    int64_t asked, calls;
    int round; /* part of what it says: who asks again sees it */
    int rc;
    bool tells; /* calls scored itself, else it leaves that to others */
    int64_t stop_at; /* -1, or: trouble after so many answers */
};

static char root[64];
static int folders;

static double right(float value, int round)
{
    return (double)value * 3 + 1000 * round;
}

static int peer_score(void *ctx, const struct reward_batch *b)
{
    struct peer *p = ctx;
    p->calls++;
    for (int64_t k = 0; k < b->n; k++) {
        int64_t i = b->n - 1 - k; /* in another order */
        if (b->skip != NULL && b->skip[i])
            continue;
        if (p->stop_at >= 0 && p->asked >= p->stop_at)
            return err_set(ERR_REWARD, "the peer is gone");
        float value = b->sample[i * D];
        p->asked++;
        b->score[i] = right(value, p->round);
        b->status[i] = REWARD_OK;
        if (value < 0) { /* -1 failed, -2 timed out, -3 infeasible, -4 non-finite */
            b->status[i] = (uint8_t)-value;
            b->score[i] = (double)NAN;
        } else if (value > 1e6f) {
            b->score[i] = (double)INFINITY;
        }
        if (p->tells)
            b->scored(b->scored_ctx, i);
    }
    return p->rc;
}

static void peer_identify(void *ctx, struct digest *d)
{
    digest_add_text(d, ((struct peer *)ctx)->identity);
}

static const struct reward peer_reward = {
    .name = "peer", .remote = 1, .score = peer_score, .identify = peer_identify};

static struct peer new_peer(void)
{
    return (struct peer){.identity = "one", .tells = true, .stop_at = -1};
}

static char *fresh(void)
{
    return text_new("%s/f%d", root, folders++);
}

static struct memory *open_seed(const char *folder, struct peer *p, bool deterministic,
                                uint64_t seed)
{
    const struct reward_scene s = {
        .channels = 1, .height = 1, .width = D, .seed = seed, .name = "part"};
    return memory_open(folder, &peer_reward, p, &s, deterministic);
}

static struct memory *open_one(const char *folder, struct peer *p, bool deterministic)
{
    return open_seed(folder, p, deterministic, 1);
}

struct batch {
    float sample[MOST * D];
    double score[MOST];
    uint8_t status[MOST];
    struct reward_batch b;
};

static struct batch *make(int64_t n, float first)
{
    static struct batch s;
    s = (struct batch){.b = {.n = n, .channels = 1, .height = 1, .width = D}};
    for (int64_t i = 0; i < n; i++) {
        s.sample[i * D] = first + (float)i;
        s.score[i] = -7;
    }
    s.b.sample = s.sample;
    s.b.score = s.score;
    s.b.status = s.status;
    return &s;
}

static int wrong(const struct batch *s, int round)
{
    int bad = 0;
    for (int64_t i = 0; i < s->b.n; i++)
        bad += s->status[i] != REWARD_OK || s->score[i] != right(s->sample[i * D], round);
    return bad;
}

/* One batch in a memory of its own. */
static int score_in(const char *folder, struct peer *p, struct batch *s, bool deterministic)
{
    struct memory *m = open_one(folder, p, deterministic);
    int rc = memory_score(m, &s->b);
    memory_close(m);
    return rc;
}

static void test_again(void)
{
    for (int way = 0; way < 4; way++) {
        char *folder = fresh();
        struct peer p = new_peer();
        bool deterministic = way % 2 == 0;
        p.tells = way < 2;
        struct memory *m = open_one(folder, &p, deterministic);
        struct batch *s = make(20, 0);
        memory_score(m, &s->b);
        int bad = wrong(s, 0) + (p.asked != 20) + (memory_hits(m) != 0);
        p.round = 1;
        s = make(20, 0);
        memory_score(m, &s->b);
        bad += wrong(s, 0) + (p.asked != 20) + (memory_hits(m) != 20) + (p.calls != 1);
        memory_close(m);
        s = make(25, 0);
        score_in(folder, &p, s, deterministic);
        bad += p.asked != 25 || s->score[19] != right(19, 0) || s->score[20] != right(20, 1);
        tap_ok(bad == 0, "nothing is asked twice, %s, told %s",
               deterministic ? "deterministic" : "by number", p.tells ? "at once" : "late");
        mem_free(folder);
    }
}

static void test_equal(void)
{
    for (int deterministic = 0; deterministic < 2; deterministic++) {
        char *folder = fresh();
        struct peer p = new_peer();
        struct batch *s = make(9, 5);
        uint8_t skip[9] = {1};
        s->b.skip = skip;
        for (int i = 0; i < 9; i++)
            s->sample[i * D] = (float)(i % 3);
        s->sample[0] = 8;
        int rc = score_in(folder, &p, s, deterministic != 0);
        tap_ok(rc == 0 && s->score[0] == -7 && s->score[8] == right(2, 0) &&
                   s->score[3] == right(0, 0) && p.asked == (deterministic ? 3 : 8),
               "equal samples, deterministic %d: %d of 8 are asked", deterministic,
               (int)p.asked);
        mem_free(folder);
    }
}

/* Asks once, then once more after a change; how many are asked by then. */
static int64_t after(bool deterministic, int what)
{
    char *folder = fresh();
    struct peer p = new_peer(), q = new_peer();
    int64_t label[4] = {1, 1, 1, 1};
    struct batch *s = make(4, 0);
    s->b.label = label;
    score_in(folder, &p, s, deterministic);
    s->b.iteration = what == 1;
    s->b.first = what == 2 ? 4 : 0;
    label[2] = what == 3 ? 2 : 1;
    q.identity = what == 5 ? "other" : "one";
    s->sample[4] = what == 6 ? 1e-30f : 0;
    if (what == 7)
        s->b.label = NULL;
    struct memory *m = open_seed(folder, &q, deterministic, what == 4 ? 2 : 1);
    memory_score(m, &s->b);
    memory_close(m);
    mem_free(folder);
    return q.asked;
}

static void test_keys(void)
{
    static const char *const word[] = {"nothing", "iteration", "number", "a label", "seed",
                                       "the program", "a number of a sample", "labels"};
    static const int64_t want[2][8] = {{0, 4, 4, 1, 4, 4, 1, 4}, {0, 0, 0, 1, 0, 4, 1, 4}};
    for (int deterministic = 0; deterministic < 2; deterministic++)
        for (int what = 0; what < 8; what++) {
            int64_t got = after(deterministic != 0, what);
            tap_ok(got == want[deterministic][what],
                   "%s changes, deterministic %d: %d of 4 are asked", word[what],
                   deterministic, (int)got);
        }
}

/* Samples of the same numbers that mean something else, in a folder of several runs. */
static void test_meaning(void)
{
    static const struct coding coding[] = {
        {.kind = CODING_TEXT, .alphabet = "ACG"},
        {.kind = CODING_TEXT, .alphabet = "CNO"},
        {.kind = CODING_SERIES, .mean = 1, .std = 2},
        {.kind = CODING_SERIES, .mean = 1, .std = 3},
        {.kind = CODING_SERIES, .mean = 2, .std = 2},
        {.kind = CODING_SERIES, .mean = 1, .std = 2, .log = true},
    };
    static const struct reward_scene scene[] = {
        {.channels = 1, .height = 1, .width = D, .name = "part"},
        {.channels = 1, .height = D, .width = 1, .name = "part"},
        {.channels = D, .height = 1, .width = 1, .name = "part"},
    };
    char *folder = fresh();
    struct peer p = new_peer();
    int bad = 0;
    for (int again = 0; again < 2; again++)
        for (int k = 0; k < 9; k++) {
            struct reward_scene s = scene[k < 3 ? k : 0];
            struct batch *b = make(4, 0);
            int64_t before = p.asked;
            s.coding = k < 3 ? NULL : &coding[k - 3];
            struct memory *m = memory_open(folder, &peer_reward, &p, &s, true);
            memory_score(m, &b->b);
            memory_close(m);
            bad += wrong(b, 0) + (p.asked - before != (again ? 0 : 4));
        }
    tap_ok(bad == 0, "the same numbers in another shape or coding are another question");
    mem_free(folder);
}

static void test_failures(void)
{
    char *folder = fresh();
    struct peer p = new_peer();
    struct batch *s = make(6, -4); /* -4 to 1 */
    s->sample[5 * D] = 1e7f;
    score_in(folder, &p, s, true);
    int bad = s->status[0] != 4 || s->status[1] != REWARD_INFEASIBLE || s->status[3] != 1;
    p.asked = 0;
    s = make(6, -4);
    s->sample[5 * D] = 1e7f;
    score_in(folder, &p, s, true);
    tap_ok(bad == 0 && p.asked == 4 && s->status[1] == REWARD_INFEASIBLE &&
               s->status[4] == REWARD_OK && s->score[4] == 0,
           "failures, time-outs and what is not finite are asked again, infeasible is not: %d",
           (int)p.asked);
    mem_free(folder);
    /* Trouble in the middle: what was said before it is kept. */
    folder = fresh();
    p = new_peer();
    p.stop_at = 7;
    s = make(20, 0);
    tap_ok(score_in(folder, &p, s, true) == -1 && err_code() == ERR_REWARD,
           "trouble of the reward is passed on: %s", err_text());
    err_clear();
    p.stop_at = -1;
    s = make(20, 0);
    int rc = score_in(folder, &p, s, true);
    tap_ok(rc == 0 && p.asked == 20 && wrong(s, 0) == 0, "and only the rest is asked: %d",
           (int)p.asked);
    mem_free(folder);
}

/* The only file of a folder. */
static char *file_of(const char *folder)
{
    char **name = NULL;
    int64_t n = 0;
    if (file_list(folder, "scores-", ".bin", &name, &n) != 0 || n != 1)
        ERR_BUG("%d files in %s", (int)n, folder);
    char *path = text_new("%s/%s", folder, name[0]);
    file_list_free(name, n);
    return path;
}

static void test_damage(void)
{
    char *folder = fresh(), *data = NULL;
    struct peer p = new_peer();
    int64_t len = 0;
    struct batch *s = make(20, 0);
    s->sample[0] = -3;
    score_in(folder, &p, s, true);
    char *path = file_of(folder);
    if (file_read(path, 1 << 20, &data, &len) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(len == 960, "48 bytes for each record");
    int bad = 0, again = 0;
    for (int64_t at = 0; at < len; at++)
        for (int bit = 0; bit < 2; bit++) {
            char *copy = mem_alloc(len, 1), *other = fresh(), *file;
            memcpy(copy, data, (size_t)len);
            copy[at] = (char)(copy[at] ^ (bit == 0 ? 0xff : 1 << at % 8));
            file = text_new("%s/scores-a.bin", other);
            if (file_make_dirs(other) != 0 || file_write(file, copy, len) != 0)
                ERR_BUG("%s", err_text());
            p.asked = 0;
            s = make(20, 0);
            s->sample[0] = -3;
            bad += score_in(other, &p, s, true) != 0 || s->status[0] != REWARD_INFEASIBLE;
            for (int i = 1; i < 20; i++)
                bad += s->status[i] != REWARD_OK || s->score[i] != right(s->sample[i * D], 0);
            again += p.asked != 1;
            mem_free(copy);
            mem_free(other);
            mem_free(file);
        }
    tap_ok(bad == 0 && again == 0, "each byte damaged: no wrong score, one question: %d %d",
           bad, again);
    for (int64_t cut = 0; cut <= len; cut += 7) {
        p.asked = 0;
        s = make(20, 0);
        s->sample[0] = -3;
        char *other = fresh(), *file = text_new("%s/scores-a.bin", other);
        if (file_make_dirs(other) != 0 || file_write(file, data, cut) != 0)
            ERR_BUG("%s", err_text());
        bad += score_in(other, &p, s, true) != 0 || p.asked != 20 - cut / 48 ||
               s->score[3] != right(3, 0);
        mem_free(other);
        mem_free(file);
    }
    tap_ok(bad == 0, "torn files: what is whole is read");
    char *noise = mem_alloc(100000, 1), *other = fresh();
    char *file = text_new("%s/scores-a.bin", other);
    uint32_t r = 1;
    for (int i = 0; i < 100000; i++)
        noise[i] = (char)((r = r * 1664525 + 1013904223) >> 24);
    if (file_make_dirs(other) != 0 || file_write(file, noise, 100000) != 0)
        ERR_BUG("%s", err_text());
    p.asked = 0;
    s = make(20, 0);
    tap_ok(score_in(other, &p, s, true) == 0 && p.asked == 20 && wrong(s, 0) == 0,
           "a file of noise");
    memset(noise, 0, 100000);
    file_write(file, noise, 100000);
    tap_ok(score_in(other, &p, s, true) == 0 && wrong(s, 0) == 0, "a file of zeros");
    mem_free(noise);
    mem_free(other);
    mem_free(file);
    mem_free(data);
    mem_free(path);
    mem_free(folder);
}

static void test_processes(void)
{
    char *folder = fresh();
    pid_t child[2];
    for (int k = 0; k < 2; k++) {
        fflush(stdout);
        child[k] = fork();
        if (child[k] != 0)
            continue;
        struct peer p = new_peer();
        struct memory *m = open_one(folder, &p, true);
        int bad = 0;
        for (int round = 0; round < 10; round++) {
            struct batch *s = make(20, (float)(round * 10 + k * 50));
            bad += memory_score(m, &s->b) != 0 || wrong(s, 0) != 0;
        }
        memory_close(m);
        _exit(bad != 0);
    }
    int bad = 0, how;
    for (int k = 0; k < 2; k++)
        bad += waitpid(child[k], &how, 0) != child[k] || how != 0;
    struct peer p = new_peer();
    p.round = 1;
    struct batch *s = make(160, 0);
    int rc = score_in(folder, &p, s, true);
    tap_ok(bad == 0 && rc == 0 && p.asked == 0 && wrong(s, 0) == 0,
           "two processes in one folder: a third knows it all");
    mem_free(folder);
}

static void test_folders(void)
{
    struct peer p = new_peer();
    struct batch *s = make(4, 0);
    char *file = fresh(), *below = text_new("%s/scores", file), *folder = fresh();
    if (file_write(file, "x", 1) != 0)
        ERR_BUG("%s", err_text());
    tap_ok(score_in(below, &p, s, true) == -1 && err_code() == ERR_IO && p.asked == 0,
           "a folder that cannot be made; nobody was asked: %s", err_text());
    err_clear();
    tap_ok(score_in(file, &p, s, true) == -1 && err_code() == ERR_IO && p.asked == 0,
           "a folder that is a file: %s", err_text());
    err_clear();
    if (geteuid() != 0) {
        tap_ok(file_make_dirs(folder) == 0 && chmod(folder, 0500) == 0 &&
                   score_in(folder, &p, s, true) == -1 && err_code() == ERR_IO,
               "a folder without the right to write: %s", err_text());
        err_clear();
    }
    struct memory *m = open_one(folder, &p, true);
    memory_close(m);
    tap_ok(!file_is_dir(folder) || geteuid() != 0, "opening alone makes nothing");
    memory_close(NULL);
    mem_free(file);
    mem_free(below);
    mem_free(folder);
}

static void test_many(void)
{
    char *folder = fresh();
    struct peer p = new_peer();
    struct memory *m = open_one(folder, &p, true);
    int bad = 0;
    for (int k = 0; k < 100; k++) {
        struct batch *s = make(MOST, (float)(k * MOST));
        bad += memory_score(m, &s->b) != 0 || wrong(s, 0) != 0;
    }
    memory_close(m);
    p.round = 1;
    m = open_one(folder, &p, true);
    for (int k = 99; k >= 0; k--) {
        struct batch *s = make(MOST, (float)(k * MOST));
        bad += memory_score(m, &s->b) != 0 || wrong(s, 0) != 0;
    }
    tap_ok(bad == 0 && p.asked == 100000 && memory_hits(m) == 100000, "100,000 records");
    memory_close(m);
    mem_free(folder);
}

static int drop(const char *p, const struct stat *s, int kind, struct FTW *at)
{
    (void)s, (void)kind, (void)at;
    return remove(p);
}

int main(void)
{
    log_set_level(LOG_QUIET);
    /* Thousands of small files, each synchronised: not on a disk where it can be helped. */
    snprintf(root, sizeof root, "%.40s/sluice_kept.%d",
             access("/dev/shm", W_OK) == 0    ? "/dev/shm"
             : getenv("TMPDIR") != NULL ? getenv("TMPDIR")
                                        : "/tmp",
             (int)getpid());
    if (file_make_dirs(root) != 0)
        ERR_BUG("%s", err_text());
    test_again();
    test_equal();
    test_keys();
    test_meaning();
    test_failures();
    test_damage();
    test_processes();
    test_folders();
    test_many();
    nftw(root, drop, 8, FTW_DEPTH | FTW_PHYS);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

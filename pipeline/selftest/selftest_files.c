/* Files as runs write them: each rank seals one, another reads it as soon as it sees
 * it. */
#include "io/shard.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/selftest/selftest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

enum { WIDTH = 1024, PATIENCE_S = 60, SLOW_SEEN_S = 2, SLOW_DISK_MB_S = 20, TURNS = 3 };

static void path_of(const struct selftest *t, int rank, char *buf, size_t size)
{
    snprintf(buf, size, "%s/s%05d.h5", t->dir, rank);
}

static float element(int rank, int64_t i)
{
    return (float)((rank * 131 + i) % 65521);
}

static int write_one(const struct selftest *t, int64_t rows)
{
    char path[4096];
    const int rank = t->all->rank;
    float *v = mem_alloc(rows * WIDTH, sizeof *v);
    const struct shard_head head = {.kind = SHARD_ROLLOUT, .number = rank};
    const struct column col = {.name = "value",
                               .type = COLUMN_F32,
                               .nd = 2,
                               .dim = {rows, WIDTH},
                               .axis = {"row", "element"},
                               .units = "1",
                               .long_name = "numbers of the self-test",
                               .data = v};
    for (int64_t i = 0; i < rows * WIDTH; i++)
        v[i] = element(rank, i);
    path_of(t, rank, path, sizeof path);
    struct shard_writer *w = shard_create(path, &head);
    int rc = w == NULL ? -1 : shard_put(w, &col);
    if (rc == 0)
        rc = shard_seal(w, NULL);
    else
        shard_abort(w);
    mem_free(v);
    return rc;
}

/* Polls until the file is there; *seconds so long. */
static int await(const char *path, double *seconds)
{
    double start = clock_s();
    for (*seconds = 0; !file_exists(path); *seconds = clock_s() - start) {
        if (*seconds > PATIENCE_S)
            return err_set(ERR_IO,
                           "%s: written and renamed on another rank, but not seen "
                           "after %d s",
                           path, PATIENCE_S);
        nanosleep(&(struct timespec){0, 2000000}, NULL);
    }
    return 0;
}

static int read_one(const char *path, int rank, int64_t rows)
{
    const int64_t want[] = {rows, WIDTH};
    int64_t dim[SHARD_MAX_ND], bad = 0;
    struct shard *s = shard_open(path, SHARD_ROLLOUT);
    float *v = s == NULL ? NULL : shard_get(s, "value", COLUMN_F32, 2, want, dim);
    int rc = v == NULL ? -1 : 0;
    for (int64_t i = 0; rc == 0 && i < rows * WIDTH; i++)
        bad += v[i] != element(rank, i);
    if (bad > 0)
        rc = err_set(ERR_IO, "%s: %lld numbers read are not those written", path,
                     (long long)bad);
    mem_free(v);
    shard_close(s);
    return rc == 0 ? shard_verify(path) : rc;
}

/* Every rank writes a file and then waits for, reads and verifies its neighbour's. s:
 * the longest time of any rank for writing, seeing, reading. Collective. */
static int round_trip(const struct selftest *t, int64_t rows, double s[3])
{
    char path[4096];
    int other = (t->all->rank + 1) % t->all->size;
    path_of(t, other, path, sizeof path);
    file_exists(path); /* so that a client keeps in mind that it is not there */
    comm_barrier(t->all);
    double start = clock_s();
    int rc = write_one(t, rows);
    s[0] = clock_s() - start;
    s[1] = s[2] = 0;
    if (comm_agree(t->all, rc) != 0) /* all are published by now */
        return -1;
    rc = await(path, &s[1]);
    start = clock_s();
    if (rc == 0)
        rc = read_one(path, other, rows);
    s[2] = clock_s() - start;
    return comm_agree(t->all, rc) != 0 ? -1 : comm_max_f64(t->all, s, 3);
}

/* Rank 0 replaces a file; the others read it until it is the new one, and never find it
 * half. *seconds: the longest wait. Collective. */
static int replace(const struct selftest *t, double *seconds)
{
    char path[4096], text[64], *got;
    int64_t len;
    int rc = 0;
    *seconds = 0;
    snprintf(path, sizeof path, "%s/replaced.txt", t->dir);
    for (int turn = 0; turn < TURNS && rc == 0; turn++) {
        int n = snprintf(text, sizeof text, "turn %d of the self-test\n", turn);
        rc = comm_agree(t->all, t->all->rank == 0 ? file_write(path, text, n) : 0);
        double start = clock_s(), took = 0;
        for (bool is_new = false; rc == 0 && !is_new; took = clock_s() - start) {
            got = NULL;
            rc = took > PATIENCE_S
                     ? err_set(ERR_IO, "%s: replaced on rank 0, still old after %d s",
                               path, PATIENCE_S)
                 : file_exists(path) ? file_read(path, 4096, &got, &len)
                                     : 0;
            if (rc == 0 && got != NULL && len != n)
                rc = err_set(ERR_IO, "%s: has %lld bytes of %d: replaced in parts",
                             path, (long long)len, n);
            is_new = rc == 0 && got != NULL && memcmp(got, text, (size_t)n) == 0;
            mem_free(got);
            if (rc == 0 && !is_new)
                nanosleep(&(struct timespec){0, 2000000}, NULL);
        }
        *seconds = took > *seconds ? took : *seconds;
        rc = comm_agree(t->all, rc);
    }
    return rc == 0 ? comm_max_f64(t->all, seconds, 1) : -1;
}

/* What rank 0 holds the last rank must not get, as prepare.c locks run directories.
 * *works: agreed among all. Collective. */
static int lock(const struct selftest *t, bool *works)
{
    char path[4096];
    int last = t->all->size - 1, rc = 0;
    snprintf(path, sizeof path, "%s/lock", t->dir);
    int first = -1, second = -1;
    int64_t held = 0;
    if (t->all->rank == 0) {
        first = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        rc = first < 0 ? err_set_errno("cannot create", path) : 0;
        held = rc == 0 && flock(first, LOCK_EX | LOCK_NB) == 0;
    }
    rc = comm_agree(t->all, rc);
    if (rc == 0 && t->all->rank == last) {
        double wait;
        rc = await(path, &wait);
        second = rc == 0 ? open(path, O_RDWR | O_CLOEXEC) : -1;
        held += second >= 0 && flock(second, LOCK_EX | LOCK_NB) != 0 &&
                errno == EWOULDBLOCK;
    }
    rc = comm_agree(t->all, rc);
    if (rc == 0)
        rc = comm_sum_i64(t->all, &held, 1);
    *works = held == 2;
    if (second >= 0)
        close(second);
    if (first >= 0)
        close(first);
    return rc;
}

static const char remedy[] =
    "see `df`, quota and rights, or choose a parallel file system with --dir (run.dir)";

static void say_files(struct selftest *t, double mb, const double s[3])
{
    double write = mb / s[0], read = mb / s[2];
    bool slow = write < SLOW_DISK_MB_S;
    selftest_say(
        t, slow ? SELFTEST_SLOW : SELFTEST_OK, "files",
        "%d sealed HDF5 files, %.0f MB: written at %.0f MB/s, read and verified at "
        "%.0f MB/s%s",
        t->all->size, mb, write, read,
        slow ? "; use a faster file system, or larger and fewer shards "
               "(rollout.shard_samples)"
             : "");
}

void selftest_files(struct selftest *t)
{
    int64_t rows = (t->quick ? 2048 : 16384) / t->all->size; /* 8 or 64 MiB together */
    double s[3], turn = 0;
    bool works = false;
    selftest_watch("files", 300);
    rows = rows < 64 ? 64 : rows;
    if (round_trip(t, rows, s) != 0) {
        selftest_fail(t, "files", remedy);
        return;
    }
    say_files(t, (double)(rows * WIDTH * t->all->size) * 4e-6, s);
    if (replace(t, &turn) != 0) {
        selftest_fail(t, "rename", remedy);
        return;
    }
    double seen = turn > s[1] ? turn : s[1];
    selftest_say(t, seen > SLOW_SEEN_S ? SELFTEST_SLOW : SELFTEST_OK, "rename",
                 "files appear whole, other ranks see them within %.3f s%s", seen,
                 seen > SLOW_SEEN_S
                     ? "; each stage waits so long for the one before: a file "
                       "system without attribute caching (NFS: noac, "
                       "lookupcache=positive) is faster"
                     : "");
    if (lock(t, &works) != 0)
        selftest_fail(t, "locks", remedy);
    else if (!works)
        selftest_say(
            t, SELFTEST_SLOW, "locks",
            "a lock of one rank does not keep another out: see to it yourself that "
            "only one job uses a run directory (Lustre: mount with -o flock)");
    else
        selftest_say(t, SELFTEST_OK, "locks",
                     "a second job on a run directory is refused");
}

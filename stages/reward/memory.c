/* Kept scores: an open-addressed table in memory, records of fixed size on disk. */
#include "stages/reward/memory.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { KEY = 32 };

struct record {
    char key[KEY]; /* hexadecimal digits of the digest's first half */
    double score;
    uint32_t status, check;
};
_Static_assert(sizeof(struct record) == 48, "records have no padding");

struct memory {
    const struct reward *reward;
    void *ctx;
    bool deterministic;
    uint64_t seed;
    int64_t element; /* numbers of a sample */
    char self[DIGEST_HEX];
    char *name;    /* of the component */
    char *folder;
    int fd; /* -1: nothing kept yet */
    struct record *slot; /* [slots], a key of NULs is empty */
    int64_t slots, used, hits;
};

static uint64_t hash(const void *p, int64_t words, uint64_t h)
{
    for (int64_t i = 0; i < words; i++) {
        uint64_t w;
        memcpy(&w, (const char *)p + i * 8, sizeof w);
        h = rng_mix64(h ^ w);
    }
    return h;
}

static uint32_t check_of(const struct record *r)
{
    return (uint32_t)hash(r, KEY / 8 + 1, r->status);
}

static uint64_t place_of(const char *key)
{
    return hash(key, KEY / 8, 0);
}

/* Where the key is, or would be. */
static struct record *find(const struct memory *m, const char *key)
{
    uint64_t at = place_of(key);
    for (;; at++) {
        struct record *r = &m->slot[at % (uint64_t)m->slots];
        if (r->key[0] == '\0' || memcmp(r->key, key, KEY) == 0)
            return r;
    }
}

static void grow(struct memory *m)
{
    struct record *old = m->slot;
    int64_t n = m->slots;
    m->slots = n == 0 ? 1024 : 2 * n;
    m->slot = mem_alloc(m->slots, sizeof *m->slot);
    for (int64_t i = 0; i < n; i++)
        if (old[i].key[0] != '\0')
            *find(m, old[i].key) = old[i];
    mem_free(old);
}

static void put(struct memory *m, const struct record *r)
{
    if (2 * (m->used + 1) > m->slots)
        grow(m);
    struct record *at = find(m, r->key);
    m->used += at->key[0] == '\0';
    *at = *r;
}

/* Whether it is worth keeping: another try would say the same. */
static bool final(const struct record *r)
{
    return (r->status == REWARD_OK && isfinite(r->score)) || r->status == REWARD_INFEASIBLE;
}

static int read_file(struct memory *m, const char *path)
{
    const unsigned char *p;
    int64_t len, damaged = 0;
    if (file_size(path) == 0)
        return 0;
    if (file_map(path, &p, &len) != 0)
        return -1;
    for (int64_t at = 0; at + (int64_t)sizeof(struct record) <= len;
         at += sizeof(struct record)) {
        struct record r;
        memcpy(&r, p + at, sizeof r);
        if (r.check == check_of(&r) && r.key[0] != '\0' && final(&r))
            put(m, &r);
        else
            damaged++;
    }
    file_unmap(p, len);
    if (damaged > 0)
        log_warn("%s: %lld records are damaged and left out; their samples are scored again",
                 path, (long long)damaged);
    return 0;
}

static int read_all(struct memory *m)
{
    char **name = NULL;
    int64_t n = 0;
    int rc = 0;
    if (!file_is_dir(m->folder))
        return 0;
    if (file_list(m->folder, "scores-", ".bin", &name, &n) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++) {
        char *path = text_new("%s/%s", m->folder, name[i]);
        if (rc == 0)
            rc = read_file(m, path);
        mem_free(path);
    }
    file_list_free(name, n);
    return rc;
}

/* What the numbers of a sample stand for: in a folder that several runs share, the same
 * numbers are another text in another alphabet, and another series at another scale. */
static void add_meaning(struct digest *d, const struct reward_scene *s)
{
    const struct coding *c = s->coding;
    digest_add_i64(d, s->channels);
    digest_add_i64(d, s->height);
    digest_add_i64(d, s->width);
    digest_add_i64(d, c != NULL ? (int64_t)c->kind : CODING_NONE);
    if (c == NULL)
        return;
    digest_add_i64(d, c->log);
    digest_add(d, &c->mean, sizeof c->mean);
    digest_add(d, &c->std, sizeof c->std);
    digest_add_text(d, c->alphabet);
}

struct memory *memory_open(const char *folder, const struct reward *r, void *ctx,
                           const struct reward_scene *s, bool deterministic)
{
    struct memory *m = mem_alloc(1, sizeof *m);
    struct digest *d = digest_create();
    m->reward = r;
    m->ctx = ctx;
    m->deterministic = deterministic;
    m->name = mem_text(s->name != NULL ? s->name : r->name);
    m->seed = s->seed;
    m->element = s->channels * s->height * s->width;
    m->folder = mem_text(folder);
    m->fd = -1;
    digest_add_text(d, r->name);
    add_meaning(d, s);
    if (r->identify != NULL)
        r->identify(ctx, d);
    digest_finish(d, m->self);
    return m;
}

int memory_sync(struct memory *m)
{
    if (m->fd >= 0 && fdatasync(m->fd) != 0)
        return err_set_errno("cannot write", m->folder);
    return 0;
}

void memory_close(struct memory *m)
{
    if (m == NULL)
        return;
    if (m->fd >= 0)
        close(m->fd);
    mem_free(m->name);
    mem_free(m->folder);
    mem_free(m->slot);
    mem_free(m);
}

int64_t memory_hits(const struct memory *m)
{
    return m->hits;
}

static void make_key(const struct memory *m, const struct reward_batch *b, int64_t i,
                     char key[DIGEST_HEX])
{
    struct digest *d = digest_create();
    digest_add_text(d, m->self);
    digest_add(d, b->sample + i * m->element, m->element * (int64_t)sizeof *b->sample);
    digest_add_i64(d, b->label != NULL ? b->label[i] : -1);
    if (!m->deterministic) {
        digest_add_i64(d, (int64_t)m->seed);
        digest_add_i64(d, b->iteration);
        digest_add_i64(d, b->first + i);
        digest_add_text(d, m->name); /* two of a kind each draw their own */
    }
    digest_finish(d, key);
}

/* Before the first question: what cannot be kept is not asked. */
static int open_file(struct memory *m)
{
    if (m->fd >= 0)
        return 0;
    if (file_make_dirs(m->folder) != 0)
        return -1;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t own[] = {now.tv_sec, now.tv_nsec, getpid()};
    uint64_t h = hash(own, 3, place_of(m->self));
    int rc = 0;
    do { /* not mkstemp: whoever shares the folder may read it, as umask says */
        h = rng_mix64(h);
        char *path = text_new("%s/scores-%016llx.bin", m->folder, (unsigned long long)h);
        m->fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC, 0666);
        if (m->fd < 0 && errno != EEXIST)
            rc = err_set_errno("cannot create", path);
        mem_free(path);
    } while (m->fd < 0 && rc == 0);
    return rc;
}

/* One batch: what is asked, and under which key its answers go. */
struct asking {
    struct memory *m;
    const struct reward_batch *b;
    char (*key)[DIGEST_HEX];
    uint8_t *skip, *told;
    int rc; /* of the files */
};

static void keep(struct asking *a, int64_t i)
{
    struct memory *m = a->m;
    struct record r = {.score = a->b->score[i], .status = a->b->status[i]};
    if (!final(&r))
        return;
    memcpy(r.key, a->key[i], KEY);
    r.check = check_of(&r);
    put(m, &r);
    errno = ENOSPC; /* what a short write means */
    if (write(m->fd, &r, sizeof r) != (ssize_t)sizeof r)
        a->rc = err_set_errno("cannot write", m->folder);
}

static void heard(void *ctx, int64_t i)
{
    struct asking *a = ctx;
    if (a->told[i])
        return;
    a->told[i] = 1;
    if (a->rc == 0)
        keep(a, i);
    if (a->b->scored != NULL)
        a->b->scored(a->b->scored_ctx, i);
}

/* Fills i's score from what is known; false: it is not. */
static bool recall(struct memory *m, const struct reward_batch *b, int64_t i,
                   const char *key)
{
    const struct record *r = find(m, key);
    if (r->key[0] == '\0')
        return false;
    b->score[i] = r->score;
    b->status[i] = (uint8_t)r->status;
    m->hits++;
    return true;
}

/* The sample before i with the same key that is asked for, or -1; first is a table of n2
 * slots of such samples. */
static int64_t twin(const struct asking *a, int64_t i, int64_t *first, int64_t n2)
{
    uint64_t at = place_of(a->key[i]);
    for (;; at++) {
        int64_t *slot = &first[at % (uint64_t)n2];
        if (*slot < 0) {
            *slot = i;
            return -1;
        }
        if (memcmp(a->key[*slot], a->key[i], KEY) == 0)
            return *slot;
    }
}

static int ask_unknown(struct memory *m, const struct reward_batch *b)
{
    const int64_t n2 = 2 * b->n + 1;
    struct asking a = {.m = m, .b = b};
    int64_t *first = mem_alloc(n2, sizeof *first), *same = mem_alloc(b->n, sizeof *same);
    int64_t wanted = 0;
    a.key = mem_alloc(b->n, sizeof *a.key);
    a.skip = mem_alloc(b->n, 1);
    a.told = mem_alloc(b->n, 1);
    for (int64_t i = 0; i < n2; i++)
        first[i] = -1;
    for (int64_t i = 0; i < b->n; i++) {
        same[i] = -1;
        a.skip[i] = b->skip != NULL && b->skip[i];
        if (a.skip[i])
            continue;
        make_key(m, b, i, a.key[i]);
        if (m->deterministic)
            same[i] = twin(&a, i, first, n2);
        a.skip[i] = same[i] >= 0 || recall(m, b, i, a.key[i]);
        wanted += !a.skip[i];
    }
    struct reward_batch ask = *b;
    ask.skip = a.skip;
    ask.scored = heard;
    ask.scored_ctx = &a;
    int rc = wanted > 0 ? open_file(m) : 0;
    if (rc == 0 && wanted > 0)
        rc = m->reward->score(m->ctx, &ask);
    for (int64_t i = 0; i < b->n; i++) {
        if (same[i] >= 0) {
            b->score[i] = b->score[same[i]];
            b->status[i] = b->status[same[i]];
        } else if (!a.skip[i] && rc == 0) {
            heard(&a, i);
        }
    }
    if (a.rc != 0)
        rc = -1;
    if (wanted > 0 && memory_sync(m) != 0) /* also of a batch that was left */
        rc = -1;
    mem_free(first);
    mem_free(same);
    mem_free(a.key);
    mem_free(a.skip);
    mem_free(a.told);
    return rc;
}

int memory_score(struct memory *m, const struct reward_batch *b)
{
    if (m->slots == 0) { /* the first batch */
        grow(m);
        if (read_all(m) != 0)
            return -1;
    }
    return ask_unknown(m, b);
}

/* One block of reserved address space, or where the system gives none a few that grow,
 * are cut into pieces, kept in the order of their addresses; neighbours that are free
 * are joined at once. An evaluation has some hundred pieces, so lists are walked. */
#include "stages/nn/pool.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdbool.h>

#define ALIGN 64
#define SMALLEST (INT64_C(4) << 20)

struct piece {
    char *at;
    int64_t size;
    bool free;
    struct piece *next; /* next in address within the block */
};

struct block {
    char *at;
    int64_t size, high; /* high: bytes up to the end of the highest piece ever taken */
    bool reserved;      /* address space that fits everything */
    struct piece *first;
    struct block *next;
};

struct pool {
    struct block *blocks; /* in the order of their making */
    struct piece *spare;  /* structs to be used again */
    int64_t used, peak;
};

struct pool *pool_create(void)
{
    return mem_alloc(1, sizeof(struct pool));
}

static struct piece *piece_new(struct pool *p, char *at, int64_t size,
                               struct piece *next)
{
    struct piece *e = p->spare;
    if (e != NULL)
        p->spare = e->next;
    else
        e = mem_alloc(1, sizeof *e);
    *e = (struct piece){.at = at, .size = size, .free = true, .next = next};
    return e;
}

static void piece_drop(struct pool *p, struct piece *e)
{
    e->next = p->spare;
    p->spare = e;
}

static struct block *block_new(struct pool *p, int64_t size)
{
    struct block *b = mem_alloc(1, sizeof *b), **end = &p->blocks;
    *b = (struct block){.size = size};
    b->at = mem_reserve(&b->size);
    b->reserved = b->at != NULL;
    if (!b->reserved)
        b->at = mem_pages(size);
    b->first = piece_new(p, b->at, b->size, NULL);
    while (*end != NULL)
        end = &(*end)->next;
    *end = b;
    return b;
}

static void block_drop(struct pool *p, struct block *b)
{
    while (b->first != NULL) {
        struct piece *e = b->first;
        b->first = e->next;
        piece_drop(p, e);
    }
    if (b->reserved)
        mem_unreserve(b->at, b->size);
    else
        mem_free(b->at);
    mem_free(b);
}

void pool_destroy(struct pool *p)
{
    if (p == NULL)
        return;
    while (p->blocks != NULL) {
        struct block *b = p->blocks;
        p->blocks = b->next;
        block_drop(p, b);
    }
    while (p->spare != NULL) {
        struct piece *e = p->spare;
        p->spare = e->next;
        mem_free(e);
    }
    mem_free(p);
}

static int64_t high(const struct pool *p)
{
    int64_t sum = 0;
    for (const struct block *b = p->blocks; b != NULL; b = b->next)
        sum += b->high;
    return sum;
}

void pool_reset(struct pool *p)
{
    int64_t total = 0;
    for (const struct block *b = p->blocks; b != NULL; b = b->next)
        total += b->size;
    bool many = p->blocks != NULL && p->blocks->next != NULL;
    while (p->blocks != NULL && many) {
        struct block *b = p->blocks;
        p->blocks = b->next;
        block_drop(p, b);
    }
    if (many)
        block_new(p, total);
    for (struct block *b = p->blocks; b != NULL && !many; b = b->next) {
        while (b->first != NULL) {
            struct piece *e = b->first;
            b->first = e->next;
            piece_drop(p, e);
        }
        b->first = piece_new(p, b->at, b->size, NULL);
    }
    p->used = 0;
}

static void *take_from(struct pool *p, struct block *b, int64_t bytes)
{
    struct piece *e = b->first;
    while (e != NULL && !(e->free && e->size >= bytes))
        e = e->next;
    if (e == NULL)
        return NULL;
    if (e->size > bytes)
        e->next = piece_new(p, e->at + bytes, e->size - bytes, e->next);
    e->size = bytes;
    e->free = false;
    if (e->at + bytes - b->at > b->high)
        b->high = e->at + bytes - b->at;
    return e->at;
}

void *pool_take(struct pool *p, int64_t bytes)
{
    void *at = NULL;
    ERR_BUG_IF(bytes < 1 || bytes > INT64_MAX / 4);
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    int64_t total = 0;
    for (struct block *b = p->blocks; b != NULL && at == NULL; b = b->next) {
        at = take_from(p, b, bytes);
        total += b->size;
    }
    if (at == NULL) {
        int64_t size = total / 2 > SMALLEST ? total / 2 : SMALLEST;
        at = take_from(p, block_new(p, size > bytes ? size : bytes), bytes);
    }
    p->used += bytes;
    if (high(p) > p->peak)
        p->peak = high(p);
    return at;
}

static bool give_to(struct pool *p, struct block *b, const char *at)
{
    struct piece *before = NULL, *e = b->first;
    while (e != NULL && e->at != at) {
        before = e;
        e = e->next;
    }
    if (e == NULL)
        return false;
    ERR_BUG_IF(e->free);
    p->used -= e->size;
    e->free = true;
    if (e->next != NULL && e->next->free) {
        struct piece *after = e->next;
        e->size += after->size;
        e->next = after->next;
        piece_drop(p, after);
    }
    if (before != NULL && before->free) {
        before->size += e->size;
        before->next = e->next;
        piece_drop(p, e);
    }
    return true;
}

void pool_give(struct pool *p, void *at)
{
    for (struct block *b = p->blocks; b != NULL; b = b->next)
        if ((char *)at >= b->at && (char *)at < b->at + b->size && give_to(p, b, at))
            return;
    ERR_BUG("memory given back that was not taken");
}

int64_t pool_used(const struct pool *p)
{
    return p->used;
}

int64_t pool_peak(const struct pool *p)
{
    return p->peak;
}

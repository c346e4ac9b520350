/* An arena is one block of reserved address space. Where the system gives none, blocks
 * are added while a first step grows it; the next reset joins them into one that holds
 * the largest step seen, and from then on nothing is allocated. */
#include "stages/nn/tensor.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#define BLOCKS 96
#define ALIGN 64
#define SMALLEST (1 << 20)

struct block {
    char *at;
    int64_t size, used;
    bool reserved; /* address space that fits everything */
};

struct arena {
    struct block block[BLOCKS];
    int64_t blocks, current;
    int64_t peak; /* bytes in use at most since the creation */
};

size_t dtype_size(enum dtype type)
{
    return type == DTYPE_BF16 ? sizeof(bf16) : sizeof(float);
}

const char *dtype_name(enum dtype type)
{
    return type == DTYPE_BF16 ? "bf16" : "f32";
}

int64_t tensor_count(const struct tensor *t)
{
    return t->dim[0] * t->dim[1] * t->dim[2] * t->dim[3];
}

struct arena *arena_create(void)
{
    return mem_alloc(1, sizeof(struct arena));
}

static void arena_drop(struct arena *a)
{
    for (int64_t i = 0; i < a->blocks; i++) {
        struct block *b = &a->block[i];
        if (b->reserved)
            mem_unreserve(b->at, b->size);
        else
            mem_free(b->at);
    }
    a->blocks = 0;
}

void arena_destroy(struct arena *a)
{
    if (a == NULL)
        return;
    arena_drop(a);
    mem_free(a);
}

static void arena_grow(struct arena *a, int64_t bytes)
{
    int64_t size = arena_bytes(a) / 4;
    ERR_BUG_IF(a->blocks == BLOCKS);
    if (size < SMALLEST)
        size = SMALLEST;
    if (size < bytes)
        size = bytes;
    struct block b = {.size = size};
    b.at = mem_reserve(&b.size);
    b.reserved = b.at != NULL;
    if (!b.reserved)
        b.at = mem_pages(size);
    a->block[a->blocks++] = b;
}

void arena_reset(struct arena *a)
{
    if (a->blocks > 1) {
        arena_drop(a);
        arena_grow(a, a->peak);
    }
    a->current = 0;
    for (int64_t i = 0; i < a->blocks; i++)
        a->block[i].used = 0;
}

void *arena_take(struct arena *a, int64_t count, size_t size)
{
    int64_t bytes;
    ERR_BUG_IF(count < 0 || __builtin_mul_overflow(count, (int64_t)size, &bytes) ||
               bytes > INT64_MAX / 2);
    bytes = (bytes + ALIGN - 1) / ALIGN * ALIGN;
    while (a->current < a->blocks &&
           a->block[a->current].size - a->block[a->current].used < bytes)
        a->current++;
    if (a->current == a->blocks)
        arena_grow(a, bytes);
    struct block *b = &a->block[a->current];
    void *p = b->at + b->used;
    b->used += bytes;
    int64_t in_use = 0;
    for (int64_t i = 0; i <= a->current; i++)
        in_use += a->block[i].used;
    if (in_use > a->peak)
        a->peak = in_use;
    return p;
}

struct arena_mark arena_mark(const struct arena *a)
{
    int64_t used = a->current < a->blocks ? a->block[a->current].used : 0;
    return (struct arena_mark){.block = a->current, .used = used};
}

void arena_release(struct arena *a, struct arena_mark m)
{
    for (int64_t i = m.block; i < a->blocks; i++)
        a->block[i].used = i == m.block ? m.used : 0;
    a->current = m.block;
}

int64_t arena_bytes(const struct arena *a)
{
    int64_t n = 0;
    for (int64_t i = 0; i < a->blocks; i++)
        n += a->block[i].size;
    return n;
}

int64_t arena_peak(const struct arena *a)
{
    return a->peak;
}

/* Aligned, zeroed, counted allocations. */
#include "io/sys/mem.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

static atomic_llong live; /* for the leak test only */

static size_t bytes_of(int64_t count, size_t size)
{
    size_t n = 0;
    if (count < 0 || __builtin_mul_overflow((size_t)count, size, &n) ||
        n > (size_t)INT64_MAX - 128) {
        fprintf(stderr, "sluice: %lld x %zu bytes asked for: impossible size\n",
                (long long)count, size);
        abort();
    }
    return (n + 63) / 64 * 64 + (n == 0 ? 64 : 0);
}

static void *obtain(size_t align, size_t n)
{
    void *p = aligned_alloc(align, n);
    if (p == NULL) {
        fprintf(stderr,
                "sluice: out of memory (%zu bytes more wanted, %lld in use at the peak); "
                "lower model.micro_batch or give each rank more memory\n",
                n, (long long)mem_peak_rss());
        abort();
    }
    atomic_fetch_add(&live, 1);
    return p;
}

static int64_t physical(void)
{
    return (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
}

bool mem_fits(int64_t count, size_t size)
{
    size_t n = 0;
    return count >= 0 && !__builtin_mul_overflow((size_t)count, size, &n) &&
           n <= (size_t)physical();
}

void *mem_alloc(int64_t count, size_t size)
{
    size_t n = bytes_of(count, size);
    return memset(obtain(64, n), 0, n);
}

void *mem_pages(int64_t bytes)
{
    const size_t page = (size_t)2 << 20;
    size_t n = (bytes_of(bytes, 1) + page - 1) / page * page;
    void *p = obtain(page, n);
    madvise(p, n, MADV_HUGEPAGE); /* a wish: without it pages are small */
    return p;
}

/* Does the system count address space as memory (vm.overcommit_memory = 2)? */
static bool counts_reserved(void)
{
    FILE *f = fopen("/proc/sys/vm/overcommit_memory", "r");
    int mode = f != NULL ? fgetc(f) : EOF;
    if (f != NULL)
        fclose(f);
    return mode == '2';
}

void *mem_reserve(int64_t *bytes)
{
    struct rlimit limit;
    if (counts_reserved() || getrlimit(RLIMIT_AS, &limit) != 0 ||
        limit.rlim_cur != RLIM_INFINITY)
        return NULL;
    int64_t most = physical();
    if (most < *bytes)
        return NULL;
    void *p = mmap(NULL, (size_t)most, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return NULL;
    madvise(p, (size_t)most, MADV_HUGEPAGE);
    atomic_fetch_add(&live, 1);
    *bytes = most;
    return p;
}

void mem_unreserve(void *p, int64_t bytes)
{
    munmap(p, (size_t)bytes);
    atomic_fetch_sub(&live, 1);
}

void *mem_resize(void *p, int64_t old_count, int64_t count, size_t size)
{
    void *q = mem_alloc(count, size);
    int64_t keep = old_count < count ? old_count : count;
    if (p != NULL)
        memcpy(q, p, (size_t)keep * size);
    mem_free(p);
    return q;
}

char *mem_text(const char *s)
{
    if (s == NULL)
        return NULL;
    size_t n = strlen(s) + 1;
    return memcpy(mem_alloc((int64_t)n, 1), s, n);
}

void mem_free(void *p)
{
    if (p == NULL)
        return;
    atomic_fetch_sub(&live, 1);
    free(p);
}

int64_t mem_live(void)
{
    return atomic_load(&live);
}

int64_t mem_peak_rss(void)
{
    struct rusage u;
    return getrusage(RUSAGE_SELF, &u) == 0 ? (int64_t)u.ru_maxrss * 1024 : 0;
}

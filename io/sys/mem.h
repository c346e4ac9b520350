/* Memory for the life of a run or a file. Running out is a broken world: message and
 * abort, so that no caller checks. Sizes that come from files must be checked against
 * the file's size before they reach these functions. */
#ifndef SLUICE_IO_SYS_MEM_H
#define SLUICE_IO_SYS_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* count * size bytes, zeroed, 64-byte aligned; count 0 gives a valid pointer. The caller
 * frees with mem_free. Aborts on overflow or when memory is exhausted. */
void *mem_alloc(int64_t count, size_t size);

/* Is it at most the machine's memory? For sizes that data ask for. */
bool mem_fits(int64_t count, size_t size);

/* As mem_alloc, but not touched, so that pages that are never used cost nothing, and
 * aligned so that the system can back it with large pages. Contents undefined. */
void *mem_pages(int64_t bytes);

/* Address space of *bytes (in: at least; out: as much as the machine has memory, or less
 * under a limit), of which only pages that are touched cost anything. NULL where the system
 * gives none; mem_unreserve frees it. */
void *mem_reserve(int64_t *bytes);
void mem_unreserve(void *p, int64_t bytes);

/* Grows or shrinks; new bytes are zero. p may be NULL. */
void *mem_resize(void *p, int64_t old_count, int64_t count, size_t size);

/* A copy of a string; NULL gives NULL. */
char *mem_text(const char *s);

/* NULL is fine. */
void mem_free(void *p);

/* Blocks not yet freed (tests check for 0 at exit). */
int64_t mem_live(void);

/* Peak resident set of this process in bytes. */
int64_t mem_peak_rss(void);

#endif

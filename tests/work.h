/* A folder for a test's files, and calls that must not fail. */
#ifndef SLUICE_TESTS_WORK_H
#define SLUICE_TESTS_WORK_H

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "tests/tap.h"

#include <stdlib.h>
#include <unistd.h>

static char work[64];

static inline void must(int rc)
{
    if (rc != 0)
        ERR_BUG("%s", err_text());
}

static inline void work_begin(const char *name)
{
    snprintf(work, sizeof work, "/tmp/sluice-%s.XXXXXX", name);
    if (mkdtemp(work) == NULL)
        ERR_BUG("mkdtemp");
}

static inline void work_end(void)
{
    char *clean = text_new("rm -rf %s", work);
    tap_ok(system(clean) == 0, "the folder is removed");
    mem_free(clean);
}

#endif

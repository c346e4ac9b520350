/* Configurations from text, and what is refused, for tests with a table of their own. */
#ifndef SLUICE_TESTS_CONFIG_CASE_H
#define SLUICE_TESTS_CONFIG_CASE_H

#include "io/config.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "tests/tap.h"

#include <stdbool.h>
#include <unistd.h>

static const struct config_key *case_table;
static char path[64]; /* of the file that is read */

/* Before all others. */
static inline void case_begin(const struct config_key *table)
{
    case_table = table;
    snprintf(path, sizeof path, "/tmp/sluice_config_%ld.yaml", (long)getpid());
}

/* Reads text as a file; true when it is accepted. */
static inline bool reads(struct config *c, const char *text)
{
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        return false;
    err_clear();
    return config_read(c, path) == 0;
}

/* Not accepted, with an error that holds `said`. */
static inline void refused(const char *text, const char *said)
{
    struct config *c = config_create(case_table);
    bool read = reads(c, text);
    tap_ok(!read && err_code() == ERR_USAGE && strstr(err_text(), said) != NULL,
           "refused with '%s': %s", said, read ? "(accepted)" : err_text());
    err_clear();
    config_destroy(c);
}

/* The same of an override. */
static inline void refused_override(const char *text, const char *said)
{
    struct config *c = config_create(case_table);
    int rc = config_override(c, text);
    tap_ok(rc == -1 && err_code() == ERR_USAGE && strstr(err_text(), said) != NULL,
           "an override is refused: %s", rc == 0 ? "(accepted)" : err_text());
    err_clear();
    config_destroy(c);
}

#endif

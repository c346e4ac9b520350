/* Ranges of iterations. */
#include "pipeline/iterations.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <string.h>

int iterations_parse(const char *option, const char *text, int64_t *first,
                     int64_t *last)
{
    const char *colon = strchr(text, ':');
    char *a =
        colon == NULL ? mem_text(text) : text_new("%.*s", (int)(colon - text), text);
    const char *b = colon == NULL ? a : colon + 1;
    *first = 0;
    *last = INT64_MAX;
    bool good = (a[0] == '\0' && colon != NULL) || text_to_i64(a, first);
    good = good && ((b[0] == '\0' && colon != NULL) || text_to_i64(b, last));
    mem_free(a);
    if (!good || *first < 0 || *last < *first)
        return err_set(
            ERR_USAGE,
            "%s: '%.60s' is no range of iterations: A:B (both included), A:, :B "
            "or A",
            option, text);
    return 0;
}

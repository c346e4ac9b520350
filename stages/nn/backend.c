/* The list of back ends. */
#include "stages/nn/backend.h"

#include "io/sys/err.h"
#include "stages/nn/kernels.h"

#include <omp.h>
#include <string.h>

const struct backend *backend_get(const char *name, int threads)
{
    static const struct backend *const list[] = {&backend_onednn, &backend_reference};
    static int fixed; /* threads of this rank, by the first call */
    ERR_BUG_IF(threads < 1);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (strcmp(list[i]->name, name) != 0)
            continue;
        if (fixed == 0) {
            fixed = threads;
            omp_set_dynamic(0);
            omp_set_num_threads(fixed);
            onednn_open(fixed);
        }
        return list[i];
    }
    err_set(ERR_ENV, "back end \"%s\" is unknown; use \"onednn\" or \"reference\"", name);
    return NULL;
}

const char *backend_name(const struct backend *b)
{
    return b->name;
}

void backend_describe(const struct backend *b, char *buf, size_t size)
{
    b->describe(buf, size);
}

/* The list of back ends. */
#include "stages/nn/backend.h"

#include "io/sys/err.h"
#include "stages/nn/fast.h"
#include "stages/nn/onednn.h"

#include <omp.h>
#include <string.h>

#define VECTOR_LOOPS                                                                 \
    .describe = onednn_describe, .linear = fast_linear, .linear_dx = fast_linear_dx, \
    .linear_dw = fast_linear_dw, .norm = fast_norm, .norm_dx = fast_norm_dx,         \
    .silu = fast_silu, .silu_dx = fast_silu_dx, .attention = fast_attention,         \
    .attention_dx = fast_attention_dx

const struct backend backend_onednn = {
    .name = "onednn",
    .conv = fast_conv,
    .conv_dx = fast_conv_dx,
    .conv_dw = fast_conv_dw,
    VECTOR_LOOPS,
};

const struct backend backend_emulated = {
    .name = "emulated",
    .conv = emulated_conv,
    .conv_dx = emulated_conv_dx,
    .conv_dw = emulated_conv_dw,
    VECTOR_LOOPS,
};

bool backend_has_bf16(const char *name)
{
    return strcmp(name, "onednn") != 0 || onednn_has_bf16();
}

const struct backend *backend_get(const char *name, int threads)
{
    static const struct backend *const list[] = {&backend_onednn, &backend_emulated,
                                                 &backend_reference};
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
    err_set(ERR_ENV,
            "back end \"%s\" is unknown; use \"onednn\", \"emulated\" or "
            "\"reference\"",
            name);
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

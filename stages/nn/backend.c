/* The list of back ends. */
#include "stages/nn/backend.h"

#include "io/sys/err.h"
#include "stages/nn/fast.h"
#include "stages/nn/native.h"
#include "stages/nn/onednn.h"
#include "stages/nn/onednn_matmul.h"

#include <omp.h>
#include <string.h>

#define VECTOR_LOOPS                                                         \
    .describe = onednn_describe, .norm = fast_norm, .norm_dx = fast_norm_dx, \
    .silu = fast_silu, .silu_dx = fast_silu_dx

/* Products of bfloat16 are oneDNN's, those of float32 our own. */
static void linear(const struct linear_args *a)
{
    (a->type == DTYPE_F32 ? fast_linear : native_linear)(a);
}

static void linear_dx(const struct linear_args *a)
{
    (a->type == DTYPE_F32 ? fast_linear_dx : native_linear_dx)(a);
}

static void linear_dw(const struct linear_args *a)
{
    (a->type == DTYPE_F32 ? fast_linear_dw : native_linear_dw)(a);
}

static void attention(const struct attention_args *a)
{
    (a->type == DTYPE_F32 ? fast_attention : native_attention)(a);
}

static void attention_dx(const struct attention_args *a)
{
    (a->type == DTYPE_F32 ? fast_attention_dx : native_attention_dx)(a);
}

const struct backend backend_onednn = {
    .name = "onednn",
    .conv = fast_conv,
    .conv_dx = fast_conv_dx,
    .conv_dw = fast_conv_dw,
    .linear = linear,
    .linear_dx = linear_dx,
    .linear_dw = linear_dw,
    .attention = attention,
    .attention_dx = attention_dx,
    VECTOR_LOOPS,
};

const struct backend backend_emulated = {
    .name = "emulated",
    .conv = emulated_conv,
    .conv_dx = emulated_conv_dx,
    .conv_dw = emulated_conv_dw,
    .linear = fast_linear,
    .linear_dx = fast_linear_dx,
    .linear_dw = fast_linear_dw,
    .attention = fast_attention,
    .attention_dx = fast_attention_dx,
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

void backend_clear(void)
{
    onednn_matmul_clear();
}

const char *backend_name(const struct backend *b)
{
    return b->name;
}

void backend_describe(const struct backend *b, char *buf, size_t size)
{
    b->describe(buf, size);
}

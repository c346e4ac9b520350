/* oneDNN's engine and the wrappers of its C API (2.6 and later, 3.x by the wrappers).
 */
#include "stages/nn/onednn.h"
#include "stages/nn/onednn_internal.h"

#include "io/sys/mem.h"

#include <stdio.h>

static struct onednn onednn;

const struct onednn *onednn_get(void)
{
    return &onednn;
}

dnnl_data_type_t onednn_type(enum dtype type)
{
    return type == DTYPE_BF16 ? dnnl_bf16 : dnnl_f32;
}

dnnl_memory_desc_t onednn_desc(int nd, const dnnl_dims_t dim, dnnl_data_type_t type,
                               dnnl_format_tag_t tag)
{
    dnnl_memory_desc_t m;
#if V3
    CHECK(dnnl_memory_desc_create_with_tag(&m, nd, dim, type, tag));
#else
    CHECK(dnnl_memory_desc_init_by_tag(&m, nd, dim, type, tag));
#endif
    return m;
}

dnnl_memory_desc_t onednn_desc_strided(int nd, const dnnl_dims_t dim,
                                       dnnl_data_type_t type, const dnnl_dims_t stride)
{
    dnnl_memory_desc_t m;
#if V3
    CHECK(dnnl_memory_desc_create_with_strides(&m, nd, dim, type, stride));
#else
    CHECK(dnnl_memory_desc_init_by_strides(&m, nd, dim, type, stride));
#endif
    return m;
}

void onednn_desc_drop(dnnl_memory_desc_t m)
{
#if V3
    dnnl_memory_desc_destroy(m);
#else
    (void)m;
#endif
}

void onednn_handle(dnnl_memory_t m, const void *at)
{
    CHECK(dnnl_memory_set_data_handle(m, (void *)at));
}

void onednn_reorder(dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to)
{
    dnnl_exec_arg_t args[2] = {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}};
    CHECK(dnnl_primitive_execute(reorder, onednn.stream[0], 2, args));
}

static dnnl_primitive_attr_t attr_make(bool user_scratch, bool add)
{
    dnnl_primitive_attr_t attr;
    dnnl_post_ops_t post;
    CHECK(dnnl_primitive_attr_create(&attr));
    if (user_scratch)
        CHECK(dnnl_primitive_attr_set_scratchpad_mode(attr, dnnl_scratchpad_mode_user));
    if (!add)
        return attr;
    CHECK(dnnl_post_ops_create(&post));
#if V3
    CHECK(dnnl_post_ops_append_sum(post, 1, 0, dnnl_data_type_undef));
#else
    CHECK(dnnl_post_ops_append_sum(post, 1));
#endif
    CHECK(dnnl_primitive_attr_set_post_ops(attr, post));
    CHECK(dnnl_post_ops_destroy(post));
    return attr;
}

void onednn_open(int threads)
{
    onednn.threads = threads;
    CHECK(dnnl_engine_create(&onednn.engine, dnnl_cpu, 0));
    onednn.stream = mem_alloc(threads, sizeof *onednn.stream);
    for (int i = 0; i < threads; i++)
        CHECK(dnnl_stream_create(&onednn.stream[i], onednn.engine,
                                 dnnl_stream_default_flags));
    onednn.user_scratch = attr_make(true, false);
    onednn.user_scratch_add = attr_make(true, true);
    onednn.add = attr_make(false, true);
}

/* Only with a matrix unit: by AVX512-BF16 alone, 2.6.3's convolutions gave wrong values on
 * an emulated processor (of the same program, those with AMX were right). */
bool onednn_has_bf16(void)
{
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa == dnnl_cpu_isa_avx512_core_amx
#if V3
           || isa == dnnl_cpu_isa_avx512_core_amx_fp16
#endif
        ;
}

void onednn_describe(char *buf, size_t size)
{
    const dnnl_version_t *v = dnnl_version();
    dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    const char *name = "another";
    static const struct {
        dnnl_cpu_isa_t isa;
        const char *name;
    } names[] = {{dnnl_cpu_isa_sse41, "sse41"},
                 {dnnl_cpu_isa_avx, "avx"},
                 {dnnl_cpu_isa_avx2, "avx2"},
                 {dnnl_cpu_isa_avx512_core, "avx512_core"},
                 {dnnl_cpu_isa_avx512_core_vnni, "avx512_core_vnni"},
                 {dnnl_cpu_isa_avx512_core_bf16, "avx512_core_bf16"},
                 {dnnl_cpu_isa_avx512_core_amx, "avx512_core_amx"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (names[i].isa == isa)
            name = names[i].name;
    snprintf(buf, size, "oneDNN %d.%d.%d, cpu isa %s", v->major, v->minor, v->patch,
             name);
}

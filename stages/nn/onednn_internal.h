/* What the files that call oneDNN share: the engine, descriptors, and the wrappers that
 * make the API of 2.6 and of 3.x one. */
#ifndef SLUICE_STAGES_NN_ONEDNN_INTERNAL_H
#define SLUICE_STAGES_NN_ONEDNN_INTERNAL_H

#include "io/sys/err.h"
#include "stages/nn/tensor.h"

#include <oneapi/dnnl/dnnl.h>

#define V3 (DNNL_VERSION_MAJOR >= 3)

#define CHECK(call)                                                \
    do {                                                           \
        dnnl_status_t status_ = (call);                            \
        if (status_ != dnnl_success)                               \
            ERR_BUG("oneDNN: %s: status %d", #call, (int)status_); \
    } while (0)

/* What functions take as a memory descriptor: a pointer to a struct before 3, an opaque
 * pointer since. */
#if V3
typedef const_dnnl_memory_desc_t desc_ref;
#define REF(m) (m)
#else
typedef const dnnl_memory_desc_t *desc_ref;
#define REF(m) (&(m))
#endif

/* One engine per process, as the library has it. */
struct onednn {
    dnnl_engine_t engine;
    dnnl_stream_t *stream; /* [threads] */
    /* Attributes: working memory from the caller; that and the result added to; the
     * result added to. */
    dnnl_primitive_attr_t user_scratch, user_scratch_add, add;
    int threads;
};
const struct onednn *onednn_get(void);

dnnl_data_type_t onednn_type(enum dtype type);
/* A descriptor by a tag, or by strides; to be dropped. */
dnnl_memory_desc_t onednn_desc(int nd, const dnnl_dims_t dim, dnnl_data_type_t type,
                               dnnl_format_tag_t tag);
dnnl_memory_desc_t onednn_desc_strided(int nd, const dnnl_dims_t dim,
                                       dnnl_data_type_t type, const dnnl_dims_t stride);
void onednn_desc_drop(dnnl_memory_desc_t m);
/* Where a memory object's values are, for the next execution. */
void onednn_handle(dnnl_memory_t m, const void *at);
/* Runs a reorder between its two memory objects. Not from inside a parallel region. */
void onednn_reorder(dnnl_primitive_t reorder, dnnl_memory_t from, dnnl_memory_t to);

#endif

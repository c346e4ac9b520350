/* Matrix products by oneDNN: the primitives, in a list by shape. Two for each shape,
 * since adding to the result is a primitive of its own; both want b in the same order.
 */
#include "stages/nn/onednn_matmul.h"
#include "stages/nn/onednn_internal.h"

#include "io/sys/mem.h"

#include <omp.h>
#include <string.h>

enum { A, B, C, SCRATCH, SCRATCH_ADD, ARGS };

/* From float32 with some strides to the packed order. */
struct packer {
    int64_t row, column;
    dnnl_primitive_t reorder;
    dnnl_memory_t from, to;
    struct packer *next;
};

struct onednn_matmul {
    struct matmul_shape shape;
    dnnl_primitive_t primitive[2]; /* the second adds */
    dnnl_memory_t *memory;         /* [threads, ARGS] */
    int64_t scratch_bytes, packed_bytes;
    dnnl_primitive_desc_t desc; /* of the first; owns the packed order */
    struct packer *packers;
    struct onednn_matmul *next;
};

static int64_t line(size_t bytes)
{
    return (int64_t)(bytes + 63) / 64 * 64;
}

static dnnl_format_tag_t tag_of(enum matmul_order order)
{
    return order == MATMUL_ROWS      ? dnnl_ab
           : order == MATMUL_COLUMNS ? dnnl_ba
                                     : dnnl_format_tag_any;
}

static dnnl_primitive_desc_t matmul_pd(desc_ref a, desc_ref b, desc_ref c, bool add)
{
    const struct onednn *o = onednn_get();
    const_dnnl_primitive_attr_t attr = add ? o->user_scratch_add : o->user_scratch;
    dnnl_primitive_desc_t pd;
#if V3
    CHECK(dnnl_matmul_primitive_desc_create(&pd, o->engine, a, b, NULL, c, attr));
#else
    dnnl_matmul_desc_t op;
    CHECK(dnnl_matmul_desc_init(&op, a, b, NULL, c));
    CHECK(dnnl_primitive_desc_create(&pd, &op, attr, o->engine, NULL));
#endif
    return pd;
}

static desc_ref weights_of(const_dnnl_primitive_desc_t pd)
{
    return dnnl_primitive_desc_query_md(pd, dnnl_query_weights_md, 0);
}

static desc_ref scratch_of(const_dnnl_primitive_desc_t pd)
{
    return dnnl_primitive_desc_query_md(pd, dnnl_query_scratchpad_md, 0);
}

static void matmul_memory(struct onednn_matmul *m, const desc_ref desc[ARGS])
{
    const int threads = onednn_get()->threads;
    m->memory = mem_alloc((int64_t)threads * ARGS, sizeof *m->memory);
    for (int i = 0; i < threads * ARGS; i++)
        CHECK(dnnl_memory_create(&m->memory[i], desc[i % ARGS], onednn_get()->engine,
                                 DNNL_MEMORY_NONE));
}

static struct onednn_matmul *matmul_create(struct matmul_shape s)
{
    const dnnl_data_type_t type = onednn_type(s.type);
    const dnnl_dims_t dim_a = {s.m, s.k}, dim_b = {s.k, s.n}, dim_c = {s.m, s.n};
    struct onednn_matmul *m = mem_alloc(1, sizeof *m);
    dnnl_memory_desc_t a = onednn_desc(2, dim_a, type, tag_of(s.a));
    dnnl_memory_desc_t b = onednn_desc(2, dim_b, type, tag_of(s.b));
    dnnl_memory_desc_t c = onednn_desc(2, dim_c, dnnl_f32, dnnl_ab);
    m->shape = s;
    const int threads = omp_get_max_threads();
    omp_set_num_threads(1); /* the primitive is made for as many */
    m->desc = matmul_pd(REF(a), REF(b), REF(c), false);
    desc_ref packed = weights_of(m->desc);
    dnnl_primitive_desc_t adding = matmul_pd(REF(a), packed, REF(c), true);
    CHECK(dnnl_primitive_create(&m->primitive[0], m->desc));
    CHECK(dnnl_primitive_create(&m->primitive[1], adding));
    omp_set_num_threads(threads);
    const desc_ref desc[ARGS] = {REF(a), packed, REF(c), scratch_of(m->desc),
                                 scratch_of(adding)};
    int64_t plain = line(dnnl_memory_desc_get_size(desc[SCRATCH]));
    int64_t add = line(dnnl_memory_desc_get_size(desc[SCRATCH_ADD]));
    m->scratch_bytes = plain > add ? plain : add;
    m->packed_bytes = line(dnnl_memory_desc_get_size(packed));
    matmul_memory(m, desc);
    CHECK(dnnl_primitive_desc_destroy(adding));
    onednn_desc_drop(a);
    onednn_desc_drop(b);
    onednn_desc_drop(c);
    return m;
}

static struct onednn_matmul *all; /* as the library's engine, the process's */

struct onednn_matmul *onednn_matmul_find(struct matmul_shape s)
{
    struct onednn_matmul *m = all;
    while (m != NULL &&
           (m->shape.m != s.m || m->shape.n != s.n || m->shape.k != s.k ||
            m->shape.type != s.type || m->shape.a != s.a || m->shape.b != s.b))
        m = m->next;
    if (m == NULL) {
        m = matmul_create(s);
        m->next = all;
        all = m;
    }
    return m;
}

int64_t onednn_matmul_scratch(const struct onednn_matmul *m)
{
    return m->scratch_bytes;
}

void onednn_matmul_run(const struct onednn_matmul *m, const void *a, const void *b,
                       float *c, bool add, void *scratch)
{
    const int thread = omp_get_thread_num();
    dnnl_memory_t *memory = m->memory + thread * ARGS;
    dnnl_memory_t own = memory[add ? SCRATCH_ADD : SCRATCH];
    dnnl_exec_arg_t args[4] = {{DNNL_ARG_SRC, memory[A]},
                               {DNNL_ARG_WEIGHTS, memory[B]},
                               {DNNL_ARG_DST, memory[C]},
                               {DNNL_ARG_SCRATCHPAD, own}};
    onednn_handle(memory[A], a);
    onednn_handle(memory[B], b);
    onednn_handle(memory[C], c);
    onednn_handle(own, scratch);
    CHECK(dnnl_primitive_execute(m->primitive[add], onednn_get()->stream[thread], 4,
                                 args));
}

int64_t onednn_matmul_packed(const struct onednn_matmul *m)
{
    return m->packed_bytes;
}

static struct packer *packer_create(const struct onednn_matmul *m, int64_t row,
                                    int64_t column)
{
    const dnnl_dims_t dim = {m->shape.k, m->shape.n}, stride = {row, column};
    dnnl_engine_t engine = onednn_get()->engine;
    struct packer *p = mem_alloc(1, sizeof *p);
    dnnl_memory_desc_t from = onednn_desc_strided(2, dim, dnnl_f32, stride);
    desc_ref to = weights_of(m->desc);
    dnnl_primitive_desc_t pd;
    p->row = row;
    p->column = column;
    CHECK(dnnl_reorder_primitive_desc_create(&pd, REF(from), engine, to, engine, NULL));
    CHECK(dnnl_primitive_create(&p->reorder, pd));
    CHECK(dnnl_primitive_desc_destroy(pd));
    CHECK(dnnl_memory_create(&p->from, REF(from), engine, DNNL_MEMORY_NONE));
    CHECK(dnnl_memory_create(&p->to, to, engine, DNNL_MEMORY_NONE));
    onednn_desc_drop(from);
    return p;
}

void onednn_matmul_pack(struct onednn_matmul *m, const float *b, int64_t row,
                        int64_t column, void *to)
{
    struct packer *p = m->packers;
    while (p != NULL && (p->row != row || p->column != column))
        p = p->next;
    if (p == NULL) {
        p = packer_create(m, row, column);
        p->next = m->packers;
        m->packers = p;
    }
    onednn_handle(p->from, b);
    onednn_handle(p->to, to);
    onednn_reorder(p->reorder, p->from, p->to);
}

static void matmul_destroy(struct onednn_matmul *m)
{
    while (m->packers != NULL) {
        struct packer *p = m->packers;
        m->packers = p->next;
        dnnl_primitive_destroy(p->reorder);
        dnnl_memory_destroy(p->from);
        dnnl_memory_destroy(p->to);
        mem_free(p);
    }
    for (int i = 0; i < onednn_get()->threads * ARGS; i++)
        dnnl_memory_destroy(m->memory[i]);
    dnnl_primitive_destroy(m->primitive[0]);
    dnnl_primitive_destroy(m->primitive[1]);
    dnnl_primitive_desc_destroy(m->desc);
    mem_free(m->memory);
    mem_free(m);
}

void onednn_matmul_clear(void)
{
    while (all != NULL) {
        struct onednn_matmul *m = all;
        all = m->next;
        matmul_destroy(m);
    }
}

/* "bf16" asks the processor; "bf16-emulated" is the table of kernels that needs nothing
 * from it. */
#include "pipeline/compute.h"

#include "io/sys/log.h"

#include <string.h>

static bool is(const char *a, const char *b)
{
    return strcmp(a, b) == 0;
}

static const char *table_of(const struct compute *o)
{
    return is(o->dtype, "bf16-emulated") && is(o->backend, "onednn") ? "emulated"
                                                                     : o->backend;
}

struct compute compute_of(const struct config *c)
{
    return (struct compute){
        .backend = config_text(c, "model.backend"),
        .dtype = config_text(c, "model.dtype"),
        .threads = (int)config_int(c, "groups.threads"),
        .gradient_checkpointing = config_bool(c, "model.gradient_checkpointing"),
    };
}

bool compute_available(const struct compute *o)
{
    return !is(o->dtype, "bf16") || backend_has_bf16(table_of(o));
}

static void warn(const char *who)
{
    log_warn(
        "dtype bf16: %s has no bfloat16 matrix unit (AMX): computing "
        "in float32 instead; bf16-emulated rounds as bf16 does, at float32's speed",
        who);
}

int compute_settle(struct config *c, const struct comm *all)
{
    const struct compute o = compute_of(c);
    double lacking = compute_available(&o) ? 0 : 1;
    if (comm_max_f64(all, &lacking, 1) != 0)
        return -1;
    if (lacking == 0)
        return 0;
    if (all->rank == 0)
        warn("a processor of this job");
    return config_override(c, "model.dtype=f32");
}

struct tape *compute_open(const struct compute *o, const struct backend **backend)
{
    const struct backend *b = backend_get(table_of(o), o->threads);
    if (b == NULL)
        return NULL;
    if (!compute_available(o))
        warn("this processor");
    struct tape *t = tape_create(b);
    if (!is(o->dtype, "f32") && compute_available(o))
        tape_set_dtype(t, DTYPE_BF16);
    tape_set_recompute(t, o->gradient_checkpointing);
    if (backend != NULL)
        *backend = b;
    return t;
}

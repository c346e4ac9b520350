/* What model.c asks of a network's own file. `net` is that file's private structure. */
#ifndef SLUICE_STAGES_MODEL_KIND_H
#define SLUICE_STAGES_MODEL_KIND_H

#include "io/json.h"
#include "stages/model/model.h"

/* How a parameter of a new network starts: by the peer's defaults, at zero, or normal with
 * standard deviation 0.02. */
enum model_start { MODEL_START_USUAL, MODEL_START_ZERO, MODEL_START_SMALL };

struct model_kind {
    const char *class_name; /* "_class_name" of the config */

    /* Reads the config (path is for messages). NULL: ERR_INPUT naming the key. */
    void *(*create)(const struct json *config, const char *path);
    void (*destroy)(void *net);

    /* Declares every parameter in the order of the peer's modules. old_names: attention
     * projections are named query, key, value, proj_attn (before diffusers 0.17). */
    int (*declare)(void *net, struct param_set *s, bool old_names);

    /* By the parameter's name; NULL: all are usual. */
    enum model_start (*start)(const void *net, const char *name);

    void (*sample_shape)(const void *net, int64_t dim[3]);
    int64_t (*classes)(const void *net);
    int64_t (*null_label)(const void *net); /* "no class", -1: none; NULL: none */
    double (*flops)(const void *net);

    /* As model_forward, with the declared and allocated set. */
    struct tensor *(*forward)(const void *net, struct param_set *s, struct tape *t,
                              const struct model_input *in, struct tensor **x);
};

#endif

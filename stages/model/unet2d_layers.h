/* Inside of UNet2DModel, for unet2d*.c only: its layers as indices of parameters, made by
 * unet2d_declare.c and evaluated by unet2d.c. */
#ifndef SLUICE_STAGES_MODEL_UNET2D_LAYERS_H
#define SLUICE_STAGES_MODEL_UNET2D_LAYERS_H

#include "stages/model/label.h"
#include "stages/model/unet2d.h"

/* Indices into the parameter set; -1: no such parameter. */
struct layer {
    int64_t weight, bias;
};

struct resnet {
    struct layer norm1, conv1, time, norm2, conv2, shortcut;
    int64_t in, out;
};

struct attention {
    struct layer norm, q, k, v, out;
    int64_t channels;
    int heads;
};

/* n layers of a resnet each, followed by attention where there is one. */
struct block {
    int64_t n;
    struct resnet resnet[UNET2D_LAYERS + 1];
    struct attention attention[UNET2D_LAYERS + 1];
    bool with_attention, with_sampler;
    struct layer sampler;
};

struct unet2d {
    struct unet2d_config c;
    struct layer conv_in, time1, time2, norm_out, conv_out;
    int64_t class_table;
    struct label label;
    struct block down[UNET2D_LEVELS], up[UNET2D_LEVELS];
    struct resnet mid[2];
    struct attention mid_attention;
};

/* As model_kind.declare. */
int unet2d_declare(void *net, struct param_set *set, bool old_names);

#endif

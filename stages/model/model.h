/* Denoising networks and their checkpoint folders. A network is one file with one
 * `const struct model_kind`, listed in model.c. */
#ifndef SLUICE_STAGES_MODEL_MODEL_H
#define SLUICE_STAGES_MODEL_MODEL_H

#include "io/coding.h"
#include "stages/nn/ops.h"

/* What one evaluation takes. Arrays are borrowed for the call. */
struct model_input {
    int64_t batch;
    int64_t height, width;  /* of x; the network's own size where sampling */
    const float *x;         /* [batch, channels, height, width], as in files */
    const float *timesteps; /* [batch] */
    const int64_t *labels;  /* [batch], NULL for an unconditional network */
    bool want_dx;           /* gradient with respect to x wanted */
};

struct model;

/* Opens a network from a diffusers folder: either a pipeline folder (model_index.json
 * with unet/) or the network's own folder (config.json + *.safetensors). Weights are
 * mapped, checked (names, shapes, dtypes; F32, F16 and BF16 files are read) and copied.
 * Without a weight file: only with seed >= 0, weights then come from rng_detinit.
 * with_grad: gradients are wanted. ERR_INPUT names the file and the key or tensor. */
struct model *model_open(const char *folder, int64_t seed, bool with_grad);

/* A new network from the file config_json (a path), with gradients; weights by the usual
 * initialisation of the peer's library in distribution (uniform +-1/sqrt(fan_in); norms 1
 * and 0), keyed by seed. */
struct model *model_new(const char *config_json, uint64_t seed);
/* The same from the text of a config.json (name: for messages). */
struct model *model_new_text(const char *json, const char *name, uint64_t seed);
/* A network from the text of a config.json (name: for messages), weights all zero.
 * old_names: the attention names of diffusers before 0.17. NULL: ERR_INPUT. */
struct model *model_from_config(const char *json, const char *name, bool old_names,
                                bool with_grad);
/* The text of the config.json that made it. */
const char *model_config(const struct model *m);
void model_destroy(struct model *m);

/* Channels, height, width of a sample (0 x 0 where the config names no sample_size);
 * number of classes (0: unconditional). */
void model_sample_shape(const struct model *m, int64_t dim[3]);
int64_t model_classes(const struct model *m);
/* The label that means "no class", -1 where the network knows none. */
int64_t model_null_label(const struct model *m);
/* How its data are coded: "data" of the config.json. */
const struct coding *model_coding(const struct model *m);
const char *model_class_name(const struct model *m); /* "UNet2DModel" */
struct param_set *model_params(struct model *m);

/* One evaluation. Returns the output [batch, channels, height, width] on the tape; *x,
 * where not NULL, receives the input tensor, for model_dx after tape_backward.
 * NULL and ERR_INPUT when the input's shape does not fit this network (say an odd size
 * at a level that halves) or a label is out of range. Results for an item do not depend
 * on the rest of the batch. */
struct tensor *model_forward(struct model *m, struct tape *t,
                             const struct model_input *in, struct tensor **x);
/* dx[batch, channels, height, width] <- the gradient with respect to the input that
 * model_forward put into *x, after tape_backward; batch as there. */
void model_dx(const struct tensor *x, int64_t batch, float *dx);

/* From now on model_forward gives without + weight * (given - without), of the prediction
 * given its label and that for "no class" (classifier-free guidance, Ho & Salimans 2022):
 * two evaluations in one batch; gradients are those of the guided output. 1, the
 * default: one evaluation. ERR_USAGE without a null label. */
int model_set_guidance(struct model *m, double weight);
double model_guidance(const struct model *m);

/* Floating-point operations of one forward evaluation per item (2 per multiply-add). */
double model_flops(const struct model *m);

/* Writes a diffusers pipeline folder: model_index.json, unet/ (config.json as it was
 * read, weights in safetensors), scheduler/. values: flat vector in param order (say the
 * EMA), NULL for the network's own. scheduler_json: the text of scheduler_config.json. */
int model_export(struct model *m, const float *values, const char *scheduler_json,
                 const char *folder);

/* The same network with `labels` new ones (label.h) whose embeddings are zero: it gives the
 * bits that m gives, whatever the label. NULL: ERR_INPUT, it has new labels already, or is of
 * a kind that takes none. */
struct model *model_graft(struct model *m, int64_t labels);

/* The path of the scheduler's config beside a model folder ("" when there is none);
 * caller frees with mem_free. */
char *model_scheduler_path(const char *folder);

/* SHA-256 over names, shapes and values of a flat vector in param order. */
void model_digest(struct model *m, const float *values, char hex[65]);

#endif

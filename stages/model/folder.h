/* A network's folder as the diffusers library writes it: config.json and one file of
 * weights. */
#ifndef SLUICE_STAGES_MODEL_FOLDER_H
#define SLUICE_STAGES_MODEL_FOLDER_H

#include "io/safetensors.h"
#include "stages/nn/param.h"

#include <stdbool.h>

/* Paths of a network; free with folder_free. */
struct folder {
    char *config;  /* config.json */
    char *weights; /* NULL: the folder has no weights of any format */
};

/* `path` is a pipeline folder, its unet/, or a folder with config.json. ERR_INPUT when
 * it is none of them, or its weights are only in a format that is not read (.bin,
 * several files). */
int folder_find(const char *path, struct folder *f);
void folder_free(struct folder *f);

/* The scheduler's config that belongs to `path`, or "". Free with mem_free. */
char *folder_scheduler(const char *path);

/* Do the tensors of an open file have the attention names used before diffusers 0.17?
 */
bool folder_old_names(const struct st_file *f);

/* Every declared parameter is in the file with its shape, and nothing else is;
 * ERR_INPUT naming the tensor. Needs no allocated parameters. */
int folder_check(const char *path, const struct st_file *f, struct param_set *s);
/* Copies the values of a checked file. ERR_INPUT for types that are not read and for
 * values that are not finite. */
int folder_load(const char *path, const struct st_file *f, struct param_set *s);

/* Writes a pipeline folder around a network of this class: `config` is the text of its
 * config.json, `scheduler` that of scheduler_config.json, values the flat vector. Each
 * file is complete under its name; model_index.json comes last. */
struct folder_content {
    const char *class_name, *config, *scheduler;
    const float *values;
};
int folder_write(const char *path, const struct folder_content *c, struct param_set *s);

#endif

/* Checkpoint folders. A checkpoint is taken whole or not at all: a missing, surplus or
 * differently shaped tensor is an error, because a network with a few unfilled weights
 * still runs and gives quiet nonsense. */
#include "stages/model/folder.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <string.h>

#define WEIGHTS "diffusion_pytorch_model"

void folder_free(struct folder *f)
{
    mem_free(f->config);
    mem_free(f->weights);
    *f = (struct folder){0};
}

static bool has(const char *dir, const char *name)
{
    char *path = text_new("%s/%s", dir, name);
    bool there = file_exists(path);
    mem_free(path);
    return there;
}

/* The network's own folder, to be freed; NULL and ERR_INPUT. */
static char *network_dir(const char *path)
{
    if (!file_exists(path)) {
        err_set(ERR_INPUT, "%s: no such model folder", path);
        return NULL;
    }
    if (!file_is_dir(path)) {
        err_set(ERR_INPUT,
                "%s: is a file; give the model's folder (with model_index.json or "
                "config.json)",
                path);
        return NULL;
    }
    if (has(path, "unet/config.json") &&
        (has(path, "model_index.json") || !has(path, "config.json")))
        return text_new("%s/unet", path);
    if (has(path, "config.json"))
        return mem_text(path);
    err_set(ERR_INPUT,
            "%s: is no model folder: neither config.json nor unet/config.json is there",
            path);
    return NULL;
}

/* Several candidates, or none that can be read. */
static int refuse_weights(const char *dir, int64_t found)
{
    char **bins = NULL;
    int64_t n = 0;
    if (has(dir, WEIGHTS ".safetensors.index.json"))
        return err_set(
            ERR_INPUT,
            "%s: the weights are split over several files, which is not read; "
            "save them again as one " WEIGHTS ".safetensors",
            dir);
    if (found > 1)
        return err_set(ERR_INPUT,
                       "%s: %lld files " WEIGHTS
                       "*.safetensors; keep the one to use, or "
                       "name it " WEIGHTS ".safetensors",
                       dir, (long long)found);
    if (file_list(dir, "", ".bin", &bins, &n) != 0)
        return -1;
    if (n > 0)
        err_set(ERR_INPUT,
                "%s: holds its weights as %s only (Python pickle), which is not read; "
                "convert it with diffusers: save_pretrained(..., "
                "safe_serialization=True)",
                dir, bins[0]);
    file_list_free(bins, n);
    return n > 0 ? -1 : 0;
}

int folder_find(const char *path, struct folder *f)
{
    *f = (struct folder){0};
    char *dir = network_dir(path), **names = NULL;
    int64_t n = 0;
    int rc = -1;
    if (dir == NULL)
        return -1;
    f->config = text_new("%s/config.json", dir);
    if (has(dir, WEIGHTS ".safetensors")) {
        f->weights = text_new("%s/" WEIGHTS ".safetensors", dir);
        rc = 0;
    } else if (file_list(dir, WEIGHTS, ".safetensors", &names, &n) == 0) {
        if (n == 1 && !has(dir, WEIGHTS ".safetensors.index.json")) {
            f->weights = text_new("%s/%s", dir, names[0]);
            rc = 0;
        } else {
            rc = refuse_weights(dir, n);
        }
    }
    file_list_free(names, n);
    mem_free(dir);
    if (rc != 0)
        folder_free(f);
    return rc;
}

char *folder_scheduler(const char *path)
{
    static const char *const places[] = {
        "scheduler/scheduler_config.json",
        "../scheduler/scheduler_config.json",
        "scheduler_config.json",
    };
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        if (has(path, places[i]))
            return text_new("%s/%s", path, places[i]);
    return mem_text("");
}

static bool ends(const char *s, const char *tail)
{
    size_t n = strlen(s), m = strlen(tail);
    return n >= m && strcmp(s + n - m, tail) == 0;
}

bool folder_old_names(const struct st_file *f)
{
    for (int64_t i = 0; i < st_number(f); i++)
        if (ends(st_at(f, i)->name, ".query.weight"))
            return true;
    return false;
}

static void add_shape(struct text *t, int nd, const int64_t *dim)
{
    text_add(t, "[");
    for (int i = 0; i < nd; i++)
        text_add(t, "%s%lld", i > 0 ? ", " : "", (long long)dim[i]);
    text_add(t, "]");
}

/* Same shape; a matrix and a 1 x 1 convolution hold the same numbers (attention
 * projections were stored both ways). */
static bool fits(const struct st_tensor *t, const struct tensor *p)
{
    int a = t->nd, b = p->nd;
    if (a == 4 && b == 2 && t->dim[2] == 1 && t->dim[3] == 1)
        a = 2;
    else if (a == 2 && b == 4 && p->dim[2] == 1 && p->dim[3] == 1)
        b = 2;
    for (int i = 0; i < a && a == b; i++)
        if (t->dim[i] != p->dim[i])
            return false;
    return a == b;
}

int folder_check(const char *path, const struct st_file *f, struct param_set *s)
{
    for (int64_t i = 0; i < param_number(s); i++) {
        const struct param *p = param_at(s, i);
        const struct st_tensor *t = st_find(f, p->name);
        if (t == NULL)
            return err_set(ERR_INPUT,
                           "%s: tensor '%s', which config.json asks for, is missing",
                           path, p->name);
        if (fits(t, &p->t))
            continue;
        struct text msg = {0};
        text_add(&msg, "tensor '%s' has shape ", p->name);
        add_shape(&msg, t->nd, t->dim);
        text_add(&msg, ", config.json asks for ");
        add_shape(&msg, p->t.nd, p->t.dim);
        err_set(ERR_INPUT, "%s: %s", path, msg.s);
        text_free(&msg);
        return -1;
    }
    for (int64_t i = 0; i < st_number(f); i++)
        if (param_find(s, st_at(f, i)->name) == NULL)
            return err_set(
                ERR_INPUT,
                "%s: tensor '%s' does not belong to the network of config.json", path,
                st_at(f, i)->name);
    return 0;
}

int folder_load(const char *path, const struct st_file *f, struct param_set *s)
{
    for (int64_t i = 0; i < param_number(s); i++) {
        struct param *p = param_at(s, i);
        if (st_to_f32(st_find(f, p->name), p->t.data) != 0)
            return err_add("%s", path);
        int64_t n = tensor_count(&p->t);
        for (int64_t k = 0; k < n; k++)
            if (!isfinite(p->t.data[k]))
                return err_set(ERR_INPUT, "%s: tensor '%s': value %lld is not finite",
                               path, p->name, (long long)k);
    }
    param_touch(s);
    return 0;
}

static int write_text(const char *dir, const char *name, const char *text)
{
    char *path = text_new("%s/%s", dir, name);
    int rc = file_write(path, text, (int64_t)strlen(text));
    mem_free(path);
    return rc;
}

static int write_weights(const char *dir, const float *values, struct param_set *s)
{
    int64_t n = param_number(s);
    struct st_out *out = mem_alloc(n, sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        const struct param *p = param_at(s, i);
        out[i] = (struct st_out){
            .name = p->name, .type = ST_F32, .nd = p->t.nd, .data = values + p->offset};
        memcpy(out[i].dim, p->t.dim, sizeof p->t.dim);
    }
    char *path = text_new("%s/unet/" WEIGHTS ".safetensors", dir);
    int rc = st_write(path, out, n);
    mem_free(path);
    mem_free(out);
    return rc;
}

static void add_part(struct json_out *o, const char *key, const char *class_name)
{
    json_out_list(o, key);
    json_out_text(o, NULL, "diffusers");
    json_out_text(o, NULL, class_name);
    json_out_end(o);
}

/* model_index.json: DDPMPipeline for the scheduler of that name, DDIMPipeline for all
 * others (it converts any scheduler to its own). */
static int make_index(const struct folder_content *c, struct text *out)
{
    const char *config_name = "the model's config.json",
               *name = "the scheduler's config";
    struct json *net = json_parse(c->config, (int64_t)strlen(c->config), config_name);
    struct json *plan = json_parse(c->scheduler, (int64_t)strlen(c->scheduler), name);
    int rc = -1;
    if (net == NULL || plan == NULL)
        goto done;
    const char *scheduler = json_text(json_get(plan, "_class_name"));
    const char *version = json_text(json_get(net, "_diffusers_version"));
    if (scheduler == NULL) {
        err_set(ERR_INPUT, "%s has no \"_class_name\"", name);
        goto done;
    }
    struct json_out *o = json_out_create();
    json_out_text(o, "_class_name",
                  strcmp(scheduler, "DDPMScheduler") == 0 ? "DDPMPipeline"
                                                          : "DDIMPipeline");
    json_out_text(o, "_diffusers_version", version != NULL ? version : "0.17.1");
    add_part(o, "scheduler", scheduler);
    add_part(o, "unet", c->class_name);
    json_out_finish(o, 2, out);
    text_add(out, "\n");
    rc = 0;
done:
    json_free(net);
    json_free(plan);
    return rc;
}

int folder_write(const char *path, const struct folder_content *c, struct param_set *s)
{
    struct text index = {0};
    char *unet = text_new("%s/unet", path), *plan = text_new("%s/scheduler", path);
    int rc = -1;
    if (make_index(c, &index) == 0 && file_make_dirs(unet) == 0 &&
        file_make_dirs(plan) == 0 &&
        write_text(plan, "scheduler_config.json", c->scheduler) == 0 &&
        write_text(unet, "config.json", c->config) == 0 &&
        write_weights(path, c->values, s) == 0)
        rc = write_text(path, "model_index.json", index.s);
    mem_free(plan);
    mem_free(unet);
    text_free(&index);
    return rc;
}

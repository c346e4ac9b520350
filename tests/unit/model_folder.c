/* Model folders: refusals by name, export and re-reading, new networks. One process. */
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/model/model.h"
#include "tests/tap.h"

#include <unistd.h>

#define LISTS                                                                        \
    "\"block_out_channels\": [8, 16], \"down_block_types\": [\"DownBlock2D\", "      \
    "\"AttnDownBlock2D\"], \"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"], " \
    "\"layers_per_block\": 1, \"sample_size\": 8"
#define SMALL LISTS ", \"norm_num_groups\": 4"
#define WEIGHTS "diffusion_pytorch_model.safetensors"

static char work[64];

static char *in_work(const char *name)
{
    return text_new("%s/%s", work, name);
}

static void put(const char *name, const char *text)
{
    char *path = in_work(name);
    if (file_write(path, text, (int64_t)strlen(text)) != 0)
        abort();
    mem_free(path);
}

static void drop(const char *name)
{
    char *path = in_work(name);
    if (file_is_dir(path))
        rmdir(path);
    else
        unlink(path);
    mem_free(path);
}

static void refused(const char *word, const char *what)
{
    struct model *m = model_open(work, 1, false);
    tap_ok(m == NULL && err_code() == ERR_INPUT && strstr(err_text(), word) != NULL,
           "refuses %s: %s", what, m == NULL ? err_text() : "accepted");
    model_destroy(m);
}

static void refuses_config(const char *extra, const char *word)
{
    char *text = text_new("{%s%s}", SMALL, extra);
    put("config.json", text);
    refused(word, extra[0] != '\0' ? extra + 2 : word);
    mem_free(text);
}

static void test_config(void)
{
    static const char *const bad[][2] = {
        {", \"layers_per_blok\": 2", "layers_per_block"},
        {", \"act_fn\": \"mish\"", "act_fn"},
        {", \"time_embedding_type\": \"fourier\"", "time_embedding_type"},
        {", \"resnet_time_scale_shift\": \"scale_shift\"", "resnet_time_scale_shift"},
        {", \"class_embed_type\": \"timestep\"", "class_embed_type"},
        {", \"dropout\": 0.1", "dropout"},
        {", \"downsample_padding\": 2", "downsample_padding"},
        {", \"downsample_type\": \"resnet\"", "downsample_type"},
        {", \"attention_head_dim\": 7", "attention_head_dim"},
        {", \"in_channels\": -1", "in_channels"},
        {", \"in_channels\": 1e3", "in_channels"},
        {", \"norm_eps\": \"x\"", "norm_eps"},
        {", \"out_channels\": 6", "out_channels"},
        {", \"num_class_embeds\": 0", "num_class_embeds"},
        {", \"mid_block_scale_factor\": 0", "mid_block_scale_factor"},
        {", \"freq_shift\": 4", "freq_shift"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        refuses_config(bad[i][0], bad[i][1]);
    put("config.json", "{" LISTS ", \"norm_num_groups\": 3}");
    refused("norm_num_groups", "groups that do not divide the channels");
    put("config.json", "{\"down_block_types\": [\"SkipDownBlock2D\"]}");
    refused("SkipDownBlock2D", "an unknown block type");
    put("config.json", "{\"down_block_types\": [\"DownBlock2D\"]}");
    refused("block_out_channels", "lists of different lengths");
    put("config.json", "{\"block_out_channels\": [4, 8, 16, 32, 64, 64, 64, 64, 64]}");
    refused("block_out_channels", "more levels than supported");
    put("config.json", "{\"_class_name\": \"Transformer2DModel\"}");
    refused("Transformer2DModel", "another class");
    put("config.json", "[]");
    refused("object", "a list");
    put("config.json", "{");
    refused("JSON", "a cut file");
    put("config.json",
        "{" SMALL ", \"_any\": {}, \"attn_norm_num_groups\": null, \"dropout\": 0.0, "
        "\"downsample_type\": \"conv\", \"upsample_type\": \"conv\", "
        "\"num_train_timesteps\": null, \"mid_block_type\": \"UNetMidBlock2D\", "
        "\"sample_size\": [8, 12]}");
    struct model *m = model_open(work, 1, false);
    tap_ok(m == NULL && strstr(err_text(), "duplicate") != NULL,
           "refuses a key twice: %s", err_text());
    model_destroy(m);
    put("config.json",
        "{" SMALL ", \"_any\": {}, \"attn_norm_num_groups\": null, \"dropout\": 0.0, "
        "\"downsample_type\": \"conv\", \"upsample_type\": \"conv\", "
        "\"num_train_timesteps\": null, \"mid_block_type\": \"UNetMidBlock2D\"}");
    m = model_open(work, 1, false);
    tap_ok(m != NULL, "accepts neutral values of newer keys: %s", err_text());
    if (m != NULL) {
        int64_t dim[3];
        model_sample_shape(m, dim);
        tap_ok(dim[0] == 3 && dim[1] == 8 && dim[2] == 8 && model_classes(m) == 0 &&
                   model_flops(m) > 1e6,
               "sample shape, classes, %.3g operations", model_flops(m));
    }
    model_destroy(m);
}

/* Exports a new network into the work folder and damages the file of weights by one
 * change to its list of tensors. */
static void damage(struct model *m, int how)
{
    struct param_set *s = model_params(m);
    int64_t n = param_number(s);
    struct st_out *t = mem_alloc(n + 1, sizeof *t);
    static float nan_value[16];
    char *path = in_work(WEIGHTS);
    for (int64_t i = 0; i < n; i++) {
        const struct param *p = param_at(s, i);
        t[i] = (struct st_out){.name = p->name, .type = ST_F32, .nd = p->t.nd};
        memcpy(t[i].dim, p->t.dim, sizeof p->t.dim);
        t[i].data = p->t.data;
    }
    if (how == 1)
        n--;
    if (how == 2)
        t[n++] =
            (struct st_out){.name = "ema.decay", .type = ST_F32, .data = nan_value};
    if (how == 3)
        t[0].dim[0]--;
    if (how == 4) {
        nan_value[3] = NAN;
        t[1].data = nan_value;
    }
    if (how == 5)
        for (int64_t i = 0; i < n; i++)
            if (strstr(t[i].name, "attentions") != NULL && t[i].nd == 2) {
                t[i].nd = 4;
                t[i].dim[2] = t[i].dim[3] = 1;
            }
    if (st_write(path, t, n) != 0)
        abort();
    mem_free(path);
    mem_free(t);
}

static void test_weights(void)
{
    put("config.json", "{" SMALL "}");
    char *config = in_work("config.json"), first[65], again[65];
    struct model *m = model_new(config, 7), *back;
    if (!tap_ok(m != NULL, "a new network: %s", err_text()))
        return;
    model_digest(m, param_values(model_params(m)), first);
    damage(m, 1);
    refused("conv_out.bias", "a missing tensor");
    damage(m, 2);
    refused("ema.decay", "a surplus tensor");
    damage(m, 3);
    refused("[7, 3, 3, 3]", "a wrong shape");
    damage(m, 4);
    refused("not finite", "a NaN");
    damage(m, 5);
    back = model_open(work, -1, false);
    tap_ok(back != NULL, "attention stored as 1 x 1 convolutions: %s", err_text());
    if (back != NULL)
        model_digest(back, param_values(model_params(back)), again);
    tap_ok(back != NULL && strcmp(first, again) == 0, "... gives the same network");
    model_destroy(back);
    put(WEIGHTS, "cut");
    refused(WEIGHTS, "a damaged file of weights");
    drop(WEIGHTS);
    put("diffusion_pytorch_model.bin", "pickle");
    refused(".bin", "weights in a .bin file only");
    drop("diffusion_pytorch_model.bin");
    put("diffusion_pytorch_model.safetensors.index.json", "{}");
    refused("split", "weights in several files");
    drop("diffusion_pytorch_model.safetensors.index.json");
    model_destroy(m);
    mem_free(config);
}

static void test_export(void)
{
    static const char plan[] = "{\"_class_name\": \"DDPMScheduler\"}\n";
    char *config = in_work("config.json"), *to = in_work("export"), *unet = NULL;
    char a[65], b[65], *text = NULL, *path = NULL;
    int64_t len = 0;
    struct model *m = model_new(config, 7), *back;
    model_digest(m, param_values(model_params(m)), a);
    if (!tap_ok(model_export(m, NULL, plan, to) == 0, "exports: %s", err_text()))
        return;
    unet = text_new("%s/unet", to);
    for (int i = 0; i < 2; i++) {
        back = model_open(i == 0 ? to : unet, -1, true);
        if (back != NULL)
            model_digest(back, param_values(model_params(back)), b);
        tap_ok(back != NULL && strcmp(a, b) == 0, "reads it back from %s",
               i == 0 ? "the pipeline folder" : "unet/");
        model_destroy(back);
        path = model_scheduler_path(i == 0 ? to : unet);
        tap_ok(file_read(path, 1000, &text, &len) == 0 && strcmp(text, plan) == 0,
               "finds the scheduler's config");
        mem_free(text);
        mem_free(path);
    }
    path = text_new("%s/model_index.json", to);
    tap_ok(file_read(path, 10000, &text, &len) == 0 &&
               strstr(text, "\"_class_name\": \"DDPMPipeline\"") != NULL,
           "names the pipeline of the scheduler");
    mem_free(text);
    mem_free(path);
    tap_ok(model_export(m, NULL, "{}", to) == -1 && err_code() == ERR_INPUT,
           "refuses a scheduler without a class: %s", err_text());
    path = model_scheduler_path(work);
    tap_ok(path[0] == '\0', "no scheduler: an empty path");
    mem_free(path);
    model_destroy(m);
    mem_free(unet);
    mem_free(to);
    mem_free(config);
}

/* Uniform within 1/sqrt(fan_in) with that spread; the same for the same seed. */
static void test_new(void)
{
    char *config = in_work("config.json");
    struct model *m = model_new(config, 7), *n = model_new(config, 8);
    struct param *w = param_find(model_params(m), "mid_block.resnets.0.conv1.weight");
    struct param *b = param_find(model_params(m), "mid_block.resnets.0.conv1.bias");
    struct param *g = param_find(model_params(m), "conv_norm_out.weight");
    double most = 0, square = 0, bound = 1 / sqrt(16 * 9), bias = 0;
    int64_t count = tensor_count(&w->t);
    for (int64_t i = 0; i < count; i++) {
        most = fmax(most, fabs((double)w->t.data[i]));
        square += (double)w->t.data[i] * (double)w->t.data[i] / (double)count;
    }
    for (int i = 0; i < 16; i++)
        bias = fmax(bias, fabs((double)b->t.data[i]));
    tap_ok(most <= bound && most > 0.99 * bound, "weights lie within 1/sqrt(fan_in)");
    tap_near(sqrt(square) * sqrt(3) / bound, 1, 0.05,
             "spread of a uniform distribution");
    tap_ok(bias > 0.5 * bound && bias <= bound, "biases have their weight's bound");
    tap_ok(g->t.data[0] == 1 && g->t.grad != NULL, "norms begin at 1, with gradients");
    struct param *v = param_find(model_params(n), "conv_in.weight");
    struct param *u = param_find(model_params(m), "conv_in.weight");
    tap_ok(u->t.data[0] != v->t.data[0], "another seed, other weights");
    model_destroy(n);
    model_destroy(m);
    mem_free(config);
}

int main(void)
{
    snprintf(work, sizeof work, "/tmp/sluice-model-%ld", (long)getpid());
    if (file_make_dirs(work) != 0)
        return tap_skip_all("no temporary folder");
    refused("no model folder", "an empty folder");
    test_config();
    test_weights();
    test_export();
    test_new();
    static const char *const left[] = {"export/model_index.json",
                                       "export/scheduler/scheduler_config.json",
                                       "export/unet/config.json",
                                       ("export/unet/" WEIGHTS),
                                       "export/unet",
                                       "export/scheduler",
                                       "export",
                                       "config.json"};
    for (size_t i = 0; i < sizeof left / sizeof left[0]; i++)
        drop(left[i]);
    tap_ok(rmdir(work) == 0, "no temporary file is left");
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* A classifier's folder: config.json and classifier.safetensors. config.json is written
 * last and names the digest of the weights, so that a folder whose writer was killed
 * between the two files is not taken for whole. */
#include "io/json.h"
#include "io/safetensors.h"
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/classifier/classifier_internal.h"
#include "stages/model/folder.h"
#include "stages/model/keys.h"

#include <math.h>
#include <string.h>

#define CONFIG_MAX (1 << 20)
#define FIELD(f) offsetof(struct classifier, f)

static const struct keys keys[] = {
    {"in_channels", KEYS_COUNT, FIELD(channels), 1, CLASSIFIER_VALUES, true},
    {"sample_size", KEYS_SIZES, FIELD(size), 1, CLASSIFIER_VALUES, true},
    {"hidden_size", KEYS_COUNT, FIELD(hidden), 1, 16384, true},
    {"num_layers", KEYS_COUNT, FIELD(layers), 1, CLASSIFIER_LAYERS, true},
    {"classes", KEYS_ELSEWHERE, 0, 0, 0, true},
    {"temperature", KEYS_ELSEWHERE, 0, 0, 0, true},
    {"weights_sha256", KEYS_ELSEWHERE, 0, 0, 0, true},
    {"data", KEYS_ELSEWHERE, 0, 0, 0, false},
};

static void digest_weights(struct classifier *c, char hex[DIGEST_HEX])
{
    struct digest *d = digest_create();
    digest_add(d, param_values(c->params),
               param_total(c->params) * (int64_t)sizeof(float));
    digest_finish(d, hex);
}

static int read_kind(const struct json *config, const char *path, bool *convolutional)
{
    const char *name = json_text(json_get(config, "_class_name"));
    if (name == NULL ||
        (strcmp(name, "MLPClassifier") != 0 && strcmp(name, "ConvClassifier") != 0))
        return err_set(ERR_INPUT,
                       "%s: _class_name: is %.60s; MLPClassifier and ConvClassifier are "
                       "classifiers (`sluice classifier` trains one)",
                       path, name != NULL ? name : "missing");
    *convolutional = strcmp(name, "ConvClassifier") == 0;
    return 0;
}

static int read_heads(struct classifier *c, const struct json *config, const char *path)
{
    const struct json *classes = json_get(config, "classes"),
                      *temperature = json_get(config, "temperature");
    int64_t n = json_count(classes);
    if (json_kind(classes) != JSON_LIST_T || json_kind(temperature) != JSON_LIST_T ||
        n < 1 || n > CLASSIFIER_HEADS || json_count(temperature) != n)
        return err_set(ERR_INPUT,
                       "%s: classes, temperature: must be lists of one length, 1 to %d",
                       path, CLASSIFIER_HEADS);
    c->heads = (int)n;
    for (int h = 0; h < c->heads; h++) {
        if (!json_to_i64(json_item(classes, h), &c->classes[h]) || c->classes[h] < 2 ||
            c->classes[h] > CLASSIFIER_CLASSES)
            return err_set(ERR_INPUT, "%s: classes: must be integers from 2 to %d", path,
                           CLASSIFIER_CLASSES);
        if (!json_to_f64(json_item(temperature, h), &c->temperature[h]) ||
            !(c->temperature[h] >= 1e-6 && c->temperature[h] <= 1e6))
            return err_set(ERR_INPUT, "%s: temperature: must be numbers from 1e-6 to 1e6",
                           path);
    }
    return 0;
}

static int read_config(struct classifier *c, const struct json *config, const char *path)
{
    if (json_kind(config) != JSON_MAP_T)
        return err_set(ERR_INPUT, "%s: is no JSON object", path);
    if (read_kind(config, path, &c->convolutional) != 0 ||
        keys_read(config, path, keys, sizeof keys / sizeof *keys, c) != 0 ||
        read_heads(c, config, path) != 0 || coding_read(config, path, &c->coding) != 0)
        return -1;
    if (c->channels > CLASSIFIER_VALUES / c->size[0] / c->size[1])
        return err_set(ERR_INPUT, "%s: sample_size: a sample has more than %d numbers", path,
                       CLASSIFIER_VALUES);
    return classifier_check(c, path);
}

static int read_weights(struct classifier *c, const char *path, const char *wanted,
                        bool with_grad)
{
    char hex[DIGEST_HEX];
    struct st_file *f = st_open(path);
    if (f == NULL)
        return -1;
    int rc = folder_check(path, f, c->params);
    if (rc == 0) {
        param_allocate(c->params, with_grad);
        rc = folder_load(path, f, c->params);
    }
    st_close(f);
    if (rc != 0)
        return -1;
    digest_weights(c, hex);
    if (wanted == NULL || strcmp(wanted, hex) != 0)
        return err_set(ERR_INPUT,
                       "%s: are not the weights that config.json beside it was written for; "
                       "train the classifier again",
                       path);
    return 0;
}

struct classifier *classifier_open(const char *folder, bool with_grad)
{
    char *path = text_new("%s/config.json", folder);
    char *weights = text_new("%s/classifier.safetensors", folder);
    struct classifier *c = mem_alloc(1, sizeof *c);
    struct json *config = json_read(path, CONFIG_MAX);
    int rc = config == NULL ? -1 : read_config(c, config, path);
    if (rc == 0) {
        classifier_declare(c);
        rc = read_weights(c, weights, json_text(json_get(config, "weights_sha256")),
                          with_grad);
    }
    json_free(config);
    mem_free(path);
    mem_free(weights);
    if (rc == 0)
        return c;
    classifier_destroy(c);
    return NULL;
}

static int write_weights(struct classifier *c, const char *folder)
{
    int64_t n = param_number(c->params);
    struct st_out *out = mem_alloc(n, sizeof *out);
    for (int64_t i = 0; i < n; i++) {
        const struct param *p = param_at(c->params, i);
        out[i] = (struct st_out){
            .name = p->name, .type = ST_F32, .nd = p->t.nd, .data = p->t.data};
        memcpy(out[i].dim, p->t.dim, sizeof p->t.dim);
    }
    char *path = text_new("%s/classifier.safetensors", folder);
    int rc = st_write(path, out, n);
    mem_free(path);
    mem_free(out);
    return rc;
}

static void write_heads(const struct classifier *c, struct json_out *o)
{
    json_out_list(o, "classes");
    for (int h = 0; h < c->heads; h++)
        json_out_i64(o, NULL, c->classes[h]);
    json_out_end(o);
    json_out_list(o, "temperature");
    for (int h = 0; h < c->heads; h++)
        json_out_f64(o, NULL, c->temperature[h]);
    json_out_end(o);
}

static int write_config(struct classifier *c, const char *folder)
{
    char hex[DIGEST_HEX];
    struct text t = {0};
    struct json_out *o = json_out_create();
    digest_weights(c, hex);
    json_out_text(o, "_class_name", classifier_kind(c));
    json_out_i64(o, "in_channels", c->channels);
    json_out_list(o, "sample_size");
    json_out_i64(o, NULL, c->size[0]);
    json_out_i64(o, NULL, c->size[1]);
    json_out_end(o);
    json_out_i64(o, "hidden_size", c->hidden);
    json_out_i64(o, "num_layers", c->layers);
    write_heads(c, o);
    json_out_text(o, "weights_sha256", hex);
    json_out_finish(o, 2, &t);
    char *coded =
        c->coding.kind != CODING_NONE ? coding_insert(&c->coding, t.s) : mem_text(t.s);
    char *path = text_new("%s/config.json", folder);
    int rc = file_write(path, coded, (int64_t)strlen(coded));
    mem_free(path);
    mem_free(coded);
    text_free(&t);
    return rc;
}

int classifier_save(struct classifier *c, const char *folder)
{
    return file_make_dirs(folder) == 0 && write_weights(c, folder) == 0
               ? write_config(c, folder)
               : -1;
}

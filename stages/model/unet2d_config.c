/* config.json of UNet2DModel, read against one table of keys. What is not in the table,
 * or holds a value that the network here does not compute, is refused by name: a
 * checkpoint must never be run as something it is not. */
#include "stages/model/unet2d.h"

#include "io/sys/err.h"
#include "io/sys/text.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#define CHANNELS_MAX 16384
#define SIDE_MAX 65536

enum kind {
    COUNT,   /* integer in [low, high] */
    COUNT_0, /* same, or null for 0 */
    REAL,    /* number in [low, high] */
    BOOL,
    SIZES,    /* sample_size: integer or [height, width], or null */
    CHANNELS, /* list of counts, one per level */
    BLOCKS,   /* list of block types, one per level */
    ONLY,     /* no field: null or one of the texts (joined by '|') */
    ONLY_NULL,
    ONLY_ZERO,
    ANY, /* has no influence here */
};

struct key {
    const char *name;
    enum kind kind;
    size_t field;
    double low, high;
    const char *texts; /* ONLY: allowed; BLOCKS: "plain|with attention" */
};

#define FIELD(f) offsetof(struct unet2d_config, f)

static const struct key keys[] = {
    {"sample_size", SIZES, 0, 1, SIDE_MAX, NULL},
    {"in_channels", COUNT, FIELD(in_channels), 1, CHANNELS_MAX, NULL},
    {"out_channels", COUNT, FIELD(out_channels), 1, CHANNELS_MAX, NULL},
    {"center_input_sample", BOOL, FIELD(center_input), 0, 0, NULL},
    {"time_embedding_type", ONLY, 0, 0, 0, "positional"},
    {"time_embedding_dim", ONLY_NULL, 0, 0, 0, NULL},
    {"freq_shift", REAL, FIELD(freq_shift), -1024, 1024, NULL},
    {"flip_sin_to_cos", BOOL, FIELD(flip_sin_to_cos), 0, 0, NULL},
    {"down_block_types", BLOCKS, FIELD(down_attention), 0, 0,
     "DownBlock2D|AttnDownBlock2D"},
    {"mid_block_type", ONLY, 0, 0, 0, "UNetMidBlock2D"},
    {"up_block_types", BLOCKS, FIELD(up_attention), 0, 0, "UpBlock2D|AttnUpBlock2D"},
    {"block_out_channels", CHANNELS, FIELD(channels), 1, CHANNELS_MAX, NULL},
    {"layers_per_block", COUNT, FIELD(layers), 1, UNET2D_LAYERS, NULL},
    {"mid_block_scale_factor", REAL, FIELD(mid_scale), 1e-6, 1e6, NULL},
    {"downsample_padding", COUNT, FIELD(downsample_padding), 0, 1, NULL},
    {"downsample_type", ONLY, 0, 0, 0, "conv"},
    {"upsample_type", ONLY, 0, 0, 0, "conv"},
    {"dropout", ONLY_ZERO, 0, 0, 0, NULL},
    {"act_fn", ONLY, 0, 0, 0, "silu|swish"},
    {"attention_head_dim", COUNT_0, FIELD(head_dim), 1, CHANNELS_MAX, NULL},
    {"norm_num_groups", COUNT, FIELD(groups), 1, CHANNELS_MAX, NULL},
    {"attn_norm_num_groups", ONLY_NULL, 0, 0, 0, NULL},
    {"norm_eps", REAL, FIELD(eps), 0, 1, NULL},
    {"resnet_time_scale_shift", ONLY, 0, 0, 0, "default"},
    {"add_attention", BOOL, FIELD(mid_attention), 0, 0, NULL},
    {"class_embed_type", ONLY_NULL, 0, 0, 0, NULL},
    {"num_class_embeds", COUNT_0, FIELD(classes), 1, 1 << 24, NULL},
    {"num_label_embeds", COUNT_0, FIELD(labels), 1, 1 << 16, NULL}, /* label.h */
    {"num_train_timesteps", ANY, 0, 0, 0, NULL},
    {"data", ANY, 0, 0, 0, NULL}, /* io/coding.h */
};

enum { KEYS = sizeof keys / sizeof keys[0] };

/* Lengths of the three lists, which must agree. */
struct lists {
    int64_t channels, down, up;
};

static int refuse(const char *path, const struct key *k, const char *supported)
{
    return err_set(ERR_INPUT, "%s: %s: this value is not supported; supported: %s",
                   path, k->name, supported);
}

static int refuse_range(const char *path, const struct key *k, const char *what)
{
    return err_set(ERR_INPUT, "%s: %s: must be %s from %g to %g", path, k->name, what,
                   k->low, k->high);
}

static bool in_range(const struct key *k, const struct json *v, int64_t *out)
{
    return json_to_i64(v, out) && (double)*out >= k->low && (double)*out <= k->high;
}

/* Is `text` one of the alternatives "a|b"? Its number, or -1. */
static int which(const char *text, const char *alternatives)
{
    size_t n = text == NULL ? 0 : strlen(text);
    for (int i = 0; n > 0 && alternatives != NULL; i++) {
        size_t m = strcspn(alternatives, "|");
        if (m == n && memcmp(text, alternatives, n) == 0)
            return i;
        alternatives = alternatives[m] == '|' ? alternatives + m + 1 : NULL;
    }
    return -1;
}

static int read_sizes(const char *path, const struct key *k, const struct json *v,
                      struct unet2d_config *c)
{
    const struct json *h = v, *w = v;
    if (json_kind(v) == JSON_NULL_T)
        return 0;
    if (json_kind(v) == JSON_LIST_T && json_count(v) == 2) {
        h = json_item(v, 0);
        w = json_item(v, 1);
    }
    if (!in_range(k, h, &c->height) || !in_range(k, w, &c->width))
        return refuse_range(path, k, "an integer, or [height, width],");
    return 0;
}

/* A list with one entry per level. */
static int read_list(const char *path, const struct key *k, const struct json *v,
                     void *field, int64_t *length)
{
    *length = json_count(v);
    if (json_kind(v) != JSON_LIST_T || *length < 1 || *length > UNET2D_LEVELS)
        return err_set(ERR_INPUT, "%s: %s: must be a list of 1 to %d entries", path,
                       k->name, UNET2D_LEVELS);
    for (int64_t i = 0; i < *length; i++) {
        const struct json *e = json_item(v, i);
        if (k->kind == CHANNELS) {
            if (!in_range(k, e, (int64_t *)field + i))
                return refuse_range(path, k, "a list of integers");
            continue;
        }
        const char *type = json_text(e);
        int attention = which(type, k->texts);
        if (attention < 0)
            return err_set(ERR_INPUT,
                           "%s: %s: block type '%s' is not supported; supported: %s",
                           path, k->name, type != NULL ? type : "(no text)", k->texts);
        ((bool *)field)[i] = attention == 1;
    }
    return 0;
}

static int read_value(const char *path, const struct key *k, const struct json *v,
                      struct unet2d_config *c)
{
    char *field = (char *)c + k->field;
    bool null = json_kind(v) == JSON_NULL_T;
    double d = 0;
    switch (k->kind) {
    case COUNT_0:
        if (null) {
            *(int64_t *)field = 0;
            return 0;
        }
        return in_range(k, v, (int64_t *)field) ? 0
                                                : refuse_range(path, k, "an integer");
    case COUNT:
        return in_range(k, v, (int64_t *)field) ? 0
                                                : refuse_range(path, k, "an integer");
    case REAL:
        if (!json_to_f64(v, &d) || !(d >= k->low && d <= k->high))
            return refuse_range(path, k, "a number");
        *(double *)field = d;
        return 0;
    case BOOL:
        return json_to_bool(v, (bool *)field) ? 0 : refuse(path, k, "true, false");
    case SIZES:
        return read_sizes(path, k, v, c);
    case ONLY:
        return which(json_text(v), k->texts) >= 0 ? 0 : refuse(path, k, k->texts);
    case ONLY_NULL:
        return null ? 0 : refuse(path, k, "null");
    case ONLY_ZERO:
        return json_to_f64(v, &d) && d == 0 ? 0 : refuse(path, k, "0.0");
    default:
        return 0;
    }
}

static int unknown(const char *path, const char *name)
{
    const char *names[KEYS];
    for (int i = 0; i < KEYS; i++)
        names[i] = keys[i].name;
    const char *near = text_nearest(name, names, KEYS);
    struct text all = {0};
    for (int i = 0; i < KEYS; i++)
        text_add(&all, "%s%s", i > 0 ? ", " : "", names[i]);
    err_set(ERR_INPUT,
            "%s: key '%s' is not known for UNet2DModel%s%s%s; supported keys: %s", path,
            name, near != NULL ? ", did you mean '" : "", near != NULL ? near : "",
            near != NULL ? "'" : "", all.s);
    text_free(&all);
    return -1;
}

/* What no single key can tell. */
static int check(const char *path, const struct unet2d_config *c, const struct lists *n)
{
    if (n->down != n->channels || n->up != n->channels)
        return err_set(
            ERR_INPUT,
            "%s: block_out_channels, down_block_types and up_block_types have "
            "%lld, %lld and %lld entries; they must be equally many",
            path, (long long)n->channels, (long long)n->down, (long long)n->up);
    if (c->out_channels != c->in_channels)
        return err_set(ERR_INPUT,
                       "%s: out_channels %lld differs from in_channels %lld: a learned "
                       "variance is not supported",
                       path, (long long)c->out_channels, (long long)c->in_channels);
    double half = (double)(c->channels[0] / 2);
    if (half < 1 || half - c->freq_shift == 0)
        return err_set(
            ERR_INPUT,
            "%s: block_out_channels: %lld channels at the top level are too few "
            "for the time embedding with freq_shift %g",
            path, (long long)c->channels[0], c->freq_shift);
    for (int64_t i = 0; i < c->levels; i++)
        if (c->channels[i] % c->groups != 0)
            return err_set(ERR_INPUT,
                           "%s: norm_num_groups: %lld groups do not divide the %lld "
                           "channels of level %lld",
                           path, (long long)c->groups, (long long)c->channels[i],
                           (long long)i);
    return 0;
}

int unet2d_config_read(const struct json *config, const char *path,
                       struct unet2d_config *c)
{
    struct lists n = {.channels = 4, .down = 4, .up = 4};
    *c = (struct unet2d_config){
        .in_channels = 3,
        .out_channels = 3,
        .channels = {224, 448, 672, 896},
        .layers = 2,
        .down_attention = {false, true, true, true},
        .up_attention = {true, true, true, false},
        .mid_attention = true,
        .head_dim = 8,
        .groups = 32,
        .downsample_padding = 1,
        .eps = 1e-5,
        .mid_scale = 1,
        .flip_sin_to_cos = true,
    };
    for (int64_t i = 0; i < json_count(config); i++) {
        const char *name = NULL;
        const struct json *v = json_entry(config, i, &name);
        int k = 0, rc = 0;
        if (name[0] == '_')
            continue;
        while (k < KEYS && strcmp(keys[k].name, name) != 0)
            k++;
        if (k == KEYS)
            return unknown(path, name);
        if (keys[k].kind == CHANNELS)
            rc = read_list(path, &keys[k], v, c->channels, &n.channels);
        else if (keys[k].kind == BLOCKS)
            rc = read_list(path, &keys[k], v, (char *)c + keys[k].field,
                           keys[k].field == FIELD(up_attention) ? &n.up : &n.down);
        else
            rc = read_value(path, &keys[k], v, c);
        if (rc != 0)
            return -1;
    }
    c->levels = n.channels;
    return check(path, c, &n);
}

/* Data by the keys of a section. A network that already knows how its data are coded wins
 * over what would be computed from this file: training goes on with the same numbers. */
#include "pipeline/pretrain_data.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_MAX (1 << 20)

char *pretrain_data_network(const char *path, struct coding *coding)
{
    char *text = NULL;
    int64_t len;
    if (file_read(path, CONFIG_MAX, &text, &len) != 0)
        return NULL;
    struct json *config = json_parse(text, len, path);
    int rc = config == NULL ? -1 : 0;
    if (rc == 0 && json_kind(config) != JSON_MAP_T)
        rc = err_set(ERR_INPUT, "%s: is no JSON object", path);
    if (rc == 0)
        rc = coding_read(config, path, coding);
    json_free(config);
    if (rc == 0)
        return text;
    mem_free(text);
    return NULL;
}

/* A section's keys. The name stays valid until the next call. */
struct section {
    const struct config *c;
    const char *name;
    char key[64];
};

static const char *key(struct section *s, const char *name)
{
    snprintf(s->key, sizeof s->key, "%s.%s", s->name, name);
    return s->key;
}

static const char *text(struct section *s, const char *name)
{
    return config_text(s->c, key(s, name));
}

static bool is(struct section *s, const char *name, const char *word)
{
    return config_is(s->c, key(s, name), word);
}

/* The labels "FILE:COLUMN,FILE:COLUMN": each is joined to those before. */
static int add_labels(struct section *s, struct dataset *d)
{
    char *all = mem_text(text(s, "labels"));
    int rc = 0;
    dataset_drop_labels(d);
    for (char *p = all, *next; rc == 0 && p != NULL; p = next) {
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        char *colon = strrchr(p, ':');
        if (colon == NULL) {
            rc = err_set(ERR_USAGE, "%s: '%s': must be FILE:COLUMN", key(s, "labels"), p);
        } else {
            *colon = '\0';
            rc = dataset_add_labels(d, p, colon + 1);
        }
    }
    mem_free(all);
    return rc;
}

static int read_file(struct section *s, struct dataset *d, struct coding *coding)
{
    const char *path = text(s, "data"), *labels = text(s, "labels");
    const char *alphabet = text(s, "alphabet");
    const bool beside = strchr(labels, ':') != NULL;
    const char *inside = !beside && labels[0] != '\0' ? labels : NULL;
    int rc = 0;
    if (!is(s, "format", "text")) {
        rc = dataset_read(d, path, text(s, "format"), inside);
    } else if (inside != NULL) {
        rc = err_set(ERR_USAGE, "%s: '%s': for text FILE.csv:COLUMN", key(s, "labels"),
                     labels);
    } else {
        if (coding->kind != CODING_TEXT && alphabet[0] != '\0' &&
            coding_set_alphabet(coding, alphabet) != 0)
            rc = err_add("%s", key(s, "alphabet"));
        if (rc == 0)
            rc = dataset_read_text(d, path, text(s, "column"),
                                   config_int(s->c, key(s, "length")), coding);
    }
    return rc == 0 && beside ? add_labels(s, d) : rc;
}

static int check_keys(struct section *s, const struct coding *coding)
{
    const bool is_text = is(s, "format", "text"), none = is(s, "normalize", "none");
    if (text(s, "data")[0] == '\0')
        return err_set(ERR_USAGE, "%s is not set: name a data file", key(s, "data"));
    if (is_text && !none)
        return err_set(ERR_USAGE, "%s: text has no mean; set none", key(s, "normalize"));
    if (is_text && coding->kind == CODING_SERIES)
        return err_set(ERR_USAGE, "%s: text, but the network's data are a series",
                       key(s, "format"));
    if (!is_text && coding->kind == CODING_TEXT)
        return err_set(ERR_USAGE, "%s: the network's data are text", key(s, "format"));
    return 0;
}

int pretrain_data_read(const struct config *c, const char *section, struct dataset *d,
                       struct coding *coding)
{
    struct section s = {.c = c, .name = section};
    if (check_keys(&s, coding) != 0 || read_file(&s, d, coding) != 0)
        return -1;
    const char *path = text(&s, "data");
    const int64_t rows = config_int(c, key(&s, "rows"));
    if (rows > d->n)
        return err_set(ERR_USAGE, "%s: %s has %lld samples, not %lld", key(&s, "rows"),
                       path, (long long)d->n, (long long)rows);
    if (rows > 0)
        dataset_first(d, rows);
    const int64_t *keep, n = config_list(c, key(&s, "keep_classes"), &keep);
    dataset_keep(d, keep, n);
    const int64_t count = d->n * d->channels * d->height * d->width;
    int rc = 0;
    if (coding->kind == CODING_NONE && count > 0 && !is(&s, "normalize", "none"))
        rc = coding_fit(coding, is(&s, "normalize", "log"), d->sample, count);
    if (rc == 0 && coding->kind == CODING_SERIES)
        rc = coding_encode(coding, d->sample, count);
    return rc == 0 ? 0 : err_add("%s", path);
}

/* Data by the keys of pretrain. A network that already knows how its data are coded wins
 * over what would be computed from this file: training goes on with the same numbers. */
#include "pipeline/pretrain_data.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

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

/* Labels "FILE.csv:COLUMN": its parts, *column NULL where there is no colon. */
static char *split_labels(const char *labels, const char **column)
{
    const char *colon = strrchr(labels, ':');
    *column = colon != NULL ? colon + 1 : NULL;
    return text_new("%.*s", (int)(colon != NULL ? colon - labels : 0), labels);
}

static int read_file(const struct config *c, struct dataset *d, struct coding *coding)
{
    const char *path = config_text(c, "pretrain.data"), *column;
    const char *labels = config_text(c, "pretrain.labels");
    const char *alphabet = config_text(c, "pretrain.alphabet");
    char *table = split_labels(labels, &column);
    const char *inside = column == NULL && labels[0] != '\0' ? labels : NULL;
    int rc = 0;
    if (!config_is(c, "pretrain.format", "text")) {
        rc = dataset_read(d, path, config_text(c, "pretrain.format"), inside);
    } else if (inside != NULL) {
        rc = err_set(ERR_USAGE, "pretrain.labels: '%s': for text FILE.csv:COLUMN", labels);
    } else {
        if (coding->kind != CODING_TEXT && alphabet[0] != '\0' &&
            coding_set_alphabet(coding, alphabet) != 0)
            rc = err_add("pretrain.alphabet");
        if (rc == 0)
            rc = dataset_read_text(d, path, config_text(c, "pretrain.column"),
                                   config_int(c, "pretrain.length"), coding);
    }
    if (rc == 0 && column != NULL)
        rc = dataset_read_labels(d, table, column);
    mem_free(table);
    return rc;
}

static int check_keys(const struct config *c, const struct coding *coding)
{
    bool text = config_is(c, "pretrain.format", "text");
    bool none = config_is(c, "pretrain.normalize", "none");
    if (config_text(c, "pretrain.data")[0] == '\0')
        return err_set(ERR_USAGE, "pretrain.data is not set: name a data file");
    if (text && !none)
        return err_set(ERR_USAGE, "pretrain.normalize: text has no mean; set none");
    if ((text || !none || coding->kind != CODING_NONE) && config_bool(c, "pretrain.flip"))
        return err_set(ERR_USAGE,
                       "pretrain.flip: series and text are not mirrored; set false");
    if (text && coding->kind == CODING_SERIES)
        return err_set(ERR_USAGE, "pretrain.format: text, but the network's data are a "
                                  "series");
    if (!text && coding->kind == CODING_TEXT)
        return err_set(ERR_USAGE, "pretrain.format: the network's data are text");
    return 0;
}

int pretrain_data_read(const struct config *c, struct dataset *d, struct coding *coding)
{
    const char *path = config_text(c, "pretrain.data");
    const int64_t *keep, rows = config_int(c, "pretrain.rows");
    const int64_t n = config_list(c, "pretrain.keep_classes", &keep);
    if (check_keys(c, coding) != 0 || read_file(c, d, coding) != 0)
        return -1;
    if (rows > d->n)
        return err_set(ERR_USAGE, "pretrain.rows: %s has %lld samples, not %lld", path,
                       (long long)d->n, (long long)rows);
    if (rows > 0)
        dataset_first(d, rows);
    dataset_keep(d, keep, n);
    const int64_t count = d->n * d->channels * d->height * d->width;
    int rc = 0;
    if (coding->kind == CODING_NONE && count > 0 &&
        !config_is(c, "pretrain.normalize", "none"))
        rc = coding_fit(coding, config_is(c, "pretrain.normalize", "log"), d->sample, count);
    if (rc == 0 && coding->kind == CODING_SERIES)
        rc = coding_encode(coding, d->sample, count);
    return rc == 0 ? 0 : err_add("%s", path);
}

/* Samples from outside of a run. */
#include "pipeline/given.h"

#include "io/image.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/model/model.h"

#include <stdlib.h>
#include <string.h>

static bool ends(const char *s, const char *suffix)
{
    size_t n = strlen(s), m = strlen(suffix);
    return n >= m && strcmp(s + n - m, suffix) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list_pictures(struct given *g)
{
    static const char *const suffix[] = {".png", ".jpg", ".jpeg"};
    for (size_t k = 0; k < sizeof suffix / sizeof *suffix; k++) {
        char **some = NULL;
        int64_t n = 0;
        if (file_list(g->folder, "", suffix[k], &some, &n) != 0)
            return -1;
        g->name = mem_resize(g->name, g->n, g->n + n, sizeof *g->name);
        for (int64_t i = 0; i < n; i++)
            g->name[g->n++] = some[i];
        mem_free(some);
    }
    if (g->n == 0)
        return err_set(ERR_INPUT, "%s: holds no .png, .jpg or .jpeg file", g->folder);
    qsort(g->name, (size_t)g->n, sizeof *g->name, by_name);
    return 0;
}

/* The shape is the network's, or else the first picture's. */
static int open_folder(struct given *g, const char *path, bool network)
{
    uint8_t *rgb = NULL;
    g->folder = mem_text(path);
    if (g->coding.kind != CODING_NONE ||
        (network && g->channels != 1 && g->channels != 3))
        return err_set(ERR_USAGE, "%s: pictures, and model.path's network draws none",
                       path);
    if (list_pictures(g) != 0)
        return -1;
    if (network)
        return 0;
    char *first = text_new("%s/%s", path, g->name[0]);
    int rc = image_read(first, &rgb, &g->height, &g->width);
    g->channels = 3;
    mem_free(first);
    mem_free(rgb);
    return rc;
}

static int read_texts(struct given *g, const char *path)
{
    const char *colon = strrchr(path, ':');
    int64_t length = g->width;
    char *file =
        colon == NULL ? mem_text(path) : text_new("%.*s", (int)(colon - path), path);
    int rc = dataset_read_text(&g->dataset, file, colon == NULL ? "" : colon + 1,
                               length, &g->coding);
    mem_free(file);
    return rc;
}

/* Numbers of the network's shape may come as rows. */
static int open_file(struct given *g, const char *path, bool network)
{
    struct dataset *d = &g->dataset;
    const int64_t want = g->channels * g->height * g->width;
    const bool texts = g->coding.kind == CODING_TEXT || ends(path, ".txt") ||
                       (strstr(path, ".csv:") != NULL);
    if (texts && network && g->coding.kind != CODING_TEXT)
        return err_set(ERR_USAGE, "%s: texts, and model.path's network draws none",
                       path);
    int rc = texts ? read_texts(g, path) : dataset_read(d, path, "auto", NULL);
    if (rc != 0)
        return -1;
    g->n = d->n;
    const int64_t have = d->channels * d->height * d->width;
    if (network && have != want)
        return err_set(ERR_USAGE, "%s: samples of %lld numbers, model.path's have %lld",
                       path, (long long)have, (long long)want);
    if (!network) {
        g->channels = d->channels;
        g->height = d->height;
        g->width = d->width;
    }
    if (g->coding.kind == CODING_SERIES &&
        coding_encode(&g->coding, d->sample, d->n * have) != 0)
        return err_add("%s", path);
    return 0;
}

static int read_network(struct given *g, const char *folder)
{
    int64_t dim[3];
    struct model *m = model_open(folder, -1, false);
    if (m == NULL)
        return -1;
    model_sample_shape(m, dim);
    g->channels = dim[0];
    g->height = dim[1];
    g->width = dim[2];
    g->coding = *model_coding(m);
    g->classes = model_classes(m);
    model_destroy(m);
    return 0;
}

static int read_labels(struct given *g, const char *labels)
{
    struct dataset *d = &g->dataset;
    const char *colon = strrchr(labels, ':');
    if (colon == NULL)
        return err_set(ERR_USAGE, "labels '%s': must be FILE.csv:COLUMN", labels);
    char *file = text_new("%.*s", (int)(colon - labels), labels);
    d->n = g->n;
    dataset_drop_labels(d);
    int rc = dataset_add_labels(d, file, colon + 1);
    mem_free(file);
    if (rc == 0 && g->classes > 0 && d->classes > g->classes)
        rc = err_set(ERR_INPUT, "%s: has class %lld, the network's are 0 to %lld",
                     labels, (long long)d->classes - 1, (long long)g->classes - 1);
    if (rc == 0 && g->classes == 0)
        g->classes = d->classes;
    return rc;
}

int given_open(struct given *g, const char *path, const char *labels,
               const struct config *c)
{
    const char *model = config_text(c, "model.path");
    const bool network = model[0] != '\0';
    *g = (struct given){0};
    int rc = network ? read_network(g, model) : 0;
    if (rc == 0)
        rc = file_is_dir(path) ? open_folder(g, path, network)
                               : open_file(g, path, network);
    g->d = g->channels * g->height * g->width;
    if (rc == 0 && labels != NULL)
        rc = read_labels(g, labels);
    g->labelled = g->dataset.label != NULL;
    if (rc != 0)
        given_close(g);
    return rc;
}

/* RGB [height, width, 3] to x [channels, height, width]. */
static int to_sample(const struct given *g, const uint8_t *rgb, const char *path,
                     float *x)
{
    const int64_t plane = g->height * g->width;
    for (int64_t i = 0; i < plane; i++) {
        const uint8_t *p = rgb + 3 * i;
        if (g->channels == 1 && (p[0] != p[1] || p[1] != p[2]))
            return err_set(ERR_INPUT, "%s: has colours, and the network draws grey",
                           path);
        for (int64_t k = 0; k < g->channels; k++)
            x[k * plane + i] = (float)p[k] / 127.5f - 1.0f;
    }
    return 0;
}

static int read_picture(const struct given *g, int64_t i, float *x)
{
    uint8_t *rgb = NULL;
    int64_t height, width;
    char *path = text_new("%s/%s", g->folder, g->name[i]);
    int rc = image_read(path, &rgb, &height, &width);
    if (rc == 0 && (height != g->height || width != g->width))
        rc = err_set(ERR_INPUT, "%s: %lld x %lld pixels, wanted are %lld x %lld", path,
                     (long long)height, (long long)width, (long long)g->height,
                     (long long)g->width);
    if (rc == 0)
        rc = to_sample(g, rgb, path, x);
    mem_free(rgb);
    mem_free(path);
    return rc;
}

int given_rows(const struct given *g, int64_t first, int64_t n, float *x)
{
    int rc = 0;
    ERR_BUG_IF(first < 0 || n < 0 || first + n > g->n);
    if (g->name == NULL)
        memcpy(x, g->dataset.sample + first * g->d, (size_t)(n * g->d) * sizeof *x);
    for (int64_t i = 0; i < n && g->name != NULL && rc == 0; i++)
        rc = read_picture(g, first + i, x + i * g->d);
    return rc;
}

void given_close(struct given *g)
{
    dataset_free(&g->dataset);
    if (g->name != NULL)
        file_list_free(g->name, g->n);
    mem_free(g->folder);
    *g = (struct given){0};
}

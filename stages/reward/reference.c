/* The same steps as for training data, with a coding that is already known. */
#include "stages/reward/reference.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <string.h>

static int read_texts(const struct reward_scene *s, const char *path, struct dataset *d)
{
    const char *colon = strrchr(path, ':');
    struct coding coding = *s->coding;
    if (colon == NULL)
        return err_set(ERR_USAGE, "'%s': for texts FILE.csv:COLUMN", path);
    char *file = text_new("%.*s", (int)(colon - path), path);
    int rc = dataset_read_text(d, file, colon + 1, s->width, &coding);
    mem_free(file);
    return rc;
}

static int check_shape(const struct reward_scene *s, const char *path,
                       const struct dataset *d)
{
    if (d->channels == s->channels && d->height == s->height && d->width == s->width)
        return 0;
    return err_set(ERR_USAGE,
                   "%s: has samples of [%lld, %lld, %lld], the network's are "
                   "[%lld, %lld, %lld]",
                   path, (long long)d->channels, (long long)d->height,
                   (long long)d->width, (long long)s->channels, (long long)s->height,
                   (long long)s->width);
}

int reference_read(const struct reward_scene *s, const char *key, const char *path,
                   int64_t rows, struct dataset *d)
{
    enum coding_kind kind = s->coding == NULL ? CODING_NONE : s->coding->kind;
    int rc;
    *d = (struct dataset){0};
    if (path[0] == '\0')
        return err_set(ERR_USAGE, "%s is not set: name a data file", key);
    rc = kind == CODING_TEXT ? read_texts(s, path, d)
                             : dataset_read(d, path, "auto", NULL);
    if (rc == 0)
        rc = check_shape(s, path, d);
    if (rc == 0 && rows > 0)
        dataset_first(d, rows);
    if (rc == 0 && kind == CODING_SERIES &&
        coding_encode(s->coding, d->sample,
                      d->n * d->channels * d->height * d->width) != 0)
        rc = err_add("%s", path);
    if (rc == 0)
        return 0;
    dataset_free(d);
    return err_add("%s", key);
}

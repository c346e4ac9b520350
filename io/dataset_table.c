/* Columns of a csv file, found by the name in its first line: texts and class labels.
 * Fields are without quotes, as in tables of sequences and molecules. */
#include "io/dataset.h"

#include "io/csv.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <string.h>

enum { MAX_LABEL = 1000000 };

/* The fields of one column, in order. */
struct column {
    char **field;
    int64_t n, cap;
};

static void column_free(struct column *c)
{
    for (int64_t i = 0; i < c->n; i++)
        mem_free(c->field[i]);
    mem_free(c->field);
}

static int add_field(struct column *c, struct csv *csv, int64_t k)
{
    struct csv_field f;
    if (csv_check_texts(csv) != 0 || csv_field_at(csv, k, &f) != 0)
        return -1;
    if (c->n == c->cap) {
        c->field = mem_resize(c->field, c->cap, c->cap * 2 + 256, sizeof *c->field);
        c->cap = c->cap * 2 + 256;
    }
    char *text = csv_text(&f);
    if (text == NULL)
        return -1;
    c->field[c->n++] = text;
    return 0;
}

static int read_column(struct column *c, const char *path, const char *name)
{
    const unsigned char *map;
    struct csv csv;
    int64_t len, k = 0;
    int rc = 0;
    *c = (struct column){0};
    if (file_map(path, &map, &len) != 0)
        return -1;
    csv_begin(&csv, path, map, len);
    if (name[0] != '\0' && csv_next(&csv))
        rc = csv_column(&csv, name, &k);
    while (rc == 0 && csv_next(&csv))
        rc = add_field(c, &csv, k);
    if (rc == 0 && c->n == 0)
        rc = err_set(ERR_INPUT, "holds no rows");
    file_unmap(map, len);
    return rc == 0 ? 0 : csv_where(&csv);
}

/* The characters that occur, in order, after a blank where lengths differ. */
static int find_alphabet(const struct column *c, int64_t length, struct coding *coding)
{
    bool used[256] = {false};
    char letters[257];
    int n = 0;
    for (int64_t i = 0; i < c->n; i++) {
        for (const char *s = c->field[i]; *s != '\0'; s++)
            used[(unsigned char)*s] = true;
        if ((int64_t)strlen(c->field[i]) < length)
            used[' '] = true;
    }
    for (int k = 1; k < 256; k++)
        if (used[k])
            letters[n++] = (char)k;
    letters[n] = '\0';
    return coding_set_alphabet(coding, letters);
}

int dataset_read_text(struct dataset *d, const char *path, const char *column,
                      int64_t length, struct coding *coding)
{
    struct column c;
    int rc = read_column(&c, path, column);
    *d = (struct dataset){0};
    int64_t longest = 0;
    for (int64_t i = 0; i < c.n && rc == 0; i++) {
        int64_t n = (int64_t)strlen(c.field[i]);
        longest = n > longest ? n : longest;
    }
    length = length > 0 ? length : longest;
    if (rc == 0 && longest == 0)
        rc = err_set(ERR_INPUT, "%s: all texts are empty", path);
    if (rc == 0 && coding->kind != CODING_TEXT)
        rc = find_alphabet(&c, length, coding);
    int64_t all = 0;
    if (rc == 0 && (__builtin_mul_overflow(c.n, length, &all) ||
                    __builtin_mul_overflow(all, (int64_t)strlen(coding->alphabet), &all) ||
                    !mem_fits(all, sizeof *d->sample)))
        rc = err_set(ERR_INPUT,
                     "%s: %lld texts of %lld characters (the longest has %lld) out of %lld "
                     "are more than the memory holds",
                     path, (long long)c.n, (long long)length, (long long)longest,
                     (long long)strlen(coding->alphabet));
    if (rc == 0) {
        *d = (struct dataset){.n = c.n,
                              .channels = (int64_t)strlen(coding->alphabet),
                              .height = 1,
                              .width = length};
        d->sample = mem_alloc(d->n * d->channels * length, sizeof *d->sample);
    }
    for (int64_t i = 0; i < c.n && rc == 0; i++)
        if (coding_encode_text(coding, c.field[i], length,
                               d->sample + i * d->channels * length) != 0)
            rc = err_add("%s: row %lld", path, (long long)i + 1);
    column_free(&c);
    if (rc != 0)
        dataset_free(d);
    return rc;
}

/* labels[n] of a csv file's column. */
static int64_t *read_labels(const char *path, const char *column, int64_t n)
{
    struct column c;
    int rc = read_column(&c, path, column);
    if (rc == 0 && c.n != n)
        rc = err_set(ERR_INPUT, "%s: has %lld rows, the data have %lld samples", path,
                     (long long)c.n, (long long)n);
    int64_t *label = mem_alloc(n, sizeof *label);
    for (int64_t i = 0; i < n && rc == 0; i++)
        if (!text_to_i64(c.field[i], &label[i]))
            rc = err_set(ERR_INPUT, "%s: row %lld: '%.40s' is no class number", path,
                         (long long)i + 1, c.field[i]);
    column_free(&c);
    if (rc == 0)
        return label;
    mem_free(label);
    return NULL;
}

void dataset_drop_labels(struct dataset *d)
{
    mem_free(d->label);
    d->label = NULL;
    d->classes = d->factors = 0;
}

int dataset_add_labels(struct dataset *d, const char *path, const char *column)
{
    char *inside = text_new("%s:%s", path, column);
    int64_t *label = dataset_is_hdf5(inside) ? dataset_hdf5_labels(inside, d->n)
                                             : read_labels(path, column, d->n);
    int64_t classes = 0, before = d->factors > 0 ? d->classes : 1;
    int rc = label == NULL ? -1 : 0;
    for (int64_t i = 0; i < d->n && rc == 0; i++)
        if (label[i] < 0 || label[i] > MAX_LABEL)
            rc = err_set(ERR_INPUT, "%s: row %lld: %lld is no class number from 0 to %d",
                         inside, (long long)i + 1, (long long)label[i], MAX_LABEL);
        else if (label[i] >= classes)
            classes = label[i] + 1;
    mem_free(inside);
    if (rc == 0 && (d->factors == DATASET_LABELS || before > MAX_LABEL / classes))
        rc = err_set(ERR_INPUT,
                     "%s: at most %d labels, and %d classes of all together, are read",
                     path, DATASET_LABELS, MAX_LABEL);
    if (rc != 0) {
        mem_free(label);
        return -1;
    }
    for (int64_t i = 0; i < d->n && d->factors > 0; i++)
        label[i] += d->label[i] * classes;
    mem_free(d->label);
    d->label = label;
    d->classes = before * classes;
    d->factor[d->factors++] = classes;
    return 0;
}

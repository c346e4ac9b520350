/* Keys lie one after the other in a copy of the file's fields and are found through a
 * table of row numbers, hashed, at most half full, probed one by one. */
#include "stages/reward/lookup.h"

#include "io/csv.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"

#include <string.h>

enum { KEY_MOST = 4095 }; /* characters of a key */

struct lookup {
    int64_t columns, rows, cap;
    double *value;    /* [rows, columns] */
    int64_t *at;      /* [rows] where the key begins in keys */
    struct text keys; /* each NUL-terminated */
    int64_t *slot;    /* [slots] row + 1, 0: empty */
    int64_t slots;    /* a power of two */
};

/* What spec says. */
struct names {
    char *path, *all;                       /* all: the column names, cut in place */
    const char *column[1 + LOOKUP_COLUMNS]; /* key, values */
    int64_t number[1 + LOOKUP_COLUMNS];     /* in the file */
};

/* The last 1 + columns parts of spec are names, what is before them is the file. */
static int split(struct names *f, const char *key, const char *spec, int64_t columns)
{
    f->all = mem_text(spec);
    char *end = f->all + strlen(f->all);
    for (int64_t k = columns; k >= 0; k--) {
        char *p = end;
        while (p > f->all && p[-1] != ':')
            p--;
        if (p <= f->all + 1 || *p == '\0' || *p == ':')
            return err_set(
                ERR_USAGE,
                "%s: '%.200s' must be FILE.csv:KEYCOLUMN and %lld column%s of "
                "numbers, with : between them",
                key, spec, (long long)columns, columns == 1 ? "" : "s");
        f->column[k] = p;
        p[-1] = '\0';
        end = p - 1;
    }
    f->path = f->all;
    return 0;
}

static int find_columns(struct names *f, int64_t columns, struct csv *c)
{
    for (int64_t k = 0; k <= columns; k++)
        if (csv_column(c, f->column[k], &f->number[k]) != 0)
            return -1;
    return 0;
}

static int add_row(struct lookup *l, const struct names *f, struct csv *c)
{
    struct csv_field field;
    if (csv_check_texts(c) != 0)
        return -1;
    if (l->rows == l->cap) {
        int64_t more = l->cap * 2 + 1024;
        l->value = mem_resize(l->value, l->cap * l->columns, more * l->columns,
                              sizeof *l->value);
        l->at = mem_resize(l->at, l->cap, more, sizeof *l->at);
        l->cap = more;
    }
    for (int64_t k = 0; k < l->columns; k++) {
        if (csv_field_at(c, f->number[1 + k], &field) != 0)
            return err_add("column '%s'", f->column[1 + k]);
        if (!csv_number(&field, &l->value[l->rows * l->columns + k]))
            return err_set(ERR_INPUT, "column '%s' is no finite number",
                           f->column[1 + k]);
    }
    if (csv_field_at(c, f->number[0], &field) != 0)
        return err_add("column '%s'", f->column[0]);
    if (field.len > KEY_MOST)
        return err_set(ERR_INPUT, "column '%s' has more than %d characters", f->column[0],
                       KEY_MOST);
    l->at[l->rows++] = l->keys.len;
    text_add_bytes(&l->keys, field.p, field.len);
    text_add_bytes(&l->keys, "", 1);
    return 0;
}

static int read_rows(struct lookup *l, struct names *f)
{
    const unsigned char *map;
    struct csv c;
    int64_t len;
    int rc = 0;
    if (file_map(f->path, &map, &len) != 0)
        return -1;
    csv_begin(&c, f->path, map, len);
    if (csv_next(&c))
        rc = find_columns(f, l->columns, &c);
    while (rc == 0 && csv_next(&c))
        rc = add_row(l, f, &c);
    if (rc == 0 && l->rows == 0)
        rc = err_set(ERR_INPUT, "holds no rows");
    file_unmap(map, len);
    return rc == 0 ? 0 : csv_where(&c);
}

/* The slot of a text: its own, or the empty one where it belongs. */
static int64_t find_slot(const struct lookup *l, const char *text)
{
    int64_t k = (int64_t)(rng_mix64(rng_fnv1a64(text)) & (uint64_t)(l->slots - 1));
    while (l->slot[k] != 0 && strcmp(lookup_text(l, l->slot[k] - 1), text) != 0)
        k = (k + 1) & (l->slots - 1);
    return k;
}

static int hash_rows(struct lookup *l, const char *path)
{
    for (l->slots = 16; l->slots < 2 * l->rows;)
        l->slots *= 2;
    l->slot = mem_alloc(l->slots, sizeof *l->slot);
    for (int64_t i = 0; i < l->rows; i++) {
        int64_t *slot = &l->slot[find_slot(l, lookup_text(l, i))];
        if (*slot == 0)
            *slot = i + 1;
        else if (memcmp(lookup_values(l, i), lookup_values(l, *slot - 1),
                        (size_t)l->columns * sizeof *l->value) != 0)
            return err_set(ERR_INPUT, "%s: '%.80s' is there twice, with other numbers",
                           path, lookup_text(l, i));
    }
    return 0;
}

struct lookup *lookup_open(const char *key, const char *spec, int64_t columns)
{
    struct names f = {0};
    struct lookup *l = mem_alloc(1, sizeof *l);
    ERR_BUG_IF(columns < 1 || columns > LOOKUP_COLUMNS);
    l->columns = columns;
    int rc = split(&f, key, spec, columns);
    if (rc == 0 && (read_rows(l, &f) != 0 || hash_rows(l, f.path) != 0))
        rc = err_add("%s", key);
    mem_free(f.all);
    if (rc != 0) {
        lookup_close(l);
        return NULL;
    }
    return l;
}

void lookup_close(struct lookup *l)
{
    if (l == NULL)
        return;
    mem_free(l->value);
    mem_free(l->at);
    mem_free(l->slot);
    text_free(&l->keys);
    mem_free(l);
}

int64_t lookup_rows(const struct lookup *l)
{
    return l->rows;
}

const char *lookup_text(const struct lookup *l, int64_t row)
{
    return l->keys.s + l->at[row];
}

const double *lookup_values(const struct lookup *l, int64_t row)
{
    return l->value + row * l->columns;
}

int64_t lookup_find(const struct lookup *l, const char *text)
{
    return l->slot[find_slot(l, text)] - 1;
}

/* Reading of csv in place: nothing is copied but the fields that are asked for. */
#include "io/csv.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <string.h>

enum { NUMBER_MOST = 64 };

void csv_begin(struct csv *c, const char *path, const unsigned char *text, int64_t len)
{
    const char *p = (const char *)text;
    *c = (struct csv){.path = path, .rest = p, .all = len > 0 ? p + len : p};
}

bool csv_next(struct csv *c)
{
    while (c->rest < c->all) {
        const char *end = memchr(c->rest, '\n', (size_t)(c->all - c->rest));
        c->line = c->at = c->rest;
        c->end = end == NULL ? c->all : end;
        c->rest = end == NULL ? c->all : end + 1;
        c->number++;
        if (c->end > c->line && !(c->end == c->line + 1 && *c->line == '\r'))
            return true;
    }
    return false;
}

bool csv_field(struct csv *c, struct csv_field *f)
{
    const char *p = c->at;
    if (p == NULL)
        return false;
    const char *stop = memchr(p, ',', (size_t)(c->end - p));
    c->at = stop == NULL ? NULL : stop + 1;
    stop = stop == NULL ? c->end : stop;
    while (stop > p && (stop[-1] == ' ' || stop[-1] == '\r' || stop[-1] == '\t'))
        stop--;
    *f = (struct csv_field){.p = p, .len = stop - p};
    return true;
}

int csv_field_at(struct csv *c, int64_t k, struct csv_field *f)
{
    int64_t n = 0;
    for (c->at = c->line; csv_field(c, f); n++)
        if (n == k)
            return 0;
    return err_set(ERR_INPUT, "has %lld columns, number %lld is needed", (long long)n,
                   (long long)k + 1);
}

int csv_column(struct csv *c, const char *name, int64_t *k)
{
    const int64_t len = (int64_t)strlen(name);
    struct csv_field f;
    c->at = c->line;
    for (int64_t n = 0; csv_field(c, &f); n++)
        if (f.len == len && memcmp(f.p, name, (size_t)len) == 0) {
            *k = n;
            return 0;
        }
    return err_set(ERR_INPUT, "no column of the first line is called '%s'", name);
}

bool csv_number(const struct csv_field *f, double *out)
{
    char text[NUMBER_MOST];
    if (f->len >= NUMBER_MOST)
        return false;
    memcpy(text, f->p, (size_t)f->len);
    text[f->len] = '\0';
    return (int64_t)strlen(text) == f->len && text_to_f64(text, out) && isfinite(*out);
}

int csv_check_texts(const struct csv *c)
{
    size_t n = (size_t)(c->end - c->line);
    if (memchr(c->line, '"', n) != NULL)
        return err_set(ERR_INPUT, "quotes are not read");
    if (memchr(c->line, '\0', n) != NULL)
        return err_set(ERR_INPUT, "holds a byte 0, which is no text");
    return 0;
}

char *csv_text(const struct csv_field *f)
{
    if (f->len <= CSV_FIELD_MOST)
        return text_new("%.*s", (int)f->len, f->p);
    err_set(ERR_INPUT, "a text of %lld characters; at most %d are read",
            (long long)f->len, CSV_FIELD_MOST);
    return NULL;
}

int csv_where(const struct csv *c)
{
    return c->number == 0 ? err_add("%s", c->path)
                          : err_add("%s:%lld", c->path, (long long)c->number);
}

void csv_put(struct text *out, const char *s)
{
    if (strpbrk(s, ",\"\r\n") == NULL) {
        text_add(out, "%s", s);
        return;
    }
    text_add(out, "\"");
    for (; *s != '\0'; s++)
        text_add(out, *s == '"' ? "\"\"" : "%c", *s);
    text_add(out, "\"");
}

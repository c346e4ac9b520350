/* The file is read as a whole; a line is parsed when it is asked for. */
#include "io/json_lines.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <string.h>

/* A parsed line takes many times its length in memory. */
enum { FILE_MOST = 1 << 30, LINE_MOST = 1 << 24 };

struct json_lines {
    char *path, *data;
    int64_t len, at, unreadable;
};

struct json_lines *json_lines_open(const char *path)
{
    char *data = NULL;
    int64_t len = 0;
    if (file_read(path, FILE_MOST, &data, &len) != 0)
        return NULL;
    struct json_lines *l = mem_alloc(1, sizeof *l);
    *l = (struct json_lines){.path = mem_text(path), .data = data, .len = len};
    return l;
}

/* NULL: it is no JSON object. */
static struct json *parse_object(const char *line, int64_t len, const char *path)
{
    struct json *v = len > LINE_MOST ? NULL : json_parse(line, len, path);
    if (v != NULL && json_kind(v) == JSON_MAP_T)
        return v;
    json_free(v);
    err_clear();
    return NULL;
}

struct json *json_lines_next(struct json_lines *l)
{
    while (l->at < l->len) {
        const char *line = l->data + l->at;
        const char *end = memchr(line, '\n', (size_t)(l->len - l->at));
        int64_t len = end == NULL ? l->len - l->at : end - line;
        l->at += len + 1;
        struct json *v = len == 0 ? NULL : parse_object(line, len, l->path);
        if (v != NULL)
            return v;
        l->unreadable += len > 0;
    }
    return NULL;
}

int64_t json_lines_unreadable(const struct json_lines *l)
{
    return l->unreadable;
}

void json_lines_close(struct json_lines *l)
{
    if (l == NULL)
        return;
    mem_free(l->path);
    mem_free(l->data);
    mem_free(l);
}

/* JSON through jansson (its only user): a small typed view for configuration files, and
 * a writer for status files and metrics lines. */
#ifndef SLUICE_IO_JSON_H
#define SLUICE_IO_JSON_H

#include "io/sys/text.h"

#include <stdbool.h>
#include <stdint.h>

struct json; /* a value; children are borrowed from their root */

/* Parses a file of at most max bytes (or text of len bytes; name is for messages).
 * Duplicate keys, depth beyond 64 and trailing text are errors. ERR_INPUT. */
struct json *json_read(const char *path, int64_t max);
struct json *json_parse(const char *text, int64_t len, const char *name);
void json_free(struct json *root);

enum json_type { JSON_NULL_T, JSON_BOOL_T, JSON_INT_T, JSON_REAL_T, JSON_TEXT_T,
                 JSON_LIST_T, JSON_MAP_T };
enum json_type json_kind(const struct json *v);
/* NULL when absent. */
const struct json *json_get(const struct json *map, const char *key);
const struct json *json_item(const struct json *list, int64_t i);
int64_t json_count(const struct json *v); /* entries of a list or map, else 0 */
/* Entry i of a map in file order. */
const struct json *json_entry(const struct json *map, int64_t i, const char **key);
bool json_to_i64(const struct json *v, int64_t *out);
bool json_to_f64(const struct json *v, double *out); /* integers too */
bool json_to_bool(const struct json *v, bool *out);
const char *json_text(const struct json *v); /* NULL when it is no string */
/* The number under a key; `otherwise` where there is none. map may be NULL. */
double json_number(const struct json *map, const char *key, double otherwise);

/* Building: append to an object. Non-finite numbers become null (JSON has none). */
struct json_out;
struct json_out *json_out_create(void);
void json_out_i64(struct json_out *o, const char *key, int64_t v);
void json_out_f64(struct json_out *o, const char *key, double v);
void json_out_bool(struct json_out *o, const char *key, bool v);
void json_out_text(struct json_out *o, const char *key, const char *v);
/* Nested object or list, entered until json_out_end. In a list keys are NULL. */
void json_out_map(struct json_out *o, const char *key);
void json_out_list(struct json_out *o, const char *key);
void json_out_end(struct json_out *o);
/* Writes the text (indent 0: one line, no newline at its end) and frees o. */
void json_out_finish(struct json_out *o, int indent, struct text *out);
/* The same as a file for people too, written as file_write does, or on stdout. ERR_IO. */
int json_out_file(struct json_out *o, const char *path);
void json_out_print(struct json_out *o);
/* The same as one more line of a file. ERR_IO. */
int json_out_append(struct json_out *o, const char *path);

#endif

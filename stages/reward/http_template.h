/* Templates of requests: a JSON text in which string values "$png", "$values", ... stand for
 * parts of a sample, and "$samples" for the list of a request's samples. */
#ifndef SLUICE_STAGES_REWARD_HTTP_TEMPLATE_H
#define SLUICE_STAGES_REWARD_HTTP_TEMPLATE_H

#include "stages/reward/http_sample.h"

struct http_template;

/* json, the value of `key`. item: NULL, or the template that "$samples" lists; without
 * "$samples" the text takes one sample's parts itself. ERR_USAGE: no JSON, an unknown name, a
 * part that these samples lack. item is taken over, also on error. */
struct http_template *http_template_parse(const char *key, const char *json,
                                          const struct http_shape *shape,
                                          struct http_template *item);
void http_template_free(struct http_template *t);

/* Does it list samples? Else a request is one sample. */
bool http_template_lists(const struct http_template *t);
bool http_template_uses(const struct http_template *t, enum http_part part);

/* A request, piece by piece, so that the caller can do other things in between: begin; and
 * where the template lists samples, item for each of them, and end. s of begin is the sample
 * of one that does not. -1: as http_sample_add. */
int http_template_begin(const struct http_template *t, const struct http_sample *s,
                        struct text *out);
int http_template_item(const struct http_template *t, const struct http_sample *s,
                       bool first, struct text *out);
void http_template_end(const struct http_template *t, struct text *out);

#endif

/* Questions to OpenAI-compatible chat models about a sample: the request's body. */
#ifndef SLUICE_STAGES_REWARD_HTTP_CHAT_H
#define SLUICE_STAGES_REWARD_HTTP_CHAT_H

#include "stages/reward/http_sample.h"

#include <stdbool.h>
#include <stdint.h>

struct http_chat { /* texts outlive it */
    const char *model;    /* "": left to the service */
    const char *question; /* with {prompt}, {label} and, for series and texts, {sample} */
    int64_t max_tokens;
    bool logprobs; /* ask for those of the answer's tokens */
    const struct http_shape *shape;
};

/* ERR_USAGE: no question, or one that does not suit the samples. has_prompts: is there one
 * for {prompt}? */
int http_chat_check(const struct http_chat *c, bool has_prompts);

/* Appends the body for one sample, a picture as a data URL. -1: as http_sample_add. */
int http_chat_body(const struct http_chat *c, const struct http_sample *s,
                   struct text *out);

#endif

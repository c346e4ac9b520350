/* Temperature 0, so that equal questions mostly have equal answers. */
#include "stages/reward/http_chat.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <string.h>

enum { TOP_LOGPROBS = 20 }; /* the most that services give */

static bool is_picture(const struct http_chat *c)
{
    return http_sample_lacks(c->shape, HTTP_PNG) == NULL;
}

/* Length of "{name}" at s, 0 where there is none. */
static size_t name_at(const char *s, const char **name)
{
    static const char *const names[] = {"{prompt}", "{label}", "{sample}"};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strncmp(s, names[k], strlen(names[k])) == 0) {
            *name = names[k];
            return strlen(names[k]);
        }
    return 0;
}

int http_chat_check(const struct http_chat *c, bool has_prompts)
{
    bool sample = strstr(c->question, "{sample}") != NULL;
    if (c->question[0] == '\0')
        return err_set(ERR_USAGE, "http.question: set what the model is asked");
    if (sample && is_picture(c))
        return err_set(ERR_USAGE, "http.question: {sample} is for series and texts; pictures "
                                  "go along as pictures");
    if (!sample && !is_picture(c))
        return err_set(ERR_USAGE, "http.question: {sample} must be in it, where the series or "
                                  "text goes");
    if (strstr(c->question, "{prompt}") != NULL && !has_prompts)
        return err_set(ERR_USAGE, "http.question: {prompt} needs http.prompts");
    return 0;
}

/* The sample as it stands in a sentence. */
static int add_sample(const struct http_chat *c, const struct http_sample *s,
                      struct text *out)
{
    if (http_sample_lacks(c->shape, HTTP_TEXT) != NULL)
        return http_sample_add(c->shape, s, HTTP_VALUES, out);
    char *letters = mem_alloc(c->shape->width + 1, 1);
    coding_decode_text(c->shape->coding, s->x, c->shape->width, letters);
    text_add(out, "%s", letters);
    mem_free(letters);
    return 0;
}

static int add_question(const struct http_chat *c, const struct http_sample *s,
                        struct text *out)
{
    struct text q = {0};
    int rc = 0;
    for (const char *p = c->question; *p != '\0' && rc == 0;) {
        const char *name = "";
        size_t len = name_at(p, &name);
        if (strcmp(name, "{prompt}") == 0)
            text_add(&q, "%s", s->prompt);
        else if (strcmp(name, "{label}") == 0)
            text_add(&q, "%lld", (long long)s->label);
        else if (len > 0)
            rc = add_sample(c, s, &q);
        else
            text_add_bytes(&q, p, 1);
        p += len > 0 ? len : 1;
    }
    http_sample_add_string(out, q.s);
    text_free(&q);
    return rc;
}

int http_chat_body(const struct http_chat *c, const struct http_sample *s,
                   struct text *out)
{
    bool picture = is_picture(c);
    text_add(out, "{");
    if (c->model[0] != '\0') {
        text_add(out, "\"model\":");
        http_sample_add_string(out, c->model);
        text_add(out, ",");
    }
    text_add(out, "\"messages\":[{\"role\":\"user\",\"content\":%s",
             picture ? "[{\"type\":\"text\",\"text\":" : "");
    int rc = add_question(c, s, out);
    if (rc == 0 && picture) {
        text_add(out, "},{\"type\":\"image_url\",\"image_url\":{\"url\":");
        rc = http_sample_add(c->shape, s, HTTP_DATA_URL, out);
        text_add(out, "}}]");
    }
    text_add(out, "}],\"temperature\":0,\"max_tokens\":%lld", (long long)c->max_tokens);
    if (c->logprobs)
        text_add(out, ",\"logprobs\":true,\"top_logprobs\":%d", TOP_LOGPROBS);
    text_add(out, "}");
    return rc;
}

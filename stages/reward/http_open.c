/* All that can be wrong with the configuration is said here, before any sample exists. */
#include "stages/reward/http_open.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <string.h>

enum { PROMPTS_BYTES = 16 << 20, AUTO_TOKENS = 64, YES_NO_TOKENS = 4 };

/* JSON is UTF-8, and so must be what goes into it. */
static int check_utf8(const char *s, const char *what, int64_t line)
{
    struct text t = {0};
    http_sample_add_string(&t, s);
    struct json *v = json_parse(t.s, t.len, what);
    text_free(&t);
    if (v == NULL)
        return err_set(ERR_INPUT, "%s: line %lld is no UTF-8", what, (long long)line);
    json_free(v);
    return 0;
}

static int read_prompts(struct http_scorer *s, const struct reward_scene *scene)
{
    const char *path = config_text(scene->config, "http.prompts");
    int64_t len, need = scene->classes > 0 ? scene->classes : 1;
    char *data;
    int rc = 0;
    if (path[0] == '\0')
        return 0;
    if (file_read(path, PROMPTS_BYTES, &data, &len) != 0)
        return err_add("http.prompts");
    for (char *line = data; line < data + len && rc == 0; s->prompts++) {
        size_t n = strcspn(line, "\n");
        char *next = line + n + 1;
        line[n] = '\0';
        if (n > 0 && line[n - 1] == '\r')
            line[n - 1] = '\0';
        s->prompt =
            mem_resize(s->prompt, s->prompts, s->prompts + 1, sizeof(char *));
        s->prompt[s->prompts] = mem_text(line);
        rc = check_utf8(line, path, s->prompts + 1);
        line = next;
    }
    mem_free(data);
    if (rc == 0 && s->prompts < need)
        rc = err_set(ERR_INPUT, "http.prompts: %s has %lld lines, the network %lld classes",
                     path, (long long)s->prompts, (long long)need);
    return rc;
}

/* What is asked where the configuration does not say. */
static char *default_item(const struct http_scorer *s, const struct reward_scene *scene)
{
    const char *what = http_sample_lacks(&s->shape, HTTP_TEXT) == NULL ? "text"
                       : http_sample_lacks(&s->shape, HTTP_PNG) == NULL ? "png"
                                                                       : "values";
    return text_new("{\"%s\": \"$%s\"%s%s}", what, what,
                    s->prompts > 0 ? ", \"prompt\": \"$prompt\"" : "",
                    scene->classes > 0 ? ", \"label\": \"$label\"" : "");
}

static int open_scores(struct http_scorer *s, const struct reward_scene *scene)
{
    const struct config *c = scene->config;
    const char *item = config_text(c, "http.item");
    s->request_text = mem_text(config_text(c, "http.request"));
    s->item_text = item[0] != '\0' ? mem_text(item) : default_item(s, scene);
    s->response = http_path_parse("http.response", config_text(c, "http.response"));
    if (s->response == NULL)
        return -1;
    struct http_template *one =
        http_template_parse("http.item", s->item_text, &s->shape, NULL);
    if (one == NULL)
        return -1;
    s->request = http_template_parse("http.request", s->request_text, &s->shape, one);
    if (s->request == NULL)
        return -1;
    if (http_template_uses(s->request, HTTP_PROMPT) && s->prompts == 0)
        return err_set(ERR_USAGE, "http.item: \"$prompt\" needs http.prompts");
    if (!http_template_lists(s->request))
        s->batch = 1;
    return 0;
}

static int open_chat(struct http_scorer *s, const struct config *c)
{
    s->batch = 1;
    s->score = (enum http_score)config_choice(c, "http.score");
    s->low = config_real(c, "http.number_low");
    s->high = config_real(c, "http.number_high");
    s->chat = (struct http_chat){
        .model = config_text(c, "http.model"),
        .question = config_text(c, "http.question"),
        .logprobs = s->score == HTTP_YES_NO,
        .max_tokens = s->score == HTTP_YES_NO ? YES_NO_TOKENS : AUTO_TOKENS,
        .shape = &s->shape,
    };
    if (!config_is(c, "http.max_tokens", "auto"))
        s->chat.max_tokens = config_int(c, "http.max_tokens");
    if (s->score == HTTP_NUMBER && s->low >= s->high)
        return err_set(ERR_USAGE, "http.number_low: must be below http.number_high");
    if ((s->score == HTTP_COMPARE || s->score == HTTP_RECALL) && s->prompts == 0)
        return err_set(ERR_USAGE, "http.score: %s compares with the prompt; set http.prompts",
                       config_text(c, "http.score"));
    return http_chat_check(&s->chat, s->prompts > 0);
}

/* The bound of the whole group is shared. */
static int64_t share(int64_t all, int64_t scorers)
{
    int64_t each = all / (scorers > 0 ? scorers : 1);
    return each > 0 ? each : 1;
}

int http_open(const struct reward_scene *scene, struct http_scorer **out)
{
    const struct config *c = scene->config;
    const struct net_options o = {
        .url = config_text(c, "http.url"),
        .token_env = config_text(c, "http.token_env"),
        .token_file = config_text(c, "http.token_file"),
        .ca_file = config_text(c, "http.ca_file"),
        .insecure = config_bool(c, "http.insecure"),
        .connect_timeout = config_real(c, "http.connect_timeout"),
        .timeout = config_real(c, "http.timeout"),
        .silence = config_real(c, "http.silence"),
        .attempts = config_int(c, "http.attempts"),
        .backoff = config_real(c, "http.backoff"),
        .backoff_cap = config_real(c, "http.backoff_cap"),
        .retry_after_cap = config_real(c, "http.retry_after_cap"),
        .breaker = config_int(c, "http.breaker"),
        .cooldown = config_real(c, "http.cooldown"),
        .patience = config_real(c, "http.patience"),
        .in_flight = share(config_int(c, "http.in_flight"), scene->scorers),
        .max_response = config_int(c, "http.max_response"),
        .seed = scene->seed,
    };
    struct http_scorer *s = mem_alloc(1, sizeof *s);
    s->shape = (struct http_shape){scene->channels, scene->height, scene->width,
                                   scene->coding};
    s->config = c;
    s->idle = scene->idle;
    s->leave = scene->leave;
    s->idle_ctx = scene->idle_ctx;
    s->batch = config_int(c, "http.batch");
    s->is_chat = config_is(c, "http.protocol", "chat");
    int rc = net_open(&o, &s->net);
    if (rc == 0)
        rc = read_prompts(s, scene);
    if (rc == 0)
        rc = s->is_chat ? open_chat(s, c) : open_scores(s, scene);
    if (rc != 0) {
        http_open_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

void http_open_free(struct http_scorer *s)
{
    if (s == NULL)
        return;
    net_close(s->net);
    for (int64_t i = 0; i < s->prompts; i++)
        mem_free(s->prompt[i]);
    mem_free(s->prompt);
    http_template_free(s->request);
    http_path_free(s->response);
    mem_free(s->request_text);
    mem_free(s->item_text);
    mem_free(s);
}

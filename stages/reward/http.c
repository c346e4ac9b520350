/* One loop: build a request where there is room for one, step the network, settle replies,
 * call the scene's idle, look whether to leave. What failed is counted by its kind and told
 * once per batch. */
#include "stages/reward/http.h"

#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/reward/http_open.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { POLL_MS = 5, KINDS = 8 };

enum { MALFORMED = 100, NO_SCORE, NO_NUMBER };
/* What kept samples from having scores: the first message of each kind. */
struct trouble {
    int64_t samples;
    int kind; /* enum net_kind, or one of the above */
    char why[320];
};

struct job { /* one batch */
    struct http_scorer *s;
    const struct reward_batch *b;
    int64_t *ask; /* [asks] samples that go to the service */
    int64_t asks, next, open; /* open: without an end */
    bool leaving;
    double idled; /* when idle was called last */
    struct trouble trouble[KINDS];
    int64_t troubles;
};

static int idle(struct job *j)
{
    double now = clock_s();
    if (j->s->idle == NULL || j->b->aside || now - j->idled < 0.5e-3 * POLL_MS)
        return 0;
    j->idled = now;
    return j->s->idle(j->s->idle_ctx);
}

/* Asked to leave: what is under way may still be answered, and nothing is sent. -1 with
 * ERR_STOPPED once there is nothing to wait for, or no time. */
static int leave(struct job *j)
{
    const double until = j->s->leave == NULL ? (double)INFINITY : j->s->leave(j->s->idle_ctx);
    if (isinf(until))
        return 0;
    if (!j->leaving)
        net_drain(j->s->net);
    j->leaving = true;
    if (net_pending(j->s->net) > 0 && clock_s() < until)
        return 0;
    return err_set(ERR_STOPPED, "left while %lld of %lld samples had no answer: the job is to "
                                "end; the next one asks for them",
                   (long long)j->open, (long long)j->asks);
}

static void settle(struct job *j, int64_t i, enum reward_status status, double score)
{
    j->b->status[i] = (uint8_t)status;
    j->b->score[i] = status == REWARD_OK ? score : (double)NAN;
    if (j->b->scored != NULL)
        j->b->scored(j->b->scored_ctx, i);
}

static void count(struct job *j, int kind, const char *why, int64_t samples)
{
    int64_t k = 0;
    while (k < j->troubles && j->trouble[k].kind != kind)
        k++;
    if (k == KINDS)
        k--;
    if (k == j->troubles) {
        j->troubles++;
        j->trouble[k].kind = kind;
        snprintf(j->trouble[k].why, sizeof j->trouble[k].why, "%s", why);
    }
    j->trouble[k].samples += samples;
}

static void tell(const struct job *j)
{
    static const char *const names[] = {"", "timed out", "failed", "failed after all attempts",
                                        "were refused", "failed",
                                        "failed, no endpoint is in use"};
    for (int64_t k = 0; k < j->troubles; k++) {
        const struct trouble *t = &j->trouble[k];
        char *line = text_new("reward http: %lld of %lld samples %s: %s",
                              (long long)t->samples, (long long)j->asks,
                              t->kind >= MALFORMED ? "have no usable reply" : names[t->kind],
                              t->why);
        log_warn("%s", line);
        if (j->b->trouble != NULL)
            snprintf(j->b->trouble, REWARD_TROUBLE, "%s", line);
        mem_free(line);
    }
}

static struct http_sample sample(const struct job *j, int64_t i)
{
    const struct reward_batch *b = j->b;
    int64_t label = b->label == NULL ? 0 : b->label[i];
    return (struct http_sample){
        .x = b->sample + i * b->channels * b->height * b->width,
        .label = label,
        .index = b->first + i,
        .iteration = b->iteration,
        .prompt = label >= 0 && label < j->s->prompts ? j->s->prompt[label] : "",
    };
}

/* Samples next.. of the list as one request. */
static int build(struct job *j, struct text *body)
{
    struct http_scorer *s = j->s;
    struct http_sample one = sample(j, j->ask[j->next]);
    if (s->is_chat)
        return http_chat_body(&s->chat, &one, body);
    if (http_template_begin(s->request, &one, body) != 0)
        return -1;
    if (!http_template_lists(s->request))
        return 0;
    for (int64_t k = 0; k < s->batch && j->next + k < j->asks; k++) {
        one = sample(j, j->ask[j->next + k]);
        if (http_template_item(s->request, &one, k == 0, body) != 0 || idle(j) != 0)
            return -1;
    }
    http_template_end(s->request, body);
    return 0;
}

static int submit(struct job *j)
{
    struct text body = {0};
    int rc = build(j, &body);
    if (rc == 0)
        rc = net_submit(j->s->net, &body, j->next);
    text_free(&body);
    j->next += j->s->batch;
    return rc;
}

/* r's samples are ask[r->tag ..]. */
static void take(struct job *j, struct net_reply *r)
{
    struct http_scorer *s = j->s;
    const int64_t *ask = j->ask + r->tag;
    int64_t n = j->asks - r->tag < s->batch ? j->asks - r->tag : s->batch;
    double *score = mem_alloc(n, sizeof *score);
    uint8_t *status = mem_alloc(n, 1);
    int rc = r->kind == NET_OK ? 0 : -1;
    if (rc != 0)
        count(j, (int)r->kind, r->why, n);
    else if (s->is_chat)
        rc = http_reply_chat(s->score, r->body.s, r->body.len, s->low, s->high,
                             sample(j, *ask).prompt, score);
    else
        rc = http_reply_scores(s->response, r->body.s, r->body.len, n, score, status);
    if (rc != 0 && r->kind == NET_OK) {
        snprintf(r->why, sizeof r->why, "%s", err_text());
        net_mask(s->net, r->why); /* it may quote the reply */
        count(j, MALFORMED, r->why, n);
        err_clear();
    }
    for (int64_t k = 0; k < n; k++) {
        enum reward_status as = rc == 0                        ? (enum reward_status)status[k]
                                : r->kind == NET_TIMED_OUT ? REWARD_TIMED_OUT
                                                           : REWARD_FAILED;
        if (rc == 0 && as == REWARD_FAILED)
            count(j, NO_SCORE, "null or an error in the reply", 1);
        if (rc == 0 && as == REWARD_NON_FINITE)
            count(j, NO_NUMBER, "NaN or an infinity in the reply", 1);
        settle(j, ask[k], as, score[k]);
        j->open--;
    }
    mem_free(score);
    mem_free(status);
    text_free(&r->body);
}

static int loop(struct job *j)
{
    struct net *net = j->s->net;
    struct net_reply r;
    while (j->open > 0) {
        if (leave(j) != 0)
            return -1;
        bool more = !j->leaving && j->next < j->asks && net_room(net) > 0;
        if (more && submit(j) != 0)
            return -1;
        more = more && j->next < j->asks && net_room(net) > 0;
        if (net_step(net, more ? 0 : POLL_MS) != 0)
            return -1;
        while (net_take(net, &r))
            take(j, &r);
        if (idle(j) != 0)
            return -1;
    }
    return 0;
}

static int score(void *ctx, const struct reward_batch *b)
{
    struct job j = {.s = ctx, .b = b};
    j.ask = mem_alloc(b->n, sizeof *j.ask);
    for (int64_t i = 0; i < b->n; i++) {
        if (b->skip != NULL && b->skip[i])
            continue;
        if (http_sample_finite(&j.s->shape, sample(&j, i).x))
            j.ask[j.asks++] = i;
        else
            settle(&j, i, REWARD_NON_FINITE, 0);
    }
    j.open = j.asks;
    int rc = loop(&j);
    if (rc != 0 || j.leaving)
        net_cancel(j.s->net);
    if (rc == 0)
        tell(&j);
    mem_free(j.ask);
    return rc;
}

static int open_http(const struct reward_scene *scene, void **ctx)
{
    struct http_scorer *s;
    if (http_open(scene, &s) != 0)
        return -1;
    *ctx = s;
    return 0;
}

static void close_http(void *ctx)
{
    http_open_free(ctx);
}

/* Not the token, nor what only decides how often and how fast it asks. */
static void identify(void *ctx, struct digest *d)
{
    static const char *const scores[] = {"http.response", NULL},
                             *const chat[] = {"http.model", "http.question", "http.score",
                                              NULL};
    const struct http_scorer *s = ctx;
    digest_add_text(d, config_text(s->config, "http.protocol"));
    digest_add_text(d, config_text(s->config, "http.url"));
    for (const char *const *key = s->is_chat ? chat : scores; *key != NULL; key++)
        digest_add_text(d, config_text(s->config, *key));
    if (s->is_chat) {
        digest_add_i64(d, s->chat.max_tokens);
        digest_add(d, &s->low, sizeof s->low);
        digest_add(d, &s->high, sizeof s->high);
    } else {
        digest_add_text(d, s->request_text);
        digest_add_text(d, s->item_text);
    }
    digest_add_i64(d, s->prompts);
    for (int64_t i = 0; i < s->prompts; i++)
        digest_add_text(d, s->prompt[i]);
}

const struct reward reward_http = {
    .name = "http",
    .help = "what the service at http.url says, as http.protocol and section http describe",
    .units = "1",
    .remote = 1,
    .open = open_http,
    .close = close_http,
    .score = score,
    .identify = identify,
};

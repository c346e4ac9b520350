/* The configuration of the reward `http`, read and checked. */
#ifndef SLUICE_STAGES_REWARD_HTTP_OPEN_H
#define SLUICE_STAGES_REWARD_HTTP_OPEN_H

#include "io/net.h"
#include "stages/reward/http_chat.h"
#include "stages/reward/http_reply.h"
#include "stages/reward/http_sample.h"
#include "stages/reward/http_template.h"
#include "stages/reward/reward.h"

struct http_scorer {
    struct net *net;
    struct http_shape shape;
    const struct config *config;
    int64_t batch; /* most samples of a request */
    char **prompt; /* [prompts] by class */
    int64_t prompts;
    bool is_chat;
    struct http_template *request; /* scores */
    struct http_path *response;
    char *request_text, *item_text; /* for identify */
    struct http_chat chat;
    enum http_score score;
    double low, high;
    int (*idle)(void *ctx);
    double (*leave)(void *ctx);
    void *idle_ctx; /* of both */
};

/* ERR_USAGE, ERR_INPUT. http_open_free takes NULL. */
int http_open(const struct reward_scene *scene, struct http_scorer **out);
void http_open_free(struct http_scorer *s);

#endif

/* log p(y | x) and its gradient through the tape. A sample's numbers do not depend on the
 * others of its batch, so neither ranks nor shards matter. */
#include "stages/reward/classifier.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/classifier/classifier.h"
#include "stages/nn/backend.h"

#include <math.h>
#include <string.h>

enum { BATCH = 64 };

struct scorer {
    struct classifier *net;
    struct tape *tape;
    int64_t target; /* -1: the sample's own label */
    double weight[CLASSIFIER_HEADS];
    float *slope; /* [BATCH, logits] */
};

static int read_weights(struct scorer *s, const char *list)
{
    char *all = mem_text(list);
    int n = 0, rc = 0, heads = classifier_heads(s->net);
    for (int h = 0; h < heads; h++)
        s->weight[h] = 1;
    for (char *p = all, *next; list[0] != '\0' && rc == 0 && p != NULL; p = next, n++) {
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        if (n == heads || !text_to_f64(p, &s->weight[n]) || !isfinite(s->weight[n]))
            rc = -1;
    }
    mem_free(all);
    if (rc != 0 || (n != 0 && n != heads))
        return err_set(ERR_USAGE,
                       "reward.label_weights: '%s': %d numbers, one for each label of the "
                       "classifier, with commas",
                       list, heads);
    return 0;
}

static bool same_coding(const struct coding *a, const struct coding *b)
{
    return a->kind == b->kind && a->log == b->log && a->mean == b->mean &&
           a->std == b->std && strcmp(a->alphabet, b->alphabet) == 0;
}

static int check(const struct scorer *s, const struct reward_scene *scene, const char *path)
{
    int64_t dim[3], labels = classifier_labels(s->net);
    classifier_shape(s->net, dim);
    if (dim[0] != scene->channels || dim[1] != scene->height || dim[2] != scene->width)
        return err_set(ERR_USAGE,
                       "reward.classifier: %s takes samples of %lld x %lld x %lld, the "
                       "network makes %lld x %lld x %lld (channels x height x width)",
                       path, (long long)dim[0], (long long)dim[1], (long long)dim[2],
                       (long long)scene->channels, (long long)scene->height,
                       (long long)scene->width);
    if (!same_coding(classifier_coding(s->net), scene->coding))
        return err_set(ERR_USAGE,
                       "reward.classifier: the data of %s are coded otherwise than the "
                       "network's; train it with model.path set to the network",
                       path);
    if (s->target >= labels)
        return err_set(ERR_USAGE,
                       "reward.target_class: %lld; the classifier has labels 0 to %lld",
                       (long long)s->target, (long long)labels - 1);
    if (s->target < 0 && (scene->classes == 0 || scene->classes % labels != 0))
        return err_set(ERR_USAGE,
                       "reward.classifier: the network's %lld classes are no multiple of "
                       "the classifier's %lld labels; set reward.target_class, or add "
                       "labels with `sluice graft`",
                       (long long)scene->classes, (long long)labels);
    return 0;
}

static void close_scorer(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    if (s->tape != NULL)
        tape_destroy(s->tape);
    classifier_destroy(s->net);
    mem_free(s->slope);
    mem_free(s);
}

static int open_scorer(const struct reward_scene *scene, void **ctx)
{
    const struct config *c = scene->config;
    const char *path = config_text(c, "reward.classifier");
    if (path[0] == '\0')
        return err_set(ERR_USAGE, "reward.classifier is not set: name a folder that "
                                  "`sluice classifier` wrote");
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->target = config_is(c, "reward.target_class", "label")
                    ? -1
                    : config_int(c, "reward.target_class");
    s->net = classifier_open(path, false);
    int rc = s->net != NULL ? check(s, scene, path) : err_add("reward.classifier");
    if (rc == 0)
        rc = read_weights(s, config_text(c, "reward.label_weights"));
    if (rc == 0) {
        const int64_t threads = config_is(c, "groups.threads", "auto")
                                    ? 1
                                    : config_int(c, "groups.threads");
        const struct backend *b =
            backend_get(config_text(c, "model.backend"), (int)threads);
        rc = b == NULL ? -1 : 0;
        if (rc == 0)
            s->tape = tape_create(b);
        s->slope = mem_alloc(BATCH * classifier_logits(s->net), sizeof *s->slope);
    }
    if (rc == 0) {
        *ctx = s;
        return 0;
    }
    close_scorer(s);
    return -1;
}

/* Items [at, at + m) of the batch. */
static int score_some(struct scorer *s, const struct reward_batch *b, int64_t at, int64_t m)
{
    const int64_t each = b->channels * b->height * b->width;
    const int64_t logits = classifier_logits(s->net), labels = classifier_labels(s->net);
    struct tensor *given = NULL;
    tape_begin(s->tape, b->gradient != NULL);
    struct tensor *out = classifier_forward(s->net, s->tape, m, b->sample + at * each,
                                            b->gradient != NULL ? &given : NULL);
    for (int64_t i = 0; i < m; i++) {
        int64_t y = s->target >= 0 ? s->target : b->label[at + i] % labels, from = i * logits;
        double score = 0;
        for (int h = 0; h < classifier_heads(s->net); h++) {
            int64_t k = classifier_classes(s->net, h);
            score += s->weight[h] *
                     classifier_log_prob(out->data + from, k,
                                         classifier_temperature(s->net)[h],
                                         classifier_part(s->net, y, h), s->weight[h],
                                         s->slope + from);
            from += k;
        }
        b->score[at + i] = score;
        b->status[at + i] = isfinite(score) ? REWARD_OK : REWARD_NON_FINITE;
    }
    if (b->gradient == NULL)
        return 0;
    if (tape_backward(s->tape, out, s->slope) != 0)
        return -1;
    memcpy(b->gradient + at * each, given->grad, (size_t)(m * each) * sizeof *given->grad);
    for (int64_t i = at; i < at + m; i++)
        if (b->status[i] != REWARD_OK)
            memset(b->gradient + i * each, 0, (size_t)each * sizeof *b->gradient);
    return 0;
}

static int score(void *ctx, const struct reward_batch *b)
{
    struct scorer *s = ctx;
    int rc = 0;
    if (s->target < 0 && b->label == NULL)
        return err_set(ERR_USAGE, "reward.target_class: samples without labels need it");
    for (int64_t at = 0; at < b->n && rc == 0; at += BATCH)
        rc = score_some(s, b, at, b->n - at < BATCH ? b->n - at : BATCH);
    return rc;
}

/* Whether each head finds the label the most probable (the first of equals). */
static bool agrees(const struct scorer *s, const float *logit, int64_t label)
{
    for (int h = 0; h < classifier_heads(s->net); h++) {
        int64_t k = classifier_classes(s->net, h), best = 0;
        for (int64_t j = 1; j < k; j++)
            best = logit[j] > logit[best] ? j : best;
        if (best != classifier_part(s->net, label, h))
            return false;
        logit += k;
    }
    return true;
}

static int score_hard(void *ctx, const struct reward_batch *b)
{
    struct scorer *s = ctx;
    const int64_t each = b->channels * b->height * b->width;
    const int64_t logits = classifier_logits(s->net), labels = classifier_labels(s->net);
    if (score(ctx, b) != 0) /* the statuses */
        return -1;
    for (int64_t at = 0; at < b->n; at += BATCH) {
        int64_t m = b->n - at < BATCH ? b->n - at : BATCH;
        tape_begin(s->tape, false);
        const struct tensor *out =
            classifier_forward(s->net, s->tape, m, b->sample + at * each, NULL);
        for (int64_t i = at; i < at + m; i++)
            if (b->status[i] == REWARD_OK)
                b->score[i] = agrees(s, out->data + (i - at) * logits,
                                     s->target >= 0 ? s->target : b->label[i] % labels);
    }
    return 0;
}

const struct reward reward_classifier = {
    .name = "classifier",
    .help = "log-probability of the sample's label by reward.classifier",
    .units = "nat",
    .deterministic = 1,
    .differentiable = 1,
    .own_thread = 1,
    .open = open_scorer,
    .close = close_scorer,
    .score = score,
};

const struct reward classifier_hard = {
    .name = "classifier_hard",
    .help = "1 where reward.classifier finds the sample's label the most probable, else 0",
    .units = "1",
    .deterministic = 1,
    .own_thread = 1,
    .open = open_scorer,
    .close = close_scorer,
    .score = score_hard,
};

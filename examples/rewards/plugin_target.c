/* A reward with all its parts: minus the mean squared distance to a target, with its
 * gradient. plugin.options is the target: numbers between blanks or commas, as many as
 * a sample has, or one for all. PLUGIN.md says how it is built and run. */
#include "sluice_reward.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct state {
    int64_t d; /* numbers of a sample */
    double target[];
};

/* The numbers of `text` into at[most]; how many there are, -1 where one is none. */
static int64_t read_numbers(const char *text, double *at, int64_t most)
{
    int64_t n = 0;
    for (text += strspn(text, " ,"); *text != '\0'; text += strspn(text, " ,")) {
        char *end;
        double v = strtod(text, &end);
        if (end == text)
            return -1;
        if (n < most)
            at[n] = v;
        n++;
        text = end;
    }
    return n;
}

static int open_target(const struct sluice_reward_host *host,
                       const struct sluice_reward_scene *scene, void **state)
{
    int64_t d = scene->channels * scene->height * scene->width;
    struct state *s = malloc(sizeof *s + (size_t)d * sizeof *s->target);
    if (s == NULL)
        return SLUICE_REWARD_BAD_INPUT;
    s->d = d;
    int64_t n = read_numbers(host->options, s->target, d);
    if (n != d && n != 1) {
        snprintf(scene->message, scene->message_size,
                 "plugin.options: wants 1 or %lld numbers, the target of a sample",
                 (long long)d);
        free(s);
        return SLUICE_REWARD_BAD_OPTIONS;
    }
    for (int64_t j = n; j < d; j++)
        s->target[j] = s->target[0];
    *state = s;
    return 0;
}

static int score_target(void *state, const struct sluice_reward_batch *b)
{
    const struct state *s = state;
    for (int64_t i = 0; i < b->n; i++) {
        double sum = 0;
        for (int64_t j = 0; j < s->d; j++) {
            double e = (double)b->sample[i * s->d + j] - s->target[j];
            sum += e * e;
            if (b->gradient != NULL)
                b->gradient[i * s->d + j] = (float)(-2 * e / (double)s->d);
        }
        b->score[i] = -sum / (double)s->d;
    }
    return 0;
}

static void close_target(void *state)
{
    free(state);
}

const struct sluice_reward_description *
sluice_reward_entry(const struct sluice_reward_host *host)
{
    static const struct sluice_reward_description is = {
        .size = sizeof is,
        .abi = SLUICE_REWARD_ABI,
        .flags = SLUICE_REWARD_DETERMINISTIC | SLUICE_REWARD_GRADIENT |
                 SLUICE_REWARD_THREADS,
        .name = "target",
        .units = "1",
        .open = open_target,
        .score = score_target,
        .close = close_target,
    };
    (void)host;
    return &is;
}

/* Plugins of the tests: -DCASE=n chooses what is wrong with it. */
#include "sluice_reward.h"

#include <fenv.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum {
    GOOD,
    VERSION,
    SIZE,
    NO_SCORE,
    NO_NAME,
    NOTHING,
    NO_SYMBOL,
    GARBAGE,
    FAILS,
    LATER
};
#ifndef CASE
#define CASE GOOD
#endif

/* The mean of a sample, times its label + 1; options "refuse" and "missing" do not
 * open. */
static int open_it(const struct sluice_reward_host *host,
                   const struct sluice_reward_scene *scene, void **state)
{
    static int any;
    if (strcmp(host->options, "refuse") == 0 || strcmp(host->options, "missing") == 0) {
        snprintf(scene->message, scene->message_size, "these are\nno options: %s",
                 host->options);
        return host->options[0] == 'r' ? SLUICE_REWARD_BAD_OPTIONS
                                       : SLUICE_REWARD_BAD_INPUT;
    }
    if (strcmp(host->options, "silent") == 0)
        return 9;
    if (host->size != sizeof *host || host->abi != SLUICE_REWARD_ABI ||
        !SLUICE_REWARD_HAS(scene, message_size))
        return 1;
    host->log(SLUICE_REWARD_INFO, "opens");
    *state = &any;
    return 0;
}

static int score_it(void *state, const struct sluice_reward_batch *b)
{
    int64_t d = b->channels * b->height * b->width;
    fesetround(FE_TOWARDZERO); /* it must not leave the call */
    if (state == NULL || CASE == FAILS) {
        snprintf(b->message, b->message_size, "the simulator is gone");
        return 1;
    }
    for (int64_t i = 0; i < b->n; i++) {
        double sum = 0, weight = b->label != NULL ? (double)b->label[i] + 1 : 1;
        for (int64_t j = 0; j < d; j++) {
            sum += (double)b->sample[i * d + j];
            if (b->gradient != NULL)
                b->gradient[i * d + j] = (float)(weight / (double)d);
        }
        b->score[i] = weight * sum / (double)d;
        if (b->text != NULL)
            b->score[i] = (double)strlen(b->text[i]);
    }
    for (int64_t i = 0; i < b->n && CASE == GARBAGE; i++)
        switch (b->first + i) {
        case 0:
            b->score[i] = (double)NAN;
            break;
        case 1:
            b->score[i] = (double)INFINITY;
            break;
        case 2:
            b->status[i] = 77;
            break;
        case 3:
            b->status[i] = SLUICE_REWARD_INFEASIBLE;
            break;
        case 4:
            b->status[i] = SLUICE_REWARD_TIMED_OUT;
            break;
        case 5:
            if (b->gradient != NULL)
                b->gradient[i * d] = INFINITY;
            break;
        default:
            break;
        }
    return 0;
}

#if CASE != 6 /* NO_SYMBOL */
/* As a later version might be: a field more at the end. */
struct later {
    struct sluice_reward_description now;
    double more;
};

const struct sluice_reward_description *
sluice_reward_entry(const struct sluice_reward_host *host)
{
    static struct later is = {
        .now = {.abi = SLUICE_REWARD_ABI,
                .size = sizeof is.now,
                .flags = SLUICE_REWARD_DETERMINISTIC | SLUICE_REWARD_GRADIENT,
                .name = "test",
                .units = "kW",
                .open = open_it,
                .score = score_it}};
    if (CASE == NOTHING)
        return NULL;
    if (CASE == VERSION)
        is.now.abi++;
    if (CASE == SIZE)
        is.now.size = 8;
    if (CASE == LATER)
        is.now.size = sizeof is;
    if (CASE == NO_SCORE)
        is.now.score = NULL;
    if (CASE == NO_NAME)
        is.now.name = NULL;
    is.now.flags =
        strcmp(host->options, "noisy") == 0 ? SLUICE_REWARD_THREADS : is.now.flags;
    return &is.now;
}
#endif

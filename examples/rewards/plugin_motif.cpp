// A reward of texts in C++: how often a motif (plugin.options) occurs, overlaps included.
// A text shorter than the motif is infeasible. PLUGIN.md says how it is built and run.
#include "sluice_reward.h"

#include <cstdio>
#include <new>
#include <string>

static int open_motif(const sluice_reward_host *host, const sluice_reward_scene *scene,
                      void **state)
{
    if (scene->kind != SLUICE_REWARD_TEXT || host->options[0] == '\0') {
        std::snprintf(scene->message, scene->message_size,
                      "wants samples that are texts, and a motif in plugin.options");
        return SLUICE_REWARD_BAD_OPTIONS;
    }
    *state = new (std::nothrow) std::string(host->options);
    return *state != nullptr ? 0 : SLUICE_REWARD_BAD_INPUT;
}

static int score_motif(void *state, const sluice_reward_batch *b)
{
    const std::string &motif = *static_cast<std::string *>(state);
    for (int64_t i = 0; i < b->n; i++) {
        const std::string text = b->text[i];
        b->status[i] = text.size() < motif.size() ? SLUICE_REWARD_INFEASIBLE
                                                  : SLUICE_REWARD_OK;
        b->score[i] = 0;
        for (size_t at = text.find(motif); at != std::string::npos;
             at = text.find(motif, at + 1))
            b->score[i] += 1;
    }
    return 0;
}

static void close_motif(void *state)
{
    delete static_cast<std::string *>(state);
}

const sluice_reward_description *sluice_reward_entry(const sluice_reward_host *)
{
    static const sluice_reward_description is = {
        sizeof is,
        SLUICE_REWARD_ABI,
        SLUICE_REWARD_DETERMINISTIC | SLUICE_REWARD_THREADS,
        0,
        "motif",
        "1",
        open_motif,
        score_motif,
        close_motif,
    };
    return &is;
}

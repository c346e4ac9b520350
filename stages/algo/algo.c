/* The list of methods, and what follows from a method's entry. */
#include "stages/algo/algo.h"

#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/algo/adjoint.h"
#include "stages/algo/alignprop.h"
#include "stages/algo/control.h"
#include "stages/algo/ddpo.h"
#include "stages/algo/dpok.h"
#include "stages/algo/draft.h"
#include "stages/algo/grpo.h"
#include "stages/algo/nft.h"
#include "stages/algo/pcl.h"
#include "stages/algo/ppo.h"
#include "stages/algo/rwr.h"

#include <string.h>

static const struct algo *const list[] = {&ddpo_is,    &ddpo_sf, &flow_grpo,
                                         &dance_grpo, &dpok,    &rwr,
                                         &rwr_sparse, &distil,  &nft,
                                         &ppo,        &control, &pcl,
                                         &trajectory_balance,   &draft_k,
                                         &draft_lv,   &alignprop, &adjoint_matching,
                                         NULL};

const struct algo *const *algo_all(void)
{
    return list;
}

const struct algo *algo_find(const char *name)
{
    const char *names[sizeof list / sizeof *list];
    int64_t n = 0;
    for (; list[n] != NULL; n++) {
        if (strcmp(list[n]->name, name) == 0)
            return list[n];
        names[n] = list[n]->name;
    }
    text_unknown("method", name, names, n);
    return NULL;
}

bool algo_on_chain(const struct algo *a)
{
    return a->pairs == PAIRS_STEPS || a->pairs == PAIRS_FIRST_STEPS || algo_walks(a);
}

bool algo_walks(const struct algo *a)
{
    return a->pairs == PAIRS_WALK || a->pairs == PAIRS_LEAN;
}

bool algo_differentiates(const struct algo *a)
{
    return (a->needs & (NEEDS_REWARD_GRADIENT | NEEDS_SCORER)) != 0;
}

unsigned algo_needs(const struct algo *a, const struct algo_options *o)
{
    return a->needs | (o->kl_weight > 0 ? (unsigned)NEEDS_REFERENCE : 0);
}

int64_t algo_pairs_each(const struct algo *a, const struct config *c,
                        const struct sampler *s)
{
    bool chain = algo_on_chain(a), grid = a->pairs == PAIRS_NOISED_GRID;
    int64_t most = chain ? s->live_steps : s->steps, each;
    if (algo_walks(a))
        return 1;
    if (!chain && !config_is(c, "algorithm.draws", "auto"))
        each = config_int(c, "algorithm.draws");
    else if (chain || grid)
        each = (int64_t)((double)most * config_real(c, "update.timestep_fraction"));
    else
        each = a->pairs == PAIRS_NOISED_LAST ? 2 : 1;
    if ((chain || grid) && each > most)
        each = most;
    return each < 1 ? 1 : each;
}

void algo_options_read(struct algo_options *o, const struct algo *a,
                       const struct config *c)
{
    void *own = NULL;
    if (a->own_size > 0) {
        own = mem_alloc(1, a->own_size);
        a->read(own, c);
    }
    *o = (struct algo_options){
        .logprob = config_is(c, "algorithm.logprob", "sum") ? LOGPROB_SUM : LOGPROB_MEAN,
        .clip_range = config_real(c, "algorithm.clip_range"),
        .adv_clip = config_real(c, "algorithm.adv_clip"),
        .kl_weight = config_is(c, "algorithm.kl_weight", "auto")
                         ? a->kl_weight
                         : config_real(c, "algorithm.kl_weight"),
        .kl_previous_weight = config_real(c, "algorithm.kl_previous_weight"),
        .baseline = config_is(c, "algorithm.baseline", "tracker") ? BASELINE_TRACKER
                                                                  : BASELINE_BATCH,
        .tracker_buffer = config_int(c, "algorithm.tracker_buffer"),
        .tracker_min_count = config_int(c, "algorithm.tracker_min_count"),
        .own = own,
    };
}

void algo_options_free(struct algo_options *o)
{
    mem_free((void *)o->own);
    o->own = NULL;
}

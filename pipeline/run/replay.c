/* Replays. The sealed shards get a second name in the replay's own directory, so that each
 * directory can be moved, verified and removed alone; replay.json says where they are
 * from. Policies 1, 2, ... are the replay's. Methods that evaluate the policy that made the
 * samples find those policies under behaviour/. */
#include "pipeline/run/replay.h"

#include "io/origin.h"
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/run/prepare.h"
#include "pipeline/schema.h"
#include "stages/algo/algo.h"

#include <stdio.h>
#include <string.h>

/* Keys, or beginnings of keys, that rollouts and rewards depend on. */
static const char *const fixed[] = {
    "sampler.",   "rollout.",    "reward.",     "search.",       "surrogate.",
    "exec.",      "http.",       "plugin.",     "classifier.",   "model.path",
    "model.dtype", "model.backend", "max_staleness",
};
/* Of those, what the advantage stage does with them, and what changes no answer. */
static const char *const open_to_change[] = {
    "reward.mixing", "reward.on_failure", "reward.max_failed_fraction", "reward.cache"};

static bool begins(const char *key, const char *const *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (strncmp(key, list[i], strlen(list[i])) == 0)
            return true;
    return false;
}

static bool is_fixed(const struct config_key *k)
{
    bool asks = begins(k->key, (const char *const[]){"exec.", "http."}, 2);
    return begins(k->key, fixed, sizeof fixed / sizeof *fixed) &&
           !begins(k->key, open_to_change, sizeof open_to_change / sizeof *open_to_change) &&
           (!asks || k->shapes_results);
}

int replay_check_keys(const struct replay *r)
{
    if (!config_is(r->was, "surrogate.kind", "none"))
        return err_set(ERR_USAGE, "surrogate.kind: most rewards of this run were learned on "
                                  "its way, so another way cannot take them over: use "
                                  "`sluice run`");
    for (const struct config_key *k = schema; k->key != NULL; k++)
        if (is_fixed(k) &&
            strcmp(config_text(r->was, k->key), config_text(r->now, k->key)) != 0)
            return err_set(ERR_USAGE,
                           "%s: the stored rollouts and rewards were made with %s, and "
                           "another value needs new ones: leave it, or use `sluice run`",
                           k->key, config_text(r->was, k->key));
    if (config_parts_differ(r->was, r->now))
        return err_set(ERR_USAGE, "components: the stored rewards were made with others than "
                                  "these: leave them, or use `sluice run`");
    return 0;
}

static bool is_there(const char *dir, const char *relative)
{
    char *p = rundir_path(dir, relative);
    bool yes = file_exists(p);
    mem_free(p);
    return yes;
}

static int64_t shards_of(const struct config *c)
{
    int64_t each = config_int(c, "rollout.shard_samples");
    return (config_int(c, "rollout.samples") + each - 1) / each;
}

/* Iterations from 0 on whose rollouts and rewards are all there. */
static int64_t stored_iterations(const struct replay *r)
{
    char rel[96];
    int64_t shards = shards_of(r->was);
    for (int64_t i = 0;; i++)
        for (int64_t s = 0; s < shards; s++)
            if (!is_there(r->source, rundir_rollout(rel, i, s)) ||
                !is_there(r->source, rundir_reward(rel, i, s)))
                return i;
}

static int settle_iterations(const struct replay *r, int64_t *iterations)
{
    int64_t stored = stored_iterations(r), wanted = config_int(r->now, "run.iterations");
    if (stored == 0)
        return err_set(ERR_INPUT,
                       "%s: lacks rollouts or rewards of iteration 0, from which a replay "
                       "starts; run.keep_shards=0 keeps them all",
                       r->source);
    if (wanted > stored && strcmp(config_origin(r->now, "run.iterations"),
                                  config_origin(r->was, "run.iterations")) != 0)
        return err_set(ERR_USAGE,
                       "run.iterations=%lld: %s holds rollouts and rewards of %lld",
                       (long long)wanted, r->source, (long long)stored);
    *iterations = wanted < stored ? wanted : stored;
    return 0;
}

/* One of the columns that methods read beside final samples and rewards. */
static int check_column(const struct replay *r, const char *method, enum shard_kind kind,
                        const char *column)
{
    char rel[96];
    bool reward = kind == SHARD_REWARD;
    char *path = rundir_path(r->source, reward ? rundir_reward(rel, 0, 0)
                                               : rundir_rollout(rel, 0, 0));
    struct shard *s = shard_open(path, (int)kind);
    int rc = s == NULL ? -1 : 0;
    if (s != NULL && !shard_has(s, column, NULL, NULL, NULL))
        rc = err_set(ERR_INPUT,
                     "%s: has no column '%s', which algorithm.name=%s (or run.kl_budget) "
                     "needs: replay a run of a method that "
                     "stores it, or `sluice run` with this configuration and another run.dir",
                     path, column, method);
    shard_close(s);
    mem_free(path);
    return rc;
}

static int check_columns(const struct replay *r, const char *method, unsigned needs)
{
    static const struct {
        unsigned need;
        enum shard_kind kind;
        const char *column;
    } column[] = {
        {NEEDS_TRAJECTORY, SHARD_ROLLOUT, "latents"},
        {NEEDS_LOG_PROB, SHARD_ROLLOUT, "log_prob"},
        {NEEDS_REFERENCE_DENSITY, SHARD_ROLLOUT, "log_prob_reference"},
        {NEEDS_REFERENCE_DENSITY, SHARD_ROLLOUT, "kl_reference"},
        {NEEDS_REWARD_GRADIENT, SHARD_REWARD, "reward_gradient"},
    };
    for (size_t i = 0; i < sizeof column / sizeof *column; i++)
        if ((needs & column[i].need) != 0 &&
            check_column(r, method, column[i].kind, column[i].column) != 0)
            return -1;
    return 0;
}

/* The policies that made the samples, where the method evaluates them. */
static int link_behaviour(const struct replay *r, const char *dir, int64_t iterations)
{
    char from[96], to[96];
    int64_t stale = config_int(r->was, "max_staleness");
    char *folder = rundir_path(dir, "behaviour");
    int rc = file_make_dirs(folder);
    mem_free(folder);
    for (int64_t v = 0; v < (iterations > stale ? iterations - stale : 1) && rc == 0; v++) {
        char *a = rundir_path(r->source, rundir_policy(from, v));
        char *b = rundir_path(dir, origin_policy(to, v));
        rc = file_exists(a) ? file_link(a, b)
                            : err_set(ERR_INPUT,
                                      "%s: is not there any more, and algorithm.name=%s "
                                      "evaluates the policies that made the samples; "
                                      "run.keep_policies=0 keeps them all",
                                      a, config_text(r->now, "algorithm.name"));
        mem_free(a);
        mem_free(b);
    }
    return rc;
}

static int check_method(const struct replay *r, unsigned *needs)
{
    struct algo_options o;
    const struct algo *a = algo_find(config_text(r->now, "algorithm.name"));
    if (a == NULL)
        return err_add("algorithm.name");
    algo_options_read(&o, a, r->now);
    *needs = algo_needs(a, &o);
    algo_options_free(&o);
    if (config_real(r->now, "run.kl_budget") > 0)
        *needs |= NEEDS_REFERENCE_DENSITY;
    return check_columns(r, config_text(r->now, "algorithm.name"), *needs);
}

static int link_file(const struct replay *r, const char *dir, const char *relative)
{
    char *from = rundir_path(r->source, relative), *to = rundir_path(dir, relative);
    int rc = file_link(from, to);
    mem_free(from);
    mem_free(to);
    return rc;
}

static int link_iteration(const struct replay *r, const char *dir, int64_t i)
{
    char rel[96];
    int rc = 0;
    for (int k = 0; k < 2 && rc == 0; k++) {
        snprintf(rel, sizeof rel, "%s/i%06lld", k == 0 ? "rollout" : "reward", (long long)i);
        char *folder = rundir_path(dir, rel);
        rc = file_make_dirs(folder);
        mem_free(folder);
    }
    for (int64_t s = 0; s < shards_of(r->was) && rc == 0; s++)
        if (link_file(r, dir, rundir_rollout(rel, i, s)) != 0 ||
            link_file(r, dir, rundir_reward(rel, i, s)) != 0)
            rc = -1;
    return rc;
}

/* replay.json: made once. */
static int settle_origin(const struct replay *r, const char *dir)
{
    struct origin o, now = {.run_id = ""};
    char rel[96];
    if (origin_read(dir, &o) != 0)
        return -1;
    char *path = rundir_path(r->source, rundir_policy(rel, 0));
    struct shard *s = shard_open(path, SHARD_POLICY);
    mem_free(path);
    if (s == NULL)
        return err_add("the policy that a replay starts from");
    const struct shard_head *h = shard_head(s);
    snprintf(now.source, sizeof now.source, "%.3900s", r->source);
    snprintf(now.source_run_id, sizeof now.source_run_id, "%s", h->run_id);
    snprintf(now.source_digest, sizeof now.source_digest, "%s", h->config_digest);
    shard_close(s);
    prepare_run_id(now.run_id, (uint64_t)config_int(r->now, "run.seed"));
    if (o.run_id[0] == '\0')
        return origin_write(dir, &now);
    if (strcmp(o.source_run_id, now.source_run_id) == 0)
        return 0;
    return err_set(ERR_USAGE, "%s: is a replay of another run (%s); choose another --out",
                   dir, o.source);
}

/* A run that is no replay: folders alone are what a replay leaves that was killed before it
 * could say what it is. */
static bool is_run(const char *dir)
{
    char rel[96];
    return is_there(dir, rundir_policy(rel, 0)) && !is_there(dir, "replay.json");
}

/* A directory that is free, or where a replay of the same configuration began. */
static bool usable(const struct replay *r, const char *dir)
{
    char *file = rundir_path(dir, "config.yaml");
    bool yes = !is_run(dir);
    if (yes && file_exists(file)) {
        struct config *old = config_create(schema);
        yes = config_read(old, file) == 0 && config_difference(old, r->now) == NULL;
        config_destroy(old);
        err_clear();
    }
    mem_free(file);
    return yes;
}

static int choose(const struct replay *r, char dir[4096])
{
    size_t n = strlen(r->source);
    while (n > 1 && r->source[n - 1] == '/')
        n--;
    if (n > 3800 || (r->out != NULL && strlen(r->out) > 3800))
        return err_set(ERR_USAGE, "the path is too long");
    if (r->out != NULL) {
        snprintf(dir, 4096, "%s", r->out);
        if (is_run(dir))
            return err_set(ERR_USAGE, "%s: holds a run of its own; choose another --out", dir);
        return 0;
    }
    for (int k = 1;; k++) {
        snprintf(dir, 4096, "%.*s-replay-%d", (int)n, r->source, k);
        if (usable(r, dir))
            return 0;
    }
}

int replay_begin(void *ctx, char dir[4096], int64_t *iterations)
{
    const struct replay *r = ctx;
    unsigned needs = 0;
    char rel[96];
    if (settle_iterations(r, iterations) != 0 || check_method(r, &needs) != 0 ||
        choose(r, dir) != 0 || rundir_create(dir) != 0 || settle_origin(r, dir) != 0 ||
        link_file(r, dir, rundir_policy(rel, 0)) != 0)
        return -1;
    for (int64_t i = 0; i < *iterations; i++)
        if (link_iteration(r, dir, i) != 0)
            return -1;
    return (needs & NEEDS_BEHAVIOUR) != 0 ? link_behaviour(r, dir, *iterations) : 0;
}

/* Expert iteration on the exact denoiser of Gaussian data with one learned shift: searched
 * samples are better than plain ones, and what learns from them alone samples better without
 * a search. Runs the executable (SLUICE_BIN, default build/sluice), one process. */
#include "tests/oracle.h"

#define N 256

/* Mean of a column over the samples of an iteration's only shard. */
static double mean_of(const char *dir, int64_t iteration, enum shard_kind kind,
                      const char *column)
{
    char rel[96];
    double sum = 0;
    char *path = rundir_path(dir, kind == SHARD_REWARD ? rundir_reward(rel, iteration, 0)
                                                       : rundir_rollout(rel, iteration, 0));
    struct shard *in = shard_open(path, (int)kind);
    double *v = in == NULL ? NULL
                           : shard_get(in, column, COLUMN_F64, 1, (int64_t[]){N}, NULL);
    if (v == NULL)
        ERR_BUG("%s", err_text());
    for (int64_t i = 0; i < N; i++)
        sum += v[i] / N;
    mem_free(v);
    mem_free(path);
    shard_close(in);
    return sum;
}

/* The same samples' rewards without the search, before and after: paired, so that only the
 * shift moves them. */
static void test_kind(const char *model, const char *kind, const char *more)
{
    enum { ITERATIONS = 10 };
    float shift = 0;
    char *name = text_new("%s", kind);
    char *options = text_new("run.seed=5 run.iterations=%d rollout.samples=%d "
                             "rollout.shard_samples=%d algorithm.draws=8 update.lr=0.02 "
                             "search.kind=%s %s",
                             ITERATIONS, N, N, kind, more);
    char *dir = run(name, model, options);
    double plain = mean_of(dir, 0, SHARD_ROLLOUT, "search_reward_plain");
    double found = mean_of(dir, 0, SHARD_REWARD, "reward");
    double last = mean_of(dir, ITERATIONS - 1, SHARD_ROLLOUT, "search_reward_plain");
    tap_ok(found > plain + 0.2, "%s: rewards of %.4f instead of %.4f", kind, found, plain);
    struct policy *p = open_policy(dir, ITERATIONS - 1);
    must(policy_slice(p, POLICY_WEIGHTS, 0, 1, &shift));
    policy_close(p);
    tap_ok(last > plain + 0.05, "%s: plain samples rise from %.4f to %.4f", kind, plain, last);
    double error = 4 * sqrt(2 * VARIANCE / N);
    tap_near(last - plain, SLOPE * (double)shift, error, "as the learned shift says");
    mem_free(dir);
    mem_free(options);
    mem_free(name);
}

int main(void)
{
    if (!program_is_built())
        return tap_skip_all("the executable is not built");
    work_begin("distil");
    char *model = write_model(1);
    test_kind(model, "best_of", "algorithm.name=distil search.candidates=4");
    test_kind(model, "noise",
              "algorithm.name=rwr algorithm.rwr_beta=0 search.weight=2 "
              "search.iterations=4 run.keep_policies=0");
    mem_free(model);
    work_end();
    return tap_done();
}

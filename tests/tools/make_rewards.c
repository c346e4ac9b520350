/* make_rewards DIR ITERATIONS RISE GUARD_RISE: reward shards of a run whose mean reward
 * and mean guard change by so much per iteration, four samples each. */
#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>

enum { N = 4 };

static int put(struct shard_writer *w, const char *name, enum column_type type,
               const void *data)
{
    const struct column c = {.name = name,
                             .type = type,
                             .nd = 1,
                             .dim = {N},
                             .axis = {"sample"},
                             .data = data};
    return shard_put(w, &c);
}

static int write_shard(const char *dir, int64_t i, double reward_mean,
                       double guard_mean)
{
    char rel[96], *path = rundir_path(dir, rundir_reward(rel, i, 0));
    const struct shard_head head = {.kind = SHARD_REWARD, .iteration = i, .number = 0};
    double reward[N], guard[N];
    int64_t index[N];
    const uint8_t status[N] = {0};
    for (int k = 0; k < N; k++) {
        /* a little noise, so that slopes have errors */
        double away = 0.01 * (k - 1.5) + 0.001 * (double)(i % 2);
        reward[k] = reward_mean + away;
        guard[k] = guard_mean + away;
        index[k] = k;
    }
    struct shard_writer *w = shard_create(path, &head);
    mem_free(path);
    if (w == NULL || put(w, "reward", COLUMN_F64, reward) != 0 ||
        put(w, "reward_guard", COLUMN_F64, guard) != 0 ||
        put(w, "status", COLUMN_U8, status) != 0 ||
        put(w, "sample_index", COLUMN_I64, index) != 0)
        return -1;
    return shard_seal(w, NULL);
}

int main(int argc, char **argv)
{
    if (argc != 5 || rundir_create(argv[1]) != 0)
        return 2;
    for (int64_t i = 0; i < atoi(argv[2]); i++)
        if (write_shard(argv[1], i, atof(argv[3]) * (double)i,
                        atof(argv[4]) * (double)i) != 0) {
            fprintf(stderr, "%s\n", err_text());
            return 1;
        }
    return 0;
}

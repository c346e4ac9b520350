/* A parent's file that appears late, as on a network file system; one that never does;
 * and the digest of a policy, which a lease may have said already. */
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/task.h"
#include "tests/tap.h"

#include <unistd.h>

static int calls;

static void seal_one(const struct task *t)
{
    char rel[96], path[4096];
    double reward[3] = {1, 2, 3};
    struct shard_parent parent = {.path = "rollout/i000000/s00000.h5",
                                  .content = "none"};
    struct shard_head head = task_head(t, SHARD_REWARD, 0, 0, 0);
    head.parent = &parent;
    head.parents = 1;
    struct shard_writer *w =
        shard_create(task_path(t, rundir_reward(rel, 0, 0), path), &head);
    if (w == NULL ||
        shard_put(w, &(struct column){.name = "reward", .type = COLUMN_F64, .nd = 1,
                                      .dim = {3}, .axis = {"sample"}, .units = "1",
                                      .long_name = "reward", .data = reward}) != 0 ||
        shard_seal(w, NULL) != 0)
        printf("# %s\n", err_text());
}

/* The hook of every wait: other ranks go on meanwhile, and at last there is the file. */
static int idle(void *ctx)
{
    if (++calls == 4)
        seal_one(ctx);
    return 0;
}

static int lost(void *ctx)
{
    (void)ctx;
    return err_set(ERR_ENV, "the job is lost");
}

int main(void)
{
    char dir[64], rel[96], digest[DIGEST_HEX], command[96];
    snprintf(dir, sizeof dir, "/tmp/sluice_task_%ld", (long)getpid());
    log_set_level(LOG_QUIET);
    if (rundir_create(dir) != 0)
        return tap_skip_all("the run directory cannot be created");
    struct task t = {.dir = dir, .appear_s = 60, .idle = idle, .idle_ctx = &t,
                     .run_id = "run-1", .phase = "reads"};
    struct shard *s = task_open(&t, rundir_reward(rel, 0, 0), SHARD_REWARD);
    tap_ok(s != NULL && calls == 4, "a late file is waited for, hook by hook");
    tap_ok(s != NULL && strcmp(shard_head(s)->run_id, "run-1") == 0, "and opened");
    tap_ok(strcmp(t.phase, "reads") == 0, "the phase is what it was");
    shard_close(s);
    s = task_open(&t, rundir_reward(rel, 0, 0), SHARD_REWARD);
    tap_ok(s != NULL && calls == 4, "a file that is there is opened at once");
    shard_close(s);

    t.appear_s = 0.1;
    s = task_open(&t, rundir_reward(rel, 0, 1), SHARD_REWARD);
    tap_ok(s == NULL && err_code() == ERR_INPUT && strstr(err_text(), "s00001") != NULL,
           "one that never comes: %s", err_text());
    err_clear();
    t.appear_s = 60;
    t.idle = lost;
    tap_ok(task_open(&t, rundir_reward(rel, 0, 1), SHARD_REWARD) == NULL &&
               err_code() == ERR_ENV,
           "a lost job ends the wait");
    err_clear();

    t.policy.version = 7;
    snprintf(t.policy.content, DIGEST_HEX, "0123");
    tap_ok(task_policy_content(&t, 7, digest) == 0 && strcmp(digest, "0123") == 0,
           "a known policy's file is not opened for its digest");
    t.idle = NULL;
    t.appear_s = 0;
    tap_ok(task_policy_content(&t, 8, digest) != 0, "an unknown one's is");
    err_clear();
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    if (system(command) != 0)
        printf("# cannot remove %s\n", dir);
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

/* verify and inspect over a small run directory: all well, then each kind of damage by
 * name. `verify make DIR` leaves such a run for tests/e2e. */
#include "pipeline/verify.h"

#include "io/index.h"
#include "io/rundir.h"
#include "io/safetensors.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/inspect.h"
#include "tests/tap.h"

#include <unistd.h>

enum { SHARDS = 2, ROWS = 4 };

static char contents[64][DIGEST_HEX]; /* of every file made so far */
static char paths[64][96];
static int made;

static const char *content_of(const char *path)
{
    for (int i = made - 1; i >= 0; i--)
        if (strcmp(paths[i], path) == 0)
            return contents[i];
    abort();
}

static void make(const char *dir, const char *relative, struct shard_head h,
                 double value, const char *const *parent)
{
    struct shard_parent parents[8] = {0};
    char *path = rundir_path(dir, relative);
    double x[ROWS] = {value, value + 1, NAN, value - 1};
    const struct column c = {.name = h.kind == SHARD_POLICY ? "weights" : "reward",
                             .type = COLUMN_F64,
                             .nd = 1,
                             .dim = {ROWS},
                             .axis = {"sample"},
                             .units = "m",
                             .data = x};
    for (; parent != NULL && *parent != NULL; parent++, h.parents++) {
        snprintf(parents[h.parents].path, sizeof parents->path, "%s", *parent);
        memcpy(parents[h.parents].content, content_of(*parent), DIGEST_HEX);
    }
    h.parent = parents;
    if (h.run_id[0] == '\0')
        strcpy(h.run_id, "a-run");
    memset(h.config_digest, 'e', 64);
    struct shard_writer *w = shard_create(path, &h);
    if (w == NULL || shard_put(w, &c) != 0 || shard_seal(w, contents[made]) != 0)
        abort();
    snprintf(paths[made++], sizeof *paths, "%s", relative);
    mem_free(path);
}

static void make_shards(const char *dir, int64_t it, int64_t n)
{
    char a[96], b[96], policy[96];
    rundir_policy(policy, it);
    for (int64_t k = 0; k < n; k++) {
        struct shard_head h = {
            .kind = SHARD_ROLLOUT, .iteration = it, .number = k, .policy_version = it};
        make(dir, rundir_rollout(a, it, k), h, (double)(10 * it + k),
             (const char *[]){policy, NULL});
        h.kind = SHARD_REWARD;
        make(dir, rundir_reward(b, it, k), h, (double)(10 * it + k) / 2,
             (const char *[]){a, NULL});
    }
}

static void make_policy(const char *dir, int64_t version, const char *run_id)
{
    char a[96], b[96], policy[96];
    struct shard_head h = {.kind = SHARD_POLICY,
                           .iteration = version,
                           .number = -1,
                           .policy_version = version};
    snprintf(h.run_id, sizeof h.run_id, "%s", run_id);
    const char *parent[] = {NULL, b, NULL};
    if (version > 0) {
        parent[0] = rundir_policy(a, version - 1);
        rundir_advantage(b, version - 1);
    }
    make(dir, rundir_policy(policy, version), h, (double)version, parent);
}

static void make_advantage(const char *dir, int64_t it)
{
    char reward[SHARDS][96], a[96];
    const char *parent[SHARDS + 1] = {NULL};
    struct shard_head h = {
        .kind = SHARD_ADVANTAGE, .iteration = it, .number = -1, .policy_version = it};
    for (int64_t k = 0; k < SHARDS; k++)
        parent[k] = rundir_reward(reward[k], it, k);
    make(dir, rundir_advantage(a, it), h, (double)it, parent);
}

/* Two finished iterations and one shard of a third. */
static void make_run(const char *dir)
{
    made = 0;
    if (rundir_create(dir) != 0)
        abort();
    make_policy(dir, 0, "a-run");
    for (int64_t it = 0; it < 2; it++) {
        make_shards(dir, it, SHARDS);
        make_advantage(dir, it);
        make_policy(dir, it + 1, "a-run");
    }
    make_shards(dir, 2, 1);
    if (index_write(dir) != 0)
        abort();
}

static void expect(const char *dir, int64_t damaged, const char *path, const char *word,
                   const char *what)
{
    struct verify_report r = {0};
    bool found = path == NULL;
    int rc = verify_path(dir, &r);
    for (int64_t i = 0; i < r.findings && !found; i++)
        found = strcmp(r.finding[i].path, path) == 0 &&
                strstr(r.finding[i].what, word) != NULL;
    if (!tap_ok(rc == 0 && r.damaged == damaged && found,
                "%s (%lld files, %lld damaged)", what, (long long)r.files,
                (long long)r.damaged))
        for (int64_t i = 0; i < r.findings; i++)
            printf("# %d %s: %s\n", r.finding[i].damage, r.finding[i].path,
                   r.finding[i].what);
    verify_free(&r);
}

static void drop(const char *dir, const char *relative)
{
    char *path = rundir_path(dir, relative);
    unlink(path);
    mem_free(path);
}

static void flip(const char *dir, const char *relative)
{
    char *path = rundir_path(dir, relative), *data;
    int64_t n;
    if (file_read(path, 1 << 20, &data, &n) != 0)
        abort();
    for (int64_t i = 0; i + 8 < n; i++) { /* the column's second value */
        double v;
        memcpy(&v, data + i, sizeof v);
        if (v == 11.0) {
            data[i] ^= 1;
            break;
        }
    }
    if (file_write(path, data, n) != 0)
        abort();
    mem_free(data);
    mem_free(path);
}

static void test_run(const char *dir)
{
    make_run(dir);
    expect(dir, 0, NULL, "", "a good run verifies");
    char *left = rundir_path(dir, "policy/v000009.h5.tmp.host.12");
    file_write(left, "x", 1);
    expect(dir, 0, "policy/v000009.h5.tmp.host.12", "killed", "leftovers are noted");
    unlink(left);
    mem_free(left);
    flip(dir, "rollout/i000001/s00000.h5");
    expect(dir, 1, "rollout/i000001/s00000.h5", "were sealed", "a flipped bit is found");
    make_run(dir);
    drop(dir, "rollout/i000000/s00001.h5");
    index_write(dir);
    expect(dir, 2, "rollout/i000000/s00001.h5", "missing",
           "one missing rollout is found");
    drop(dir, "rollout/i000000/s00000.h5");
    index_write(dir);
    expect(dir, 0, NULL, "", "an iteration retained away is no damage");
    drop(dir, "rollout/i000002/s00000.h5");
    index_write(dir);
    expect(dir, 1, "reward/i000002/s00000.h5", "its parent",
           "a missing rollout of the running iteration is");
    make_run(dir);
    drop(dir, "advantage/i000001.h5");
    expect(dir, 2, "advantage/i000001.h5", "is missing",
           "a missing advantage file is found, and by the index");
    make_run(dir);
    make(dir, "reward/i000001/s00001.h5",
         (struct shard_head){
             .kind = SHARD_REWARD, .iteration = 1, .number = 1, .policy_version = 1},
         77, NULL);
    index_write(dir);
    expect(dir, 1, "advantage/i000001.h5", "another reward/i000001/s00001.h5",
           "a parent that was exchanged is found");
    make_run(dir);
    make_policy(dir, 2, "another-run");
    expect(dir, 1, "policy/v000002.h5", "belongs to the run 'another-run'",
           "a foreign policy is found");
    make_run(dir);
    make(dir, "policy/v000002.h5",
         (struct shard_head){.kind = SHARD_POLICY, .policy_version = 2, .number = -1},
         2, NULL);
    expect(dir, 1, "policy/v000002.h5", "does not name advantage/i000001.h5",
           "a policy without lineage is found");
}

static void test_files(const char *dir)
{
    float x[6] = {1, 2, 3, 4, NAN, 6};
    char *path = rundir_path(dir, "model.safetensors"), hex[DIGEST_HEX];
    struct inspect_file f;
    const struct st_out t = {"conv.weight", ST_F32, 2, {2, 3}, x};
    if (st_write(path, &t, 1) != 0)
        abort();
    expect(dir, 0, NULL, "", "a model folder verifies");
    expect(path, 0, NULL, "", "and a tensor file");
    tap_ok(inspect_read(path, &f) == 0 && f.columns == 1 && f.column[0].dim[1] == 3 &&
               f.column[0].stats.nan == 1 && f.column[0].stats.max == 6 &&
               fabs(f.column[0].stats.mean - 3.2) < 1e-12 &&
               fabs(f.column[0].stats.std - sqrt(2.96)) < 1e-12,
           "tensors are described");
    memcpy(hex, f.content, sizeof hex);
    inspect_free(&f);
    char *same = rundir_path(dir, "same.h5");
    const struct shard_head h = {.kind = SHARD_POLICY};
    const struct column c = {.name = "conv.weight",
                             .type = COLUMN_F32,
                             .nd = 2,
                             .dim = {2, 3},
                             .axis = {"a", "b"},
                             .data = x};
    struct shard_writer *w = shard_create(same, &h);
    tap_ok(shard_put(w, &c) == 0 && shard_seal(w, NULL) == 0 &&
               inspect_read(same, &f) == 0 && strcmp(f.content, f.stored) == 0 &&
               strcmp(f.content, hex) == 0,
           "equal arrays have equal digests in either format");
    inspect_free(&f);
    file_write(path, "rubbish", 7);
    expect(dir, 1, "model.safetensors", "", "a damaged tensor file is named");
    struct verify_report r = {0};
    tap_ok(verify_path("/no/such/run", &r) != 0 && err_code() == ERR_INPUT,
           "a path that is not there: %s", err_text());
    verify_free(&r);
    mem_free(same);
    mem_free(path);
}

int main(int argc, char **argv)
{
    char dir[] = "/tmp/sluice-verify.XXXXXX", command[64];
    if (argc == 3 && strcmp(argv[1], "make") == 0) {
        if (file_exists(argv[2])) { /* never into what may be somebody's run */
            fprintf(stderr, "%s: exists already\n", argv[2]);
            return 2;
        }
        make_run(argv[2]);
        return 0;
    }
    if (mkdtemp(dir) == NULL)
        return 1;
    char *run = rundir_path(dir, "run"), *model = rundir_path(dir, "model");
    test_run(run);
    file_make_dirs(model);
    test_files(model);
    mem_free(run);
    mem_free(model);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    tap_ok(system(command) == 0, "clean-up");
    tap_ok(mem_live() == 0, "no memory is lost: %lld blocks", (long long)mem_live());
    return tap_done();
}

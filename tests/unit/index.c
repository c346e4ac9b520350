/* index.h5: every shard of a run through one file, and what happens when one is gone.
 */
#include "io/index.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <hdf5.h>
#include <unistd.h>

enum { ITERATIONS = 3, SHARDS = 2, ROWS = 4, WIDTH = 3 };

static void put_shard(const char *dir, int64_t it, int64_t number, int64_t rows,
                      int64_t text_len)
{
    char relative[96], prompt[ROWS * 32] = {0};
    float x[ROWS * WIDTH];
    int64_t index[ROWS];
    struct shard_head h = {.kind = SHARD_ROLLOUT, .iteration = it, .number = number};
    for (int64_t i = 0; i < rows; i++) {
        index[i] = number * ROWS + i;
        snprintf(prompt + i * text_len, (size_t)text_len, "p%lld", (long long)i);
        for (int64_t k = 0; k < WIDTH; k++)
            x[i * WIDTH + k] = (float)(it * 1000 + index[i] * 10 + k);
    }
    const struct column c[] = {
        {.name = "x",
         .type = COLUMN_F32,
         .nd = 2,
         .dim = {rows, WIDTH},
         .axis = {"sample", "value"},
         .data = x},
        {.name = "sample_index",
         .type = COLUMN_I64,
         .nd = 1,
         .dim = {rows},
         .axis = {"sample"},
         .data = index},
        {.name = "prompt",
         .type = COLUMN_TEXT,
         .nd = 1,
         .dim = {rows},
         .axis = {"sample"},
         .text_len = text_len,
         .data = prompt},
    };
    char *path = rundir_path(dir, rundir_rollout(relative, it, number));
    struct shard_writer *w = shard_create(path, &h);
    for (size_t i = 0; i < sizeof c / sizeof *c; i++)
        if (shard_put(w, &c[i]) != 0)
            abort();
    if (shard_seal(w, NULL) != 0)
        abort();
    mem_free(path);
}

static bool read_set(const char *path, const char *name, hid_t type, int64_t n,
                     void *out)
{
    hid_t f = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
    hid_t s = H5Dopen2(f, name, H5P_DEFAULT), space = H5Dget_space(s);
    bool good = H5Sget_simple_extent_npoints(space) == n &&
                H5Dread(s, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0;
    H5Sclose(space);
    H5Dclose(s);
    H5Fclose(f);
    return good;
}

int main(void)
{
    enum { TOTAL = ITERATIONS * SHARDS * ROWS - 1 };
    char dir[] = "/tmp/sluice-index.XXXXXX", relative[96], command[64];
    float x[TOTAL * WIDTH];
    int64_t it[TOTAL], bad = -1;
    if (mkdtemp(dir) == NULL || rundir_create(dir) != 0)
        return 1;
    char *path = rundir_path(dir, "index.h5");
    struct text problems = {0};
    tap_ok(index_check(dir, NULL, &bad) == 0 && bad == 0, "no index is no trouble");
    tap_ok(index_write(dir) == 0 && index_check(dir, NULL, &bad) == 0 && bad == 0,
           "an empty run has an empty index: %s", err_text());
    for (int64_t i = 0; i < ITERATIONS; i++)
        for (int64_t k = 0; k < SHARDS; k++)
            put_shard(dir, i, k, i == 1 && k == 1 ? ROWS - 1 : ROWS, 8 + 8 * k);
    tap_ok(index_write(dir) == 0, "an index is written: %s", err_text());
    tap_ok(index_check(dir, NULL, &bad) == 0 && bad == 0, "its sources are there");
    bool good = read_set(path, "rollout/x", H5T_NATIVE_FLOAT, TOTAL * WIDTH, x) &&
                read_set(path, "rollout/iteration", H5T_NATIVE_INT64, TOTAL, it);
    tap_ok(good && x[0] == 0 && it[0] == 0 && x[8 * WIDTH] == 1000 && it[8] == 1 &&
               x[15 * WIDTH + 2] == 2002 && it[15] == 2 && it[TOTAL - 1] == 2 &&
               x[TOTAL * WIDTH - 1] == 2072,
           "samples lie in the order of iteration and shard");
    char *gone = rundir_path(dir, rundir_rollout(relative, 1, 0));
    unlink(gone);
    tap_ok(read_set(path, "rollout/x", H5T_NATIVE_FLOAT, TOTAL * WIDTH, x) &&
               isnan(x[8 * WIDTH]),
           "a missing source reads as NaN");
    put_shard(dir, 2, 0, ROWS - 1, 8);
    tap_ok(index_check(dir, &problems, &bad) == 0 && bad == 2 &&
               strstr(problems.s, "rollout/i000001/s00000.h5 is missing") != NULL &&
               strstr(problems.s, "i000002/s00000.h5 has other content") != NULL,
           "a missing and a changed source are named");
    file_write(path, "rubbish", 7);
    tap_ok(index_check(dir, NULL, &bad) != 0 && err_code() == ERR_INPUT,
           "a damaged index is named: %s", err_text());
    tap_ok(index_write(dir) == 0 && index_check(dir, NULL, &bad) == 0 && bad == 0,
           "and can be written again");
    text_free(&problems);
    mem_free(gone);
    mem_free(path);
    snprintf(command, sizeof command, "rm -rf %s", dir);
    tap_ok(system(command) == 0 && mem_live() == 0, "no memory is lost");
    return tap_done();
}

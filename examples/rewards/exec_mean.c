/* A reward for reward.name=exec, exec.protocol=binary: the mean of each sample's numbers.
 *
 *   cc -O2 -o exec_mean examples/rewards/exec_mean.c
 *   sluice run CONFIG reward.name=exec exec.protocol=binary exec.command=./exec_mean
 *
 * Records are little-endian, as this program's memory is. stages/reward/EXEC.md has all. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct request { /* then float32 [n][c][h][w], int64 number [n], int64 label [n] if labelled */
    char magic[4];
    uint32_t version;
    uint64_t id;
    int64_t n, c, h, w, iteration, labelled;
};
struct reply { /* then float64 score [n], uint8 status [n] */
    char magic[4];
    uint32_t version;
    uint64_t id;
    int64_t n;
};

int main(void)
{
    struct request q;
    printf("sluice-exec 1 binary mean\n");
    fflush(stdout);
    while (fread(&q, sizeof q, 1, stdin) == 1) {
        size_t n = (size_t)q.n, d = (size_t)(q.c * q.h * q.w), more = q.labelled ? 2 * n : n;
        float *x = malloc(n * d * sizeof *x);
        int64_t *numbers = malloc(more * sizeof *numbers);
        double *score = calloc(n, sizeof *score);
        uint8_t *status = calloc(n, 1); /* 0: ok */
        if (memcmp(q.magic, "SLXQ", 4) != 0 || !x || !numbers || !score || !status ||
            fread(x, sizeof *x, n * d, stdin) != n * d ||
            fread(numbers, sizeof *numbers, more, stdin) != more)
            return 1;
        for (size_t i = 0; i < n * d; i++)
            score[i / d] += x[i] / (double)d;
        struct reply r = {{'S', 'L', 'X', 'R'}, 1, q.id, q.n};
        fwrite(&r, sizeof r, 1, stdout);
        fwrite(score, sizeof *score, n, stdout);
        fwrite(status, 1, n, stdout);
        fflush(stdout);
        free(x), free(numbers), free(score), free(status);
    }
    return 0;
}

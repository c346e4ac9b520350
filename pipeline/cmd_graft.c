/* sluice graft: a network with new labels whose embeddings are zero. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/source.h"
#include "stages/diffusion/schedule.h"

#include <stdio.h>
#include <string.h>

#define LABELS_MAX 65536

static const char help[] =
    "usage: sluice graft SOURCE --classes K[,K2...] --out FOLDER [--ema]\n\n"
    "Writes the network of SOURCE (a diffusers model folder, a policy file, or a run\n"
    "directory) with new labels: an embedding for each, zero at first, added to the time\n"
    "embedding, so that p(x|c,y) starts as p(x|c) to the last bit, and a run with\n"
    "reward.name=classifier teaches it y (CTRL; stages/algo/METHODS.md). Several labels give\n"
    "K * K2 * ... joint ones, the last running fastest. A network with C old classes then\n"
    "takes labels c * K + y, c = C for its \"no class\".\n\n"
    "  --classes K,K2  classes of the new labels\n"
    "  --out FOLDER    folder to write; it must not exist\n"
    "  --ema           a policy's running average of the weights instead of the weights\n"
    "  --help          this text\n\n"
    "exit codes: 0 done, 2 usage, 3 bad input, 5 I/O\n";

struct options {
    const char *from, *out, *classes;
    bool ema;
};

static int read_options(int argc, char **argv, struct options *o)
{
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--ema") == 0)
            o->ema = true;
        else if (strcmp(a, "--classes") == 0 && i + 1 < argc)
            o->classes = argv[++i];
        else if (strcmp(a, "--out") == 0 && i + 1 < argc)
            o->out = argv[++i];
        else if (a[0] != '-' && o->from == NULL)
            o->from = a;
        else
            return err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", a);
    }
    if (o->from == NULL || o->out == NULL || o->out[0] == '\0' || o->classes == NULL)
        return err_set(ERR_USAGE, "SOURCE, --classes and --out are needed; see --help");
    if (file_exists(o->out))
        return err_set(ERR_USAGE, "%s: exists already; name another folder", o->out);
    return 0;
}

/* The product of the numbers in "2,2". */
static int read_classes(const char *list, int64_t *labels)
{
    char *all = mem_text(list);
    int rc = 0;
    *labels = 1;
    for (char *p = all, *next; rc == 0 && p != NULL; p = next) {
        int64_t k;
        next = strchr(p, ',');
        if (next != NULL)
            *next++ = '\0';
        if (!text_to_i64(p, &k) || k < 2 || k > LABELS_MAX / *labels)
            rc = err_set(ERR_USAGE,
                         "--classes: '%s': numbers from 2 on with commas, of which the "
                         "product is at most %d",
                         list, LABELS_MAX);
        else
            *labels *= k;
    }
    mem_free(all);
    return rc;
}

/* Beside the folder first, so that a folder of its name is always whole. */
static int put(struct model *m, const char *scheduler, const char *out)
{
    int n = (int)strlen(out);
    while (n > 1 && out[n - 1] == '/')
        n--;
    char *last = text_new("%.*s", n, out), *first = text_new("%s.partial", last);
    int rc = model_export(m, NULL, scheduler, first);
    if (rc == 0)
        rc = file_publish(first, last);
    mem_free(first);
    mem_free(last);
    return rc;
}

static int graft(const struct options *o)
{
    struct source from;
    struct schedule schedule = {0};
    int64_t labels;
    if (read_classes(o->classes, &labels) != 0 ||
        source_open(&from, o->from, -1, o->ema) != 0)
        return -1;
    struct model *m = model_graft(from.model, labels);
    int rc = m == NULL ? err_add("%s", from.path) : 0;
    if (rc == 0 && from.scheduler == NULL)
        rc = schedule_read(&schedule, NULL);
    if (rc == 0)
        rc = put(m, from.scheduler != NULL ? from.scheduler : schedule.json, o->out);
    if (rc == 0)
        printf("%s: %lld labels, %lld parameters\n", o->out, (long long)model_classes(m),
               (long long)param_total(model_params(m)));
    schedule_free(&schedule);
    model_destroy(m);
    source_close(&from);
    return rc;
}

int cmd_graft(int argc, char **argv)
{
    struct options o = {0};
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    return read_options(argc, argv, &o) == 0 && graft(&o) == 0 ? 0 : cmd_fail("graft");
}

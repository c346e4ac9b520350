/* sluice export: a policy as a diffusers pipeline folder. */
#include "pipeline/cmd.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/text.h"
#include "pipeline/source.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice export POLICY|RUNDIR OUT [--ema] [--version V] [--force]\n\n"
    "Writes a policy as a diffusers pipeline folder OUT: model_index.json, unet/ (its\n"
    "config.json as it was read, weights in safetensors), scheduler/. POLICY is a "
    "policy\n"
    "file of a run (policy/vNNNNNN.h5); of RUNDIR the newest one is taken.\n\n"
    "  --ema         the running average of the weights instead of the weights\n"
    "  --version V   this version of RUNDIR's policies\n"
    "  --force       write over what is in OUT\n"
    "  --help        this text\n\n"
    "exit codes: 0 done, 2 usage, 3 bad input, 5 I/O\n";

struct options {
    const char *from, *out;
    int64_t version;
    bool ema, force;
};

static int read_options(int argc, char **argv, struct options *o)
{
    static const char *const names[] = {"--ema", "--version", "--force", "--help"};
    *o = (struct options){.version = -1};
    for (int i = 1; i < argc; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--ema") == 0) {
            o->ema = true;
        } else if (strcmp(a, "--force") == 0) {
            o->force = true;
        } else if (strcmp(a, "--version") == 0) {
            const char *v = i + 1 < argc ? argv[++i] : "";
            if (!text_to_i64(v, &o->version) || o->version < 0)
                return err_set(ERR_USAGE,
                               "--version: '%.100s' is no version (0, 1, ...)", v);
        } else if (a[0] == '-') {
            const char *near = text_nearest(a, names, 4);
            return err_set(ERR_USAGE, "unknown option '%.100s'%s%s", a,
                           near != NULL ? ", did you mean " : "; see --help",
                           near != NULL ? near : "");
        } else if (o->from == NULL) {
            o->from = a;
        } else if (o->out == NULL) {
            o->out = a;
        } else {
            return err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", a);
        }
    }
    if (o->out == NULL)
        return err_set(ERR_USAGE,
                       "name a policy file or run directory, and the folder to "
                       "write; see --help");
    return 0;
}

/* Nothing of anyone's is overwritten unasked. */
static int check_out(const struct options *o)
{
    char **name = NULL;
    int64_t n = 0;
    if (!file_exists(o->out) || (o->force && file_is_dir(o->out)))
        return 0;
    if (!file_is_dir(o->out))
        return err_set(ERR_USAGE, "%s: is a file; name a folder to write", o->out);
    if (file_list(o->out, "", "", &name, &n) != 0)
        return -1;
    file_list_free(name, n);
    if (n > 0)
        return err_set(
            ERR_USAGE,
            "%s: the folder is not empty; choose another, or --force to write "
            "over what is there",
            o->out);
    return 0;
}

int cmd_export(int argc, char **argv)
{
    struct options o;
    struct source s = {0};
    int rc = -1;
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            fputs(help, stdout);
            return 0;
        }
    if (read_options(argc, argv, &o) != 0 || check_out(&o) != 0 ||
        source_open(&s, o.from, o.version, o.ema) != 0)
        goto done;
    if (!s.policy) {
        err_set(ERR_USAGE,
                "%s: is a model folder already; name a policy file or a run "
                "directory",
                o.from);
        goto done;
    }
    rc = model_export(s.model, NULL, s.scheduler, o.out);
    if (rc == 0)
        printf("%s\n", o.out);
done:
    source_close(&s);
    return rc == 0 ? 0 : cmd_fail("export");
}

/* sluice export: a policy as a diffusers pipeline folder; a run in other formats. */
#include "pipeline/cmd.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/text.h"
#include "pipeline/arguments.h"
#include "pipeline/export/export.h"
#include "pipeline/source.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice export POLICY|RUNDIR OUT [--ema] [--version V] [--force]\n"
    "       sluice export RUNDIR [--samples PATH [--iteration I]] [--csv FILE]\n"
    "                            [--tensorboard DIR] [--ro-crate]\n\n"
    "The first form writes a policy as a diffusers pipeline folder OUT: model_index.json,\n"
    "unet/ (its config.json as it was read, weights in safetensors), scheduler/. POLICY is\n"
    "a policy file of a run (policy/vNNNNNN.h5); of RUNDIR the newest one is taken.\n\n"
    "  --ema         the running average of the weights instead of the weights\n"
    "  --version V   this version of RUNDIR's policies\n"
    "  --force       write over what is in OUT\n\n"
    "The second form writes a run in other programs' formats, what is named of:\n\n"
    "  --samples PATH     final samples of an iteration: FILE.png (a grid), .npy, .csv,\n"
    "                     .txt, .svg, .safetensors, or a folder of pictures (of others:\n"
    "                     samples.npy, texts also samples.txt) with rewards.csv\n"
    "  --iteration I      which iteration; the newest\n"
    "  --csv FILE         metrics, a line per iteration\n"
    "  --tensorboard DIR  metrics as an event file\n"
    "  --ro-crate         RUNDIR/ro-crate-metadata.json (RO-Crate 1.1, Process Run Crate)\n\n"
    "  --help             this text\n\n"
    "exit codes: 0 done, 2 usage, 3 bad input, 5 I/O\n";

struct options {
    const char *from, *out;
    int64_t version, iteration;
    bool ema, force, crate;
    const char *samples, *csv, *tensorboard;
};

static bool other_formats(const struct options *o)
{
    return o->samples != NULL || o->csv != NULL || o->tensorboard != NULL || o->crate;
}

/* "--name value": true when argument *i is that option. *rc is -1 where it has no value. */
static bool takes(int argc, char **argv, int *i, const char *name, const char **value, int *rc)
{
    if (strcmp(argv[*i], name) != 0)
        return false;
    if (*i + 1 < argc)
        *value = argv[++*i];
    else
        *rc = err_set(ERR_USAGE, "%s needs a value; see --help", name);
    return true;
}

static int number_of(const char *option, const char *v, int64_t *out)
{
    if (v != NULL && (!text_to_i64(v, out) || *out < 0))
        return err_set(ERR_USAGE, "%s: '%.100s' is no number (0, 1, ...)", option, v);
    return 0;
}

static int check_options(const struct options *o)
{
    if (o->from == NULL || (o->out == NULL && !other_formats(o)))
        return err_set(ERR_USAGE,
                       "name a policy file or run directory, and the folder to "
                       "write; see --help");
    if (o->out != NULL && other_formats(o))
        return err_set(ERR_USAGE, "a policy's folder and other formats are two calls; see "
                                  "--help");
    if (o->iteration >= 0 && o->samples == NULL)
        return err_set(ERR_USAGE, "--iteration goes with --samples");
    if (o->out == NULL && !file_is_dir(o->from))
        return err_set(ERR_USAGE, "%s: is no run directory", o->from);
    return 0;
}

static int read_options(int argc, char **argv, struct options *o)
{
    static const char *const names[] = {"--ema",     "--version",   "--force",
                                        "--help",    "--samples",   "--csv",
                                        "--iteration", "--tensorboard", "--ro-crate"};
    const char *version = NULL, *iteration = NULL;
    int rc = 0;
    *o = (struct options){.version = -1, .iteration = -1};
    for (int i = 1; i < argc && rc == 0; i++) {
        const char *a = argv[i];
        if (strcmp(a, "--ema") == 0) {
            o->ema = true;
        } else if (strcmp(a, "--force") == 0) {
            o->force = true;
        } else if (strcmp(a, "--ro-crate") == 0) {
            o->crate = true;
        } else if (takes(argc, argv, &i, "--version", &version, &rc) ||
                   takes(argc, argv, &i, "--iteration", &iteration, &rc) ||
                   takes(argc, argv, &i, "--samples", &o->samples, &rc) ||
                   takes(argc, argv, &i, "--csv", &o->csv, &rc) ||
                   takes(argc, argv, &i, "--tensorboard", &o->tensorboard, &rc)) {
            continue;
        } else if (a[0] == '-') {
            const char *near = text_nearest(a, names, sizeof names / sizeof *names);
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
    return rc != 0 || number_of("--version", version, &o->version) != 0 ||
                   number_of("--iteration", iteration, &o->iteration) != 0
               ? -1
               : check_options(o);
}

static int export_run(const struct options *o)
{
    if (o->samples != NULL && export_samples(o->from, o->iteration, o->samples) != 0)
        return -1;
    if (o->csv != NULL && export_csv(o->from, o->csv) != 0)
        return -1;
    if (o->tensorboard != NULL && export_tensorboard(o->from, o->tensorboard) != 0)
        return -1;
    if (o->crate && export_ro_crate(o->from) != 0)
        return -1;
    const char *const written[] = {o->samples, o->csv, o->tensorboard};
    for (int k = 0; k < 3; k++)
        if (written[k] != NULL)
            puts(written[k]);
    if (o->crate)
        printf("%s/ro-crate-metadata.json\n", o->from);
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
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    if (read_options(argc, argv, &o) != 0)
        return cmd_fail("export");
    if (o.out == NULL)
        return export_run(&o) == 0 ? 0 : cmd_fail("export");
    if (check_out(&o) != 0 ||
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

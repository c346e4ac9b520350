/* sluice sweep: many runs that differ in a few keys, inside one allocation. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/submit/submit.h"
#include "pipeline/sweep/sweep_parts.h"
#include "pipeline/sweep/sweep_submit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "usage: sluice sweep SWEEP.yaml [section.key=value ...] [OPTIONS]\n"
    "       sluice sweep SWEEP.yaml [section.key=value ...] --submit --ranks N --time TIME\n"
    "       sluice sweep status|collect SWEEPDIR\n\n"
    "Runs a configuration with many values of a few keys, several runs at a time. "
    "Finished\n"
    "members are not run again, unfinished ones go on: the same command resumes. A "
    "member\n"
    "that fails does not stop the others. SIGUSR1, SIGTERM, a file STOP in the folder, "
    "the\n"
    "time limit: all members stop cleanly, exit 75. `status` prints a table of what "
    "there\n"
    "is; `collect` writes it too: table.csv, table.h5 and report.html in SWEEPDIR, as "
    "the\n"
    "end of a sweep does.\n\n"
    "  sweep: {config: run.yaml, dir: runs/sweep, kind: grid}\n"
    "  axes:\n"
    "    update.lr: [1e-4, 3e-4, 1e-3]\n"
    "    algorithm.kl_weight: {from: 1e-3, to: 1, scale: log, points: 4}\n"
    "    run.seed: [1, 2]\n\n"
    "kind: list takes `members:` with `- {section.key: value, ...}` lines in place of "
    "axes.\n"
    "A range draws from it where kind is random (points: not needed).\n\n"
    "  --max-walltime TIME  stop cleanly before TIME (90, 15m, 1:30:00, 1-00:00:00)\n"
    "  --part I/N           only every Nth member, from the Ith (from 0) on\n"
    "  --dry-run            print the members, run nothing\n"
    "  --submit             write a batch script to SWEEPDIR/slurm and hand it to Slurm: one\n"
    "                       job whose --ranks the members share; options below\n"
    "  --array              with --submit: a job array of several members per task\n"
    "  --dry-run            with --submit: print the script, do nothing\n\n"
    "sweep.* sets a key of section sweep, all else the configuration of every member.\n"
    "Keys of section sweep:\n";

/* clang-format off */
static const struct config_key own[] = {
    {"max-walltime", CONFIG_DURATION, "0", 0, 1e9, NULL, false, "stop cleanly before"},
    {"part", CONFIG_TEXT, "", 0, 0, NULL, false, "I/N"},
    {"submit", CONFIG_BOOL, "false", 0, 0, NULL, false, "put it into the queue"},
    {"array", CONFIG_BOOL, "false", 0, 0, NULL, false, "as an array"},
    {"dry-run", CONFIG_BOOL, "false", 0, 0, NULL, false, "print, do nothing"},
    {.key = NULL},
};
/* clang-format on */

/* Those of `sluice submit` that a sweep has too. */
static bool is_shared(const char *key)
{
    static const char *const not[] = {"het", "chain", "block", "dry-run"};
    for (size_t i = 0; i < sizeof not / sizeof *not; i++)
        if (strcmp(key, not[i]) == 0)
            return false;
    return true;
}

/* The options that are not the sweep's own, or all; to be freed with mem_free. */
static struct config_key *make_options(bool all)
{
    struct config_key *k = mem_alloc(submit_keys(own) + submit_keys(submit_options) + 1,
                                     sizeof *k);
    int n = 0;
    for (const struct config_key *p = own; all && p->key != NULL; p++)
        k[n++] = *p;
    for (const struct config_key *p = submit_options; p->key != NULL; p++)
        if (is_shared(p->key))
            k[n++] = *p;
    k[n].key = NULL;
    return k;
}

static void help(void)
{
    struct config_key *shared = make_options(false);
    fputs(usage, stdout);
    for (const struct config_key *k = sweep_settings; k->key != NULL; k++)
        printf("  %-21s %s%s%s%s\n", k->key, k->help,
               k->def[0] != '\0' ? " (default " : "", k->def,
               k->def[0] != '\0' ? ")" : "");
    printf("\nOptions of --submit, as of `sluice submit` (slurm/README.md):\n");
    arguments_option_help(shared);
    mem_free(shared);
}

/* What only a submission reads would be lost without one. */
static int check_options(const struct config *o)
{
    const bool submit = config_bool(o, "submit");
    if (!submit && config_bool(o, "array"))
        return err_set(ERR_USAGE, "--array: goes with --submit");
    for (const struct config_key *k = submit_options; k->key != NULL && !submit; k++)
        if (is_shared(k->key) && strcmp(k->key, "launcher") != 0 &&
            strcmp(config_origin(o, k->key), "default") != 0)
            return err_set(ERR_USAGE, "--%s: goes with --submit", k->key);
    if (submit && (config_text(o, "part")[0] != '\0' || config_real(o, "max-walltime") > 0))
        return err_set(ERR_USAGE, "--part, --max-walltime: are not for --submit, which has "
                                  "--array and --time");
    return 0;
}

/* "I/N" */
static int take_part(const char *text, struct sweep_options *o)
{
    const char *slash = strchr(text, '/');
    if (text[0] == '\0')
        return 0;
    char *first = text_new("%.*s", slash != NULL ? (int)(slash - text) : 0, text);
    bool good = slash != NULL && text_to_i64(first, &o->part) &&
                text_to_i64(slash + 1, &o->parts) && o->part >= 0 && o->part < o->parts;
    mem_free(first);
    return good
               ? 0
               : err_set(ERR_USAGE, "--part %s: I/N with 0 <= I < N is expected", text);
}

/* What there is, printed, and written as tables and a report. */
static int collect(const struct sweep *s, bool rows, bool write)
{
    struct sweep_result *r = sweep_results(s);
    int rc = 0;
    sweep_print(s, r, rows);
    if (write)
        rc = sweep_tables(s, r) != 0 ? -1 : sweep_report(s, r);
    if (write && rc == 0)
        printf("%s/table.csv table.h5 report.html\n", s->dir);
    sweep_results_free(s, r);
    return rc;
}

static int look(int argc, char **argv, bool write)
{
    if (argc != 3)
        return err_set(ERR_USAGE, "name one folder of a sweep; see --help");
    struct sweep *s = sweep_load(argv[2]);
    int rc = s == NULL ? -1 : collect(s, true, write);
    sweep_destroy(s);
    return rc;
}

static void print_members(const struct sweep *s)
{
    for (int64_t i = 0; i < s->members; i++) {
        struct text t = {0};
        sweep_describe(s, &s->member[i], &t);
        printf("%s  %s\n", s->member[i].id, t.s != NULL ? t.s : "");
        text_free(&t);
    }
    for (int64_t k = 0; k < s->rungs; k++)
        printf("rung %lld: %lld members, %lld iterations\n", (long long)k + 1,
               (long long)s->count[k], (long long)s->iterations[k]);
}

/* Whether no member is to be waited for: then an array's task is the last one. */
static bool all_ended(const struct sweep *s)
{
    struct sweep_result *r = sweep_results(s);
    bool all = true;
    for (int64_t i = 0; i < s->members; i++)
        all = all && (r[i].state == SWEEP_FINISHED || r[i].state == SWEEP_FAILED);
    sweep_results_free(s, r);
    return all;
}

/* What there is is put together after a failure too. */
static int go(const struct sweep *s, const struct sweep_options *o)
{
    if (sweep_save(s) != 0)
        return -1;
    int rc = sweep_run(s, o), code = err_code();
    char *text = mem_text(err_text());
    err_clear();
    if ((o->parts == 0 || all_ended(s)) && collect(s, s->members <= 100, true) != 0 && rc == 0)
        rc = -1;
    else if (rc != 0)
        err_set((enum err_code)code, "%s", text);
    mem_free(text);
    return rc;
}

static int sweep(int argc, char **argv, struct config *o, const struct config_key *options)
{
    char **word = mem_alloc(argc, sizeof *word);
    struct sweep_options so = {0};
    int n, rc = arguments_words(o, options, argc, argv, word, &n);
    if (rc == 0 && n == 0)
        rc = err_set(ERR_USAGE, "name a sweep file; see --help");
    if (rc == 0)
        rc = check_options(o);
    if (rc == 0)
        rc = take_part(config_text(o, "part"), &so);
    so.max_walltime_s = config_real(o, "max-walltime");
    so.launcher = config_text(o, "launcher");
    const bool submit = rc == 0 && config_bool(o, "submit");
    struct sweep *s = rc == 0 && !submit ? sweep_plan(word[0], n - 1, word + 1) : NULL;
    if (submit)
        rc = sweep_submit(word[0], n - 1, word + 1, config_bool(o, "array"), o);
    else if (s == NULL)
        rc = -1;
    else if (so.parts > 0 && s->rungs > 0)
        rc = err_set(ERR_USAGE, "--part: halving compares all members with each other");
    else if (config_bool(o, "dry-run"))
        print_members(s);
    else
        rc = go(s, &so);
    sweep_destroy(s);
    mem_free(word);
    return rc;
}

int cmd_sweep(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            help();
            return 0;
        }
    struct config_key *options = make_options(true);
    struct config *o = config_create(options);
    int rc;
    if (getenv("OMPI_COMM_WORLD_SIZE") != NULL || getenv("PMIX_RANK") != NULL)
        rc = err_set(ERR_ENV,
                     "a sweep starts its members' ranks itself: start it without "
                     "mpirun or srun");
    else if (argc > 1 &&
             (strcmp(argv[1], "status") == 0 || strcmp(argv[1], "collect") == 0))
        rc = look(argc, argv, argv[1][0] == 'c');
    else
        rc = sweep(argc, argv, o, options);
    config_destroy(o);
    mem_free(options);
    return rc == 0 ? 0 : cmd_fail("sweep");
}

/* sluice submit: a run as Slurm jobs. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/schema.h"
#include "pipeline/submit/submit.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice submit CONFIG [section.key=value ...] --ranks N --time TIME [OPTIONS]\n\n"
    "Checks the configuration, writes RUNDIR/slurm/job.sbatch, submits it and prints the\n"
    "job's number. The job goes back into the queue before its time limit and when it is\n"
    "preempted, until the run is finished; its log is RUNDIR/log/slurm-JOB.out. Paths in\n"
    "CONFIG begin where this command is called. With --dry-run the script is printed and\n"
    "nothing else happens; that needs no Slurm.\n\n"
    "A site file (YAML) holds what all jobs of a site have in common; slurm/README.md.\n\n";

/* Options into o, the rest into rest[*n]. */
static int sort_arguments(int argc, char **argv, struct config *o, char **rest, int *n)
{
    int rc = 0;
    for (int i = 1; i < argc && rc == 0; i++)
        if (strncmp(argv[i], "--", 2) == 0)
            rc = arguments_option(o, submit_options, argc, argv, &i);
        else
            rest[(*n)++] = argv[i];
    if (rc == 0 && *n == 0)
        rc = err_set(ERR_USAGE, "name a configuration file; see `sluice submit --help`");
    return rc;
}

static void print_scripts(const struct submit *s)
{
    struct text t = {0};
    for (int g = 0; g < (s->kind == SUBMIT_STAGES ? GROUPS : 1); g++)
        submit_script(s, (enum group)g, &t);
    fputs(t.s, stdout);
    text_free(&t);
}

static int submit(struct config *c, const struct config *options, struct config *site)
{
    struct submit s = {0};
    int rc = submit_read_site(site, options);
    if (rc == 0)
        rc = submit_open(&s, c, options, site);
    if (rc == 0)
        submit_plan(&s);
    if (rc == 0 && config_bool(options, "dry-run"))
        print_scripts(&s);
    else if (rc == 0)
        rc = submit_queue(&s) != 0 || submit_send(&s) != 0 ? -1 : 0;
    submit_close(&s);
    return rc;
}

int cmd_submit(int argc, char **argv)
{
    if (arguments_help(argc, argv, help, submit_options, NULL))
        return 0;
    struct config *options = config_create(submit_options);
    struct config *site = config_create(submit_site), *c = NULL;
    char **rest = mem_alloc(argc, sizeof *rest);
    int n = 0, rc = sort_arguments(argc, argv, options, rest, &n);
    if (rc == 0)
        c = schema_load(n, rest);
    rc = c == NULL ? -1 : submit(c, options, site);
    mem_free(rest);
    config_destroy(c);
    config_destroy(site);
    config_destroy(options);
    return rc == 0 ? 0 : cmd_fail("submit");
}

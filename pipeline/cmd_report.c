/* sluice report: one HTML file about a run. */
#include "io/sys/err.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/report/report.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice report RUNDIR [--out FILE]\n\n"
    "Writes RUNDIR/report.html (or FILE): what to change, reward and other curves, heat maps\n"
    "by denoising step, samples by reward, chains from noise to sample, who worked when and\n"
    "who waited for whom, accounting, configuration and provenance, in one file that loads\n"
    "nothing. Works at any time, also while the run goes on. Of a large run few shards are\n"
    "read. Plots need gnuplot; proposals of group sizes need model.path.\n";

int cmd_report(int argc, char **argv)
{
    const char *dir = NULL, *out = NULL;
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--out") == 0 && i + 1 < argc) {
            out = argv[++i];
        } else if (argv[i][0] != '-' && dir == NULL) {
            dir = argv[i];
        } else {
            err_set(ERR_USAGE, "unexpected argument '%.100s'; see --help", argv[i]);
            return cmd_fail("report");
        }
    }
    if (dir == NULL) {
        err_set(ERR_USAGE,
                "which run directory? usage: sluice report RUNDIR [--out FILE]");
        return cmd_fail("report");
    }
    if (report_write(dir, out) != 0)
        return cmd_fail("report");
    if (out != NULL)
        printf("%s\n", out);
    else
        printf("%s/report.html\n", dir);
    return 0;
}

/* The job script, for people too: everything a site's staff would ask about is at its top,
 * and sbatch takes it as it stands. Its second half is one loop of a shell: start the ranks,
 * hand signals on, wait, and decide about going back into the queue. */
#include "pipeline/submit/submit.h"

#include "io/sys/mem.h"
#include "pipeline/submit/submit_quote.h"
#include "pipeline/version.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { DAY = 86400 };

static void option(struct text *out, const char *name, const char *value)
{
    if (value[0] == '\0')
        return;
    text_add(out, "#SBATCH --%s=", name);
    submit_quote_option(out, value);
    text_add(out, "\n");
}

static void number(struct text *out, const char *name, int64_t value)
{
    text_add(out, "#SBATCH --%s=%lld\n", name, (long long)value);
}

/* The directory as Slurm reads it in names of log files, where % begins a pattern. */
static void log_name(const struct submit *s, struct text *out)
{
    struct text name = {0};
    for (const char *p = s->dir; *p != '\0'; p++)
        text_add(&name, "%s%c", *p == '%' ? "%" : "", *p);
    text_add(&name, "/log/slurm-%s.out", s->indices != NULL ? "%A_%a" : "%j");
    option(out, "output", name.s);
    text_free(&name);
}

static void job_name(const struct submit *s, enum group stage, struct text *out)
{
    const char *given = config_text(s->options, "name"), *slash = strrchr(s->dir, '/');
    char *name = text_new("%s%s%s", given[0] != '\0' ? given : slash + 1,
                          s->kind == SUBMIT_STAGES ? "-" : "",
                          s->kind == SUBMIT_STAGES ? group_name(stage) : "");
    option(out, "job-name", name);
    mem_free(name);
}

static bool has_word(char *const *words, const char *start)
{
    for (; words != NULL && *words != NULL; words++)
        if (strncmp(*words, start, strlen(start)) == 0)
            return true;
    return false;
}

/* --mem, or the site's, or by `sluice plan`: for a node where it is known what stands on
 * one, else for a core. bytes: of a rank. */
static void memory(const struct submit *s, double bytes, int64_t ranks, struct text *out)
{
    const char *given = config_text(s->options, "mem");
    const double mib = 1048576;
    option(out, "mem", given);
    if (given[0] != '\0' || has_word(s->sbatch, "--mem") || bytes <= 0)
        return;
    text_add(out, "# Memory: `sluice plan` and a margin; --mem to decide yourself.\n");
    if (has_word(s->sbatch, "--exclusive"))
        text_add(out, "#SBATCH --mem=0\n# 0: all of the node. A rank takes about %.0fM.\n",
                 ceil(bytes / mib));
    else if (s->memory.node > 0 && s->nodes <= ranks)
        text_add(out, "#SBATCH --mem=%.0fM\n", ceil(s->memory.node / mib));
    else
        text_add(out, "#SBATCH --mem-per-cpu=%.0fM\n",
                 ceil(bytes / mib / (double)s->cpus));
}

/* What each part of a heterogeneous job has to be told. bytes: memory of a rank. */
static void resources(const struct submit *s, int64_t ranks, const char *partition,
                      double bytes, struct text *out)
{
    if (s->time_s > 0)
        text_add(out, "#SBATCH --time=%lld-%02lld:%02lld:%02lld\n",
                 (long long)(s->time_s / DAY), (long long)(s->time_s % DAY / 3600),
                 (long long)(s->time_s % 3600 / 60), (long long)(s->time_s % 60));
    option(out, "partition", partition[0] != '\0' ? partition : submit_chosen(s, "partition"));
    option(out, "account", submit_chosen(s, "account"));
    option(out, "qos", submit_chosen(s, "qos"));
    number(out, "ntasks", ranks);
    if (s->nodes > 0) {
        int64_t nodes = s->nodes < ranks ? s->nodes : ranks;
        number(out, "nodes", nodes);
        number(out, "ntasks-per-node", (ranks + nodes - 1) / nodes);
    }
    number(out, "cpus-per-task", s->cpus);
    memory(s, bytes, ranks, out);
    for (char **w = s->sbatch; w != NULL && *w != NULL; w++) {
        const char *eq = strchr(*w, '=');
        text_add(out, "#SBATCH %.*s", (int)(eq != NULL ? eq + 1 - *w : (int64_t)strlen(*w)),
                 *w);
        if (eq != NULL)
            submit_quote_option(out, eq + 1);
        text_add(out, "\n");
    }
}

/* Groups that follow each other on one partition are one part. Returns their number. */
static int parts(const struct submit *s, struct text *out)
{
    int n = 0;
    for (int g = 0; g < GROUPS;) {
        int first = g;
        int64_t ranks = 0;
        double bytes = 0;
        if (n++ > 0 && out != NULL)
            text_add(out, "#SBATCH hetjob\n");
        for (; g < GROUPS && strcmp(s->partition[g], s->partition[first]) == 0; g++) {
            ranks += s->group_ranks[g];
            bytes = fmax(bytes, s->memory.group[g]);
            if (out != NULL)
                text_add(out, "# %s: %lld rank(s)\n", group_name((enum group)g),
                         (long long)s->group_ranks[g]);
        }
        if (out != NULL)
            resources(s, ranks, s->partition[first], bytes, out);
    }
    return n;
}

static void head(const struct submit *s, enum group stage, struct text *out)
{
    char *path = submit_script_path(s, stage);
    text_add(out, "#!/bin/bash\n# Written by `sluice submit` (sluice %s). The same again:\n#   "
                  "sbatch ",
             version_number());
    submit_quote(out, path);
    text_add(out, "%s\n# It goes on with the run wherever that stands. slurm/README.md "
                  "explains it.\n#\n",
             s->kind == SUBMIT_BLOCKS ? " ITERATIONS" : "");
    mem_free(path);
    job_name(s, stage, out);
    log_name(s, out);
    const char *after = config_text(s->options, "after");
    if (after[0] != '\0')
        text_add(out, "#SBATCH --dependency=%s%s\n",
                 strncmp(after, "after", 5) == 0 ? "" : "afterok:", after);
    text_add(out, "#SBATCH --open-mode=append\n#SBATCH --requeue\n");
    text_add(out, "#SBATCH --signal=B:USR1@%lld\n", (long long)s->signal_s);
    if (s->kind == SUBMIT_HET)
        parts(s, out);
    else if (s->kind == SUBMIT_STAGES)
        resources(s, s->group_ranks[stage], s->partition[stage], s->memory.group[stage], out);
    else
        resources(s, s->ranks, "", s->memory.rank, out);
    if (s->indices != NULL)
        option(out, "array", s->indices);
}

static void modules(const struct submit *s, struct text *out)
{
    const char *p = config_text(s->site, "modules");
    if (p[strspn(p, " ")] == '\0')
        return;
    text_add(out, "module load");
    while (*(p += strspn(p, " ")) != '\0') {
        size_t n = strcspn(p, " ");
        char *word = text_new("%.*s", (int)n, p);
        text_add(out, " ");
        submit_quote(out, word);
        mem_free(word);
        p += n;
    }
    text_add(out, " || exit 4\n");
}

static void surroundings(const struct submit *s, struct text *out)
{
    text_add(out, "\ndir=");
    submit_quote(out, s->dir);
    text_add(out, "\ncd -- ");
    submit_quote(out, s->cwd);
    text_add(out, " || exit 4 # paths in the configuration begin here\n");
    modules(s, out);
    for (char **w = s->environment; w != NULL && *w != NULL; w++) {
        const char *eq = strchr(*w, '=');
        text_add(out, "export %.*s=", (int)(eq - *w), *w);
        submit_quote(out, eq + 1);
        text_add(out, "\n");
    }
    if (config_text(s->site, "setup")[0] != '\0')
        text_add(out, "%s\n", config_text(s->site, "setup"));
}

static void word(struct text *out, const char *value)
{
    text_add(out, " ");
    submit_quote(out, value);
}

static void container(const struct submit *s, struct text *out)
{
    const char *image = config_text(s->options, "container");
    if (image[0] == '\0')
        return;
    for (char **w = s->container; w != NULL && *w != NULL; w++)
        word(out, *w);
    text_add(out, " --bind \"$dir\" --bind ");
    submit_quote(out, s->cwd);
    word(out, image);
}

/* `start sluice sweep ...`: it starts its members' ranks itself. */
static void launch_sweep(const struct submit *s, struct text *out)
{
    text_add(out, "start");
    container(s, out);
    word(out, s->program);
    for (char *const *w = s->word; *w != NULL; w++) {
        text_add(out, " \\\n   ");
        word(out, *w);
    }
    if (s->indices != NULL)
        text_add(out, " \\\n    --part \"$SLURM_ARRAY_TASK_ID/%lld\"", (long long)s->tasks);
    text_add(out, "\n");
}

/* `start srun ... sluice`, without the command. */
static void launch(const struct submit *s, struct text *out)
{
    text_add(out, "start");
    for (char **w = s->launcher; *w != NULL; w++)
        word(out, *w);
    if (s->srun) {
        text_add(out, " --kill-on-bad-exit=0 --cpus-per-task=%lld", (long long)s->cpus);
        int n = s->kind == SUBMIT_HET ? parts(s, NULL) : 1;
        for (int i = 0; i < n && n > 1; i++)
            text_add(out, "%s%d", i == 0 ? " --het-group=" : ",", i);
    } else {
        if (!has_word(s->launcher, "--bind-to") && !has_word(s->launcher, "--map-by"))
            text_add(out, " --bind-to none");
        text_add(out, " -np \"$SLURM_NTASKS\"");
    }
    text_add(out, " \\\n   ");
    container(s, out);
    word(out, s->program);
}

static const char waiting[] =
    "\n"
    "# USR1 comes before the time limit, TERM with a preemption, scancel or requeue. The run\n"
    "# finishes the work in hand and ends with 75. The launcher gets USR1 for both: TERM would\n"
    "# make it kill the ranks.\n"
    "asked=\npid=\nrc=0\n"
    "trap 'asked=1; [ -z \"$pid\" ] || kill -USR1 \"$pid\"' USR1 TERM\n"
    "\n"
    "# start COMMAND...: its exit code is in $rc. `wait` returns at each signal.\n"
    "start() {\n"
    "    local last\n"
    "    \"$@\" &\n"
    "    pid=$!\n"
    "    [ -z \"$asked\" ] || kill -USR1 \"$pid\"\n"
    "    wait \"$pid\"; rc=$?\n"
    "    while [ \"$rc\" -gt 128 ] && kill -0 \"$pid\" 2>/dev/null; do wait \"$pid\"; rc=$?; done\n"
    "    if [ \"$rc\" -gt 128 ]; then # the signal fell between two waits\n"
    "        wait \"$pid\" 2>/dev/null; last=$?\n"
    "        [ \"$last\" -eq 127 ] || rc=$last\n"
    "    fi\n"
    "    pid=\n"
    "}\n"
    "\n";

static const char stopped_sweep[] =
    "\n"
    "# Stopped early, with something left to do: 75; 138 where it had not begun. Everything\n"
    "# else is final.\n"
    "[ \"$rc\" -eq 75 ] || { [ -n \"$asked\" ] && [ \"$rc\" -eq 138 ]; } || exit \"$rc\"\n"
    "if [ -e \"$dir/STOP\" ]; then\n";

static const char stopped_run[] =
    "\n"
    "# Stopped early, with something left to do: 75; 138 where the ranks had not begun; or what\n"
    "# a mpirun that got TERM itself says. Everything else is final.\n"
    "stopped() {\n"
    "    [ \"$rc\" -eq 75 ] || { [ -n \"$asked\" ] && { [ \"$rc\" -eq 138 ] ||\n"
    "        grep -qs '\"state\": *\"stopped\"' \"$dir/status.json\"; }; }\n"
    "}\n"
    "stopped || exit \"$rc\"\n"
    "if grep -qs '\"message\": *\"STOP file\"' \"$dir/status.json\"; then\n";

static const char queueing[] =
    "    echo 'stopped by the file STOP: not put back into the queue'\n"
    "    exit \"$rc\"\n"
    "fi\n"
    "# After scancel, scontrol requeue and most preemptions Slurm itself has decided. A job that\n"
    "# was warned is still running; one that is ended at its limit has that as its reason.\n"
    "job=$SLURM_JOB_ID\n"
    "[ -z \"${SLURM_ARRAY_TASK_ID:-}\" ] || job=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID\n"
    "state=$(squeue -h -j \"$job\" -o '%T %r' | head -n 1)\n"
    "case $state in\n"
    "RUNNING* | *TimeLimit*) ;;\n"
    "*) echo \"stopped early; Slurm says: $state\"; exit \"$rc\" ;;\n"
    "esac\n";

void submit_script(const struct submit *s, enum group stage, struct text *out)
{
    head(s, stage, out);
    surroundings(s, out);
    text_add(out, "%s", waiting);
    if (s->kind == SUBMIT_SWEEP) {
        launch_sweep(s, out);
    } else if (s->kind == SUBMIT_STAGES) {
        launch(s, out);
        text_add(out, " stage %s \"$dir\"\n", group_name(stage));
    } else {
        char *config = submit_file(s, "config", "yaml");
        launch(s, out);
        text_add(out, " run \"$dir/slurm/%s\"%s\n", config,
                 s->kind == SUBMIT_BLOCKS ? " ${1:+run.iterations=\"$1\"}" : "");
        mem_free(config);
    }
    text_add(out, "%s%s", s->kind == SUBMIT_SWEEP ? stopped_sweep : stopped_run, queueing);
    text_add(out,
             "if [ \"${SLURM_RESTART_COUNT:-0}\" -ge %lld ]; then\n"
             "    echo 'stopped early; it was put back into the queue %lld times already'\n"
             "    exit \"$rc\"\n"
             "fi\n"
             "echo 'stopped early; back into the queue'\n"
             "scontrol requeue \"$job\"\n"
             "exit \"$rc\"\n",
             (long long)s->requeue_max, (long long)s->requeue_max);
}

char *submit_script_path(const struct submit *s, enum group stage)
{
    char *name = submit_file(s, s->kind == SUBMIT_STAGES ? group_name(stage) : "job", "sbatch");
    char *path = text_new("%s/slurm/%s", s->dir, name);
    mem_free(name);
    return path;
}

char *submit_file(const struct submit *s, const char *name, const char *end)
{
    return s->edition == 1 ? text_new("%s.%s", name, end)
                           : text_new("%s-%lld.%s", name, (long long)s->edition, end);
}

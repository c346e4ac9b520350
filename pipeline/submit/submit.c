/* What a submission asks for. All that reaches a script is checked here: values that name
 * things of Slurm have few characters, everything else is one line and is quoted where it is
 * written. Site files are their owner's: `setup` goes into the script as it is. */
#include "pipeline/submit/submit.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/schema.h"
#include "pipeline/settings.h"
#include "pipeline/submit/submit_quote.h"
#include "stages/reward/exec_command.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int check_words(const struct submit *s)
{
    static const char *const keys[] = {"partition", "account", "qos"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (submit_check_word(keys[i], submit_chosen(s, keys[i])) != 0)
            return -1;
    const char *after = config_text(s->options, "after");
    const char *ids = strncmp(after, "afterany:", 9) == 0 ? after + 9 : after;
    if (ids[strspn(ids, "0123456789_:")] != '\0' || (ids != after && ids[0] == '\0'))
        return err_set(ERR_USAGE, "--after %.100s: takes numbers of jobs: 1234, 1234:1235 or "
                                  "afterany:1234",
                       after);
    const char *mem = config_text(s->options, "mem");
    size_t digits = strspn(mem, "0123456789");
    if (mem[0] != '\0' && (digits == 0 || strlen(mem) > digits + 1 ||
                           strspn(mem + digits, "KMGT") != strlen(mem + digits)))
        return err_set(ERR_USAGE, "--mem %.100s: takes a number and K, M, G or T", mem);
    for (char **w = s->sbatch; w != NULL && *w != NULL; w++)
        if (strncmp(*w, "--", 2) != 0)
            return err_set(ERR_USAGE,
                           "site file: sbatch: '%.100s': write options as --name=value", *w);
    for (char **w = s->environment; w != NULL && *w != NULL; w++) {
        static const char name[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_"
                                   "0123456789";
        size_t n = strspn(*w, name);
        if (n == 0 || (*w)[n] != '=' || ((*w)[0] >= '0' && (*w)[0] <= '9'))
            return err_set(ERR_USAGE,
                           "site file: environment: '%.100s': write NAME=VALUE", *w);
    }
    return 0;
}

/* Words of a line, NULL without an error where it is empty. */
static int split(char ***words, const char *what, const char *line)
{
    *words = NULL;
    if (line[strspn(line, " ")] == '\0')
        return 0;
    *words = exec_command_words(line);
    return *words == NULL ? err_add("%s", what) : 0;
}

static int read_words(struct submit *s)
{
    if (split(&s->launcher, "launcher", submit_chosen(s, "launcher")) != 0 ||
        split(&s->sbatch, "site file: sbatch", config_text(s->site, "sbatch")) != 0 ||
        split(&s->environment, "site file: environment",
              config_text(s->site, "environment")) != 0 ||
        split(&s->container, "site file: container", config_text(s->site, "container")) != 0)
        return -1;
    if (s->launcher == NULL)
        return err_set(ERR_USAGE, "launcher: name srun or mpirun");
    const char *slash = strrchr(s->launcher[0], '/');
    s->srun = strcmp(slash != NULL ? slash + 1 : s->launcher[0], "srun") == 0;
    return check_words(s);
}

/* A bare number is seconds here and minutes for Slurm: it is refused. */
static int read_times(struct submit *s)
{
    const char *time = config_text(s->options, "time");
    double seconds = 0;
    if (time[0] != '\0' &&
        (!text_to_seconds(time, &seconds) || seconds < 1 || seconds > 1e9 ||
         time[strspn(time, "0123456789")] == '\0'))
        return err_set(ERR_USAGE,
                       "--time %.100s: write it with its unit: 90m, 4h, 12:00:00 "
                       "(hours:minutes:seconds), 1-00:00:00",
                       time);
    s->time_s = (int64_t)ceil(seconds);
    double lead = config_real(s->options, "signal");
    s->signal_s = (int64_t)ceil(lead > 0 ? lead : config_real(s->site, "signal"));
    if (s->time_s > 0 && s->signal_s >= s->time_s)
        return err_set(ERR_USAGE,
                       "--signal: the run would be asked to stop %lld s before a limit of "
                       "%lld s: give more --time or a smaller --signal",
                       (long long)s->signal_s, (long long)s->time_s);
    int64_t most = config_int(s->options, "requeue-max");
    s->requeue_max = most >= 0 ? most : config_int(s->site, "requeue_max");
    return 0;
}

/* Ranks and partition of one group: "rollout=16:gpu". */
static int read_group(struct submit *s, char *word)
{
    enum group g;
    char *eq = strchr(word, '='), *colon = strchr(word, ':');
    if (colon != NULL)
        *colon++ = '\0';
    if (eq != NULL)
        *eq++ = '\0';
    if (eq == NULL || !group_from_name(word, &g) || !text_to_i64(eq, &s->group_ranks[g]) ||
        s->group_ranks[g] < 1 || s->group_ranks[g] > 100000)
        return err_set(ERR_USAGE,
                       "--het: '%.100s' is no group with its ranks: rollout=16:cpu,"
                       "reward=1,advantage=1,update=8:big",
                       word);
    if (colon == NULL)
        return 0;
    if (strlen(colon) >= sizeof s->partition[g])
        return err_set(ERR_USAGE, "--het: the name of %s's partition is too long", word);
    snprintf(s->partition[g], sizeof s->partition[g], "%s", colon);
    return submit_check_word("--het", colon);
}

static int read_groups(struct submit *s)
{
    char *list = mem_text(config_text(s->options, "het"));
    int rc = 0;
    for (char *p = list; *p != '\0' && rc == 0;) {
        size_t n = strcspn(p, ",");
        char *next = p + n + (p[n] == ',');
        p[n] = '\0';
        if (n > 0)
            rc = read_group(s, p);
        p = next;
    }
    mem_free(list);
    for (int g = 0; g < GROUPS && rc == 0; g++)
        if (s->group_ranks[g] == 0) {
            s->group_ranks[g] = 1;
            if (g > 0)
                memcpy(s->partition[g], s->partition[g - 1], sizeof s->partition[g]);
        }
    return rc;
}

static int set_group(struct submit *s, int g)
{
    char *text = text_new("groups.%s=%lld", group_name((enum group)g),
                          (long long)s->group_ranks[g]);
    int rc = config_override(s->config, text);
    mem_free(text);
    return rc;
}

/* --het: the groups' sizes are the configuration's from here on. */
static int fit_het(struct submit *s)
{
    int rc = read_groups(s);
    if (rc == 0 && !s->srun)
        rc = err_set(ERR_USAGE, "--het: %s starts ranks in the first part of a heterogeneous "
                                "job only: use --launcher \"srun --mpi=pmix\"",
                     s->launcher[0]);
    if (rc == 0 && s->nodes > 0)
        rc = err_set(ERR_USAGE, "--nodes: the parts of a heterogeneous job have theirs; leave "
                                "it out");
    s->ranks = 0;
    for (int g = 0; g < GROUPS && rc == 0; g++) {
        s->ranks += s->group_ranks[g];
        rc = set_group(s, g);
    }
    return rc != 0 ? rc : config_override(s->config, "groups.placement=split");
}

static int fit_stages(struct submit *s)
{
    if (config_text(s->options, "het")[0] != '\0')
        return read_groups(s);
    for (int g = 0; g < GROUPS; g++)
        s->group_ranks[g] = s->ranks;
    return 0;
}

/* Ranks, from --ranks or from groups that are all numbers; 0: not known. */
static int read_ranks(struct submit *s)
{
    int64_t a = config_int(s->options, "ranks"), b = config_int(s->options, "ntasks");
    if (a > 0 && b > 0 && a != b)
        return err_set(ERR_USAGE, "--ranks and --ntasks are the same; give one");
    s->ranks = a > 0 ? a : b;
    if (s->ranks > 0)
        return 0;
    int64_t sum = 0;
    for (int g = 0; g < GROUPS; g++) {
        char key[32];
        snprintf(key, sizeof key, "groups.%s", group_name((enum group)g));
        if (config_is(s->config, key, "auto"))
            return 0;
        sum += config_int(s->config, key);
    }
    s->ranks = sum;
    return 0;
}

static int fit_layout(struct submit *s)
{
    struct layout layout;
    const bool het = config_text(s->options, "het")[0] != '\0';
    const bool stages = config_is(s->options, "chain", "stages");
    s->kind = stages                                       ? SUBMIT_STAGES
              : config_is(s->options, "chain", "blocks") ? SUBMIT_BLOCKS
              : het                                        ? SUBMIT_HET
                                                           : SUBMIT_ONE;
    if (het && s->kind == SUBMIT_BLOCKS)
        return err_set(ERR_USAGE, "--het and --chain blocks: choose one");
    s->nodes = config_int(s->options, "nodes");
    s->cpus = config_int(s->options, "cpus-per-rank");
    if (s->cpus == 0)
        s->cpus = config_is(s->config, "groups.threads", "auto")
                      ? 1
                      : config_int(s->config, "groups.threads");
    s->block = config_int(s->options, "block");
    if (read_ranks(s) != 0)
        return -1;
    if (s->kind == SUBMIT_HET)
        return fit_het(s) != 0 ? -1 : settings_layout(&layout, s->config, (int)s->ranks);
    if (s->ranks == 0 && !(stages && het))
        return err_set(ERR_USAGE, "--ranks: how many MPI ranks? (groups.* are not all "
                                  "numbers)");
    if (s->nodes > s->ranks && !stages)
        return err_set(ERR_USAGE, "--nodes %lld: more than the %lld ranks",
                       (long long)s->nodes, (long long)s->ranks);
    return s->kind == SUBMIT_STAGES ? fit_stages(s)
                                    : settings_layout(&layout, s->config, (int)s->ranks);
}

/* A leading $NAME of site's scratch. */
static int scratch_of(const struct submit *s, struct text *out)
{
    const char *text = config_text(s->site, "scratch");
    if (text[0] != '$') {
        text_add(out, "%s", text);
        return 0;
    }
    size_t n = strcspn(text, "/");
    char *name = text_new("%.*s", (int)n - 1, text + 1);
    const char *value = getenv(name);
    int rc = 0;
    if (value == NULL || value[0] != '/')
        rc = err_set(ERR_USAGE, "site file: scratch: $%s holds no path here", name);
    else
        text_add(out, "%s%s", value, text + n);
    mem_free(name);
    return rc;
}

/* The directory becomes absolute: the job may start elsewhere. */
static int place(struct submit *s, const char *key, const char *dir)
{
    struct text full = {0};
    int rc = 0;
    if (dir[0] == '\0')
        return err_set(ERR_USAGE, "%s is not set: name the directory", key);
    if (getcwd(s->cwd, sizeof s->cwd) == NULL)
        return err_set_errno("cannot find the working directory", ".");
    if (dir[0] != '/') {
        rc = scratch_of(s, &full);
        if (rc == 0)
            text_add(&full, "%s%s", full.len > 0 ? "" : s->cwd, "/");
    }
    text_add(&full, "%s", dir);
    while (full.len > 1 && full.s[full.len - 1] == '/')
        full.s[--full.len] = '\0';
    if (rc == 0 && full.len >= 3800)
        rc = err_set(ERR_USAGE, "%s: the path is too long", key);
    if (rc == 0 && strchr(full.s, '\\') != NULL)
        rc = err_set(ERR_USAGE, "%s: Slurm's names of log files cannot hold a backslash", key);
    if (rc == 0)
        snprintf(s->dir, sizeof s->dir, "%s", full.s);
    text_free(&full);
    return rc;
}

static int place_run(struct submit *s)
{
    if (place(s, "run.dir", config_text(s->config, "run.dir")) != 0)
        return -1;
    char *set = text_new("run.dir=%s", s->dir);
    int rc = config_override(s->config, set);
    mem_free(set);
    return rc;
}

static int find_program(struct submit *s)
{
    const char *given = config_text(s->options, "program");
    const bool inside = config_text(s->options, "container")[0] != '\0';
    if (given[0] == '\0' && !inside) {
        ssize_t n = readlink("/proc/self/exe", s->program, sizeof s->program - 1);
        if (n < 0)
            return err_set_errno("cannot find the program", "/proc/self/exe");
        s->program[n] = '\0';
    } else {
        snprintf(s->program, sizeof s->program, "%s", given[0] != '\0' ? given : "sluice");
    }
    if (inside && (strpbrk(s->dir, ":,") != NULL || strpbrk(s->cwd, ":,") != NULL))
        return err_set(ERR_USAGE, "--container: %s and %s are bound into it, so neither may "
                                  "hold a ':' or ','",
                       s->dir, s->cwd);
    return submit_check_line("the program's path", s->program) != 0 ||
                   submit_check_line("the working directory", s->cwd) != 0 ||
                   submit_check_line("the directory", s->dir) != 0
               ? -1
               : 0;
}

/* A run that exists must be one of this configuration. */
static int compare(const struct submit *s)
{
    char *path = text_new("%s/config.yaml", s->dir);
    struct config *old = config_create(schema);
    int rc = file_exists(path) ? config_read(old, path) : 1;
    const char *key = rc == 0 ? config_difference(old, s->config) : NULL;
    if (key != NULL)
        rc = err_set(ERR_USAGE,
                     "%s: this directory belongs to a run with another %s; choose another "
                     "run.dir, or restore the value (see its config.yaml)",
                     s->dir, key);
    config_destroy(old);
    mem_free(path);
    return rc < 0 ? -1 : 0;
}

int submit_open(struct submit *s, struct config *c, const struct config *options,
                const struct config *site)
{
    *s = (struct submit){.config = c, .options = options, .site = site, .edition = 1};
    return read_words(s) != 0 || read_times(s) != 0 || place_run(s) != 0 ||
                   find_program(s) != 0 || fit_layout(s) != 0 || compare(s) != 0 ||
                   settings_check(c) != 0
               ? -1
               : 0;
}

static int fit_sweep(struct submit *s, const struct submit_sweep *w)
{
    int64_t a = config_int(s->options, "ranks"), b = config_int(s->options, "ntasks");
    s->kind = SUBMIT_SWEEP;
    s->nodes = config_int(s->options, "nodes");
    s->cpus = config_int(s->options, "cpus-per-rank");
    if (s->cpus == 0)
        s->cpus = w->threads;
    s->ranks = a > 0 ? a : b > 0 ? b : w->array ? w->ranks : 0;
    if (a > 0 && b > 0 && a != b)
        return err_set(ERR_USAGE, "--ranks and --ntasks are the same; give one");
    if (s->ranks < w->ranks)
        return err_set(ERR_USAGE, "--ranks: how many MPI ranks for all members together? A "
                                  "member has sweep.ranks = %lld of them",
                       (long long)w->ranks);
    if (s->nodes > s->ranks)
        return err_set(ERR_USAGE, "--nodes %lld: more than the %lld ranks",
                       (long long)s->nodes, (long long)s->ranks);
    if (config_text(s->options, "container")[0] != '\0' && (w->ranks > 1 || s->nodes > 1))
        return err_set(ERR_USAGE, "--container: inside of it no launcher is at hand: members of "
                                  "one rank on one node only");
    return 0;
}

int submit_open_sweep(struct submit *s, const struct submit_sweep *w,
                      const struct config *options, const struct config *site)
{
    *s = (struct submit){.options = options, .site = site, .edition = 1};
    return read_words(s) != 0 || read_times(s) != 0 || place(s, "sweep.dir", w->dir) != 0 ||
                   find_program(s) != 0 || fit_sweep(s, w) != 0
               ? -1
               : 0;
}

void submit_close(struct submit *s)
{
    char **const lists[] = {s->launcher, s->sbatch, s->environment, s->container};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        if (lists[i] != NULL)
            exec_command_free(lists[i]);
    text_free(&s->queued);
}

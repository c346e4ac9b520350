/* Fronts. A member is DIR/NAME/KEY=VALUE with its run, its evaluation.json and log.txt; the
 * evaluation is made last, under the arguments and the configuration in evaluation.args, so
 * a member with both is finished. */
#include "pipeline/measure/front.h"

#include "io/json.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/child.h"
#include "pipeline/openmpi.h"
#include "pipeline/schema.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { WORDS = 256, NAMES = 512, NAME = 96, JSON_MOST = 16 << 20 };

struct member {
    const char *config, *value;
    char *dir;
    double *number; /* [NAMES], NaN: absent */
};

struct front {
    const struct front_options *o;
    struct member *member;
    int64_t members, configs, values;
    char (*name)[NAME]; /* [names] of measures, by first appearance */
    int64_t names;
    int x, y, error; /* columns; error: of y, -1 none */
    char self[4096];
};

static int64_t count(const char *const *list)
{
    int64_t n = 0;
    while (list[n] != NULL)
        n++;
    return n;
}

/* "configs/power.yaml" -> "power" */
static char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/'), *name = slash != NULL ? slash + 1 : path;
    const char *dot = strrchr(name, '.');
    return text_new("%.*s", (int)(dot != NULL ? dot - name : (int64_t)strlen(name)), name);
}

/* Members of configurations of one name would share folders. */
static int check_names(const struct front_options *o)
{
    int rc = 0;
    for (int64_t i = 0; o->config[i] != NULL && rc == 0; i++)
        for (int64_t k = 0; k < i && rc == 0; k++) {
            char *a = name_of(o->config[i]), *b = name_of(o->config[k]);
            if (strcmp(a, b) == 0)
                rc = err_set(ERR_USAGE,
                             "%s and %s: both would go to %s/%s; give one another name",
                             o->config[k], o->config[i], o->dir, a);
            mem_free(a);
            mem_free(b);
        }
    return rc;
}

static void make_members(struct front *f)
{
    f->configs = count(f->o->config);
    f->values = count(f->o->value);
    f->members = f->configs * f->values;
    f->member = mem_alloc(f->members, sizeof *f->member);
    f->name = mem_alloc(NAMES, sizeof *f->name);
    for (int64_t i = 0; i < f->members; i++) {
        struct member *m = &f->member[i];
        m->config = f->o->config[i / f->values];
        m->value = f->o->value[i % f->values];
        char *name = name_of(m->config);
        m->dir = text_new("%s/%s/%s=%s", f->o->dir, name, f->o->key, m->value);
        m->number = mem_alloc(NAMES, sizeof *m->number);
        for (int k = 0; k < NAMES; k++)
            m->number[k] = NAN;
        mem_free(name);
    }
}

static void free_members(struct front *f)
{
    for (int64_t i = 0; i < f->members; i++) {
        mem_free(f->member[i].dir);
        mem_free(f->member[i].number);
    }
    mem_free(f->member);
    mem_free(f->name);
}

/* Words of a command; owned ones are freed together. */
struct command {
    char *word[WORDS];
    int n;
};

static void add(struct command *c, const char *fmt, const char *a, const char *b)
{
    ERR_BUG_IF(c->n + 1 >= WORDS);
    struct text t = {0};
    for (const char *p = fmt; *p != '\0'; p++)
        text_add(&t, "%s", *p == 'a' ? a : *p == 'b' ? b : "=");
    c->word[c->n++] = mem_text(t.s);
    text_free(&t);
}

static void begin(struct command *c, const struct front *f, const char *name)
{
    *c = (struct command){.n = 0};
    for (const char *p = f->o->launch; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, " ");
        char *word = text_new("%.*s", (int)n, p);
        if (n > 0)
            add(c, "a", word, NULL);
        mem_free(word);
        p += n + strspn(p + n, " ");
    }
    add(c, "a", f->self, NULL);
    add(c, "a", name, NULL);
}

static int finish(struct command *c, const char *log)
{
    int code = child_run(c->word, log);
    for (int i = 0; i < c->n; i++)
        mem_free(c->word[i]);
    return code;
}

/* What a child's code means for the front. */
static int judge(int code, const struct member *m, const char *what)
{
    if (code == 0 || code < 0)
        return code;
    return err_set(code == ERR_STOPPED ? ERR_STOPPED
                   : code < 9         ? (enum err_code)code
                                      : ERR_ENV,
                   "%s: %s %s with code %d; %s/log.txt says why%s", m->dir, what,
                   code == ERR_STOPPED ? "stopped early," : "ended", code, m->dir,
                   code == ERR_STOPPED ? "; the same command goes on" : "");
}

static int train(const struct front *f, const struct member *m, const char *run,
                 const char *log)
{
    struct command c;
    begin(&c, f, "run");
    add(&c, "a", m->config, NULL);
    for (int64_t i = 0; f->o->override[i] != NULL; i++)
        add(&c, "a", f->o->override[i], NULL);
    add(&c, "a=b", f->o->key, m->value);
    add(&c, "a=b", "run.dir", run);
    return judge(finish(&c, log), m, "the run");
}

static int measure(const struct front *f, const struct member *m, const char *run,
                   const char *log, const char *out)
{
    struct command c;
    begin(&c, f, "evaluate");
    add(&c, "a", run, NULL);
    for (int64_t i = 0; f->o->evaluate[i] != NULL; i++)
        add(&c, "a", f->o->evaluate[i], NULL);
    add(&c, "a", "--out", NULL);
    add(&c, "a", out, NULL);
    return judge(finish(&c, log), m, "the evaluation");
}

/* All that a member's numbers depend on: the arguments of its evaluation and its whole
 * configuration. */
static int describe(const struct front *f, const struct member *m, struct text *t)
{
    for (int64_t i = 0; f->o->evaluate[i] != NULL; i++)
        text_add(t, "%s\n", f->o->evaluate[i]);
    text_add(t, "\n");
    struct config *c = config_create(schema);
    char *value = text_new("%s=%s", f->o->key, m->value);
    int rc = config_read(c, m->config);
    for (int64_t i = 0; f->o->override[i] != NULL && rc == 0; i++)
        rc = config_override(c, f->o->override[i]);
    if (rc == 0)
        rc = config_override(c, value);
    if (rc == 0)
        config_dump(c, t, false);
    mem_free(value);
    config_destroy(c);
    return rc;
}

/* Was it made and measured in the way that is asked for now? */
static bool is_measured(const struct front *f, const struct member *m, const char *out,
                        const char *args)
{
    char *text = NULL;
    int64_t len;
    struct text now = {0};
    if (describe(f, m, &now) != 0)
        err_clear(); /* the run says why */
    bool same = file_exists(out) && file_exists(args) &&
                file_read(args, 1 << 20, &text, &len) == 0 && strcmp(text, now.s) == 0;
    err_clear();
    if (!same)
        unlink(out);
    if (!same && file_write(args, now.s, now.len) != 0)
        err_clear(); /* it is measured again next time */
    mem_free(text);
    text_free(&now);
    return same;
}

/* The column of a measure, made where it is new; -1: too many. */
static int column(struct front *f, const char *name, bool make)
{
    for (int64_t k = 0; k < f->names; k++)
        if (strcmp(f->name[k], name) == 0)
            return (int)k;
    if (!make || f->names == NAMES || strlen(name) >= NAME)
        return -1;
    snprintf(f->name[f->names], NAME, "%s", name);
    return (int)f->names++;
}

static void take_leaves(struct front *f, struct member *m, const struct json *v,
                        const char *above)
{
    double real;
    for (int64_t i = 0; i < json_count(v); i++) {
        const char *key;
        const struct json *child = json_entry(v, i, &key);
        char *name = text_new("%s%s%s", above, above[0] != '\0' ? "." : "", key);
        int at;
        if (json_kind(child) == JSON_MAP_T)
            take_leaves(f, m, child, name);
        else if (json_to_f64(child, &real) && (at = column(f, name, true)) >= 0)
            m->number[at] = real;
        mem_free(name);
    }
}

static int make_member(struct front *f, struct member *m, int64_t number)
{
    char *run = text_new("%s/run", m->dir), *log = text_new("%s/log.txt", m->dir);
    char *out = text_new("%s/evaluation.json", m->dir);
    char *args = text_new("%s/evaluation.args", m->dir);
    int rc = file_make_dirs(m->dir);
    if (rc == 0) {
        bool done = is_measured(f, m, out, args);
        printf("%lld of %lld  %s%s\n", (long long)number + 1, (long long)f->members, m->dir,
               done ? "  (there already)" : "");
        fflush(stdout);
        if (!done && (train(f, m, run, log) != 0 || measure(f, m, run, log, out) != 0))
            rc = -1;
    }
    struct json *j = rc == 0 ? json_read(out, JSON_MOST) : NULL;
    if (j != NULL)
        take_leaves(f, m, j, "");
    else
        rc = -1;
    json_free(j);
    mem_free(run);
    mem_free(log);
    mem_free(out);
    mem_free(args);
    return rc;
}

/* The axes: as asked, or the first reward's mean against what says most of fidelity. */
static int choose_axes(struct front *f)
{
    static const char *const xs[] = {"reference.frechet", "path_kl.mean",
                                     "reference.wasserstein",
                                     "diversity.pairwise_distance"};
    f->x = f->o->x != NULL ? column(f, f->o->x, false) : -1;
    f->y = f->o->y != NULL ? column(f, f->o->y, false) : -1;
    if ((f->o->x != NULL && f->x < 0) || (f->o->y != NULL && f->y < 0))
        return err_set(ERR_USAGE, "%s: no member has a measure of this name; front.csv lists "
                                  "them",
                       f->o->x != NULL && f->x < 0 ? f->o->x : f->o->y);
    for (size_t i = 0; i < sizeof xs / sizeof *xs && f->x < 0; i++)
        f->x = column(f, xs[i], false);
    for (int64_t k = 0; k < f->names && f->y < 0; k++)
        if (strncmp(f->name[k], "reward.", 7) == 0 &&
            strcmp(f->name[k] + strlen(f->name[k]) - 5, ".mean") == 0)
            f->y = (int)k;
    if (f->x < 0 || f->y < 0)
        return err_set(ERR_USAGE, "nothing to draw: set reward.name or --rewards");
    char *error = text_new("%.*serror", (int)strlen(f->name[f->y]) - 4, f->name[f->y]);
    f->error = column(f, error, false);
    mem_free(error);
    return 0;
}

static int write_csv(const struct front *f)
{
    struct text t = {0};
    text_add(&t, "config,%s", f->o->key);
    for (int64_t k = 0; k < f->names; k++)
        text_add(&t, ",%s", f->name[k]);
    text_add(&t, "\n");
    for (int64_t i = 0; i < f->members; i++) {
        const struct member *m = &f->member[i];
        text_add(&t, "%s,%s", m->config, m->value);
        for (int64_t k = 0; k < f->names; k++) {
            text_add(&t, ",");
            if (!isnan(m->number[k]))
                text_add(&t, "%.9g", m->number[k]);
        }
        text_add(&t, "\n");
    }
    char *path = rundir_path(f->o->dir, "front.csv");
    int rc = file_write(path, t.s, t.len);
    mem_free(path);
    text_free(&t);
    return rc;
}

static int write_json(const struct front *f)
{
    struct json_out *o = json_out_create();
    json_out_text(o, "key", f->o->key);
    json_out_text(o, "x", f->name[f->x]);
    json_out_text(o, "y", f->name[f->y]);
    json_out_list(o, "members");
    for (int64_t i = 0; i < f->members; i++) {
        const struct member *m = &f->member[i];
        json_out_map(o, NULL);
        json_out_text(o, "config", m->config);
        json_out_text(o, "value", m->value);
        for (int64_t k = 0; k < f->names; k++)
            if (!isnan(m->number[k]))
                json_out_f64(o, f->name[k], m->number[k]);
        json_out_end(o);
    }
    json_out_end(o);
    char *path = rundir_path(f->o->dir, "front.json");
    int rc = json_out_file(o, path);
    mem_free(path);
    return rc;
}

static void print_table(const struct front *f)
{
    printf("\n%-24s %12s  %-28s %s\n", f->o->key, "", f->name[f->x], f->name[f->y]);
    for (int64_t i = 0; i < f->members; i++) {
        const struct member *m = &f->member[i];
        char *name = name_of(m->config), mean[64], x[32] = "-";
        snprintf(mean, sizeof mean, "%.6g", m->number[f->y]);
        if (f->error >= 0 && !isnan(m->number[f->error]))
            snprintf(mean + strlen(mean), sizeof mean - strlen(mean), " +- %.2g",
                     m->number[f->error]);
        if (!isnan(m->number[f->x]))
            snprintf(x, sizeof x, "%.6g", m->number[f->x]);
        printf("%-24.24s %12s  %-28s %s\n", name, m->value, x, mean);
        mem_free(name);
    }
    fflush(stdout);
}

/* Text for gnuplot inside of double quotes, nothing of which it could take as its own. */
static void add_title(struct text *t, const char *s)
{
    text_add(t, "\"");
    for (; *s != '\0'; s++)
        text_add(t, "%c", strchr("\"\\`$@{}^~&\n", *s) != NULL ? ' ' : *s == '_' ? '-' : *s);
    text_add(t, "\"");
}

static void write_script(const struct front *f, const char *terminal, struct text *t)
{
    text_add(t,
             "set encoding utf8\nset terminal %s\nset border 3 lc rgb '#94a3b8'\n"
             "set tics nomirror\nset grid lt 1 lw 0.6 lc rgb '#e2e8f0'\n"
             "set datafile missing 'nan'\nset key outside top center horizontal\n"
             "set offsets 0, graph 0.08, graph 0.08, graph 0.05\nset xlabel ",
             terminal);
    add_title(t, f->name[f->x]);
    text_add(t, "\nset ylabel ");
    add_title(t, f->name[f->y]);
    text_add(t, "\n");
    for (int64_t c = 0; c < f->configs; c++) {
        text_add(t, "$d%lld << EOD\n", (long long)c);
        for (int64_t v = 0; v < f->values; v++) {
            const struct member *m = &f->member[c * f->values + v];
            double error = f->error >= 0 ? m->number[f->error] : NAN;
            if (isnan(m->number[f->x]) || isnan(m->number[f->y]))
                continue;
            text_add(t, "%.9g %.9g %.9g ", m->number[f->x], m->number[f->y],
                     isnan(error) ? 0 : error);
            add_title(t, m->value);
            text_add(t, "\n");
        }
        text_add(t, "EOD\n");
    }
    text_add(t, "plot ");
    for (int64_t c = 0; c < f->configs; c++) {
        char *name = name_of(f->o->config[c]);
        int colour = (int)c + 1;
        text_add(t,
                 "%s$d%lld using 1:2:3 with yerrorbars pt 7 ps 0.1 lw 1 lt %d notitle, "
                 "$d%lld using 1:2 with linespoints pt 7 ps 0.9 lw 2 lt %d title ",
                 c > 0 ? ", " : "", (long long)c, colour, (long long)c, colour);
        add_title(t, name);
        text_add(t, ", $d%lld using 1:2:4 with labels left offset 0.7,0.7 font ',10' notitle",
                 (long long)c);
        mem_free(name);
    }
    text_add(t, "\n");
}

static void draw(const struct front *f, const char *terminal, const char *name)
{
    struct text script = {0}, picture = {0};
    char program[] = "gnuplot", plain[] = "-d", from[] = "-";
    char *argv[] = {program, plain, from, NULL};
    write_script(f, terminal, &script);
    char *path = rundir_path(f->o->dir, name);
    if (!child_filter(argv, &script, &picture))
        fprintf(stderr, "sluice front: no %s: gnuplot is missing or refuses\n", name);
    else if (file_write(path, picture.s, picture.len) != 0)
        fprintf(stderr, "sluice front: %s\n", err_text());
    err_clear();
    mem_free(path);
    text_free(&script);
    text_free(&picture);
}

int front_make(const struct front_options *o)
{
    struct front f = {.o = o};
    struct openmpi_folders folders = {.used = false};
    ssize_t n = readlink("/proc/self/exe", f.self, sizeof f.self - 1);
    if (n <= 0)
        return err_set(ERR_ENV, "cannot tell the path of this program");
    if (check_names(o) != 0)
        return -1;
    make_members(&f);
    int rc = 0;
    if (o->launch != NULL)
        openmpi_folders_create(&folders, "front");
    openmpi_folders_use(&folders, 0);
    for (int64_t i = 0; i < f.members && rc == 0; i++)
        rc = make_member(&f, &f.member[i], i);
    openmpi_folders_remove(&folders);
    if (rc == 0 && (rc = write_csv(&f)) == 0 && (rc = choose_axes(&f)) == 0 &&
        (rc = write_json(&f)) == 0) {
        print_table(&f);
        draw(&f, "svg size 720,480 enhanced font 'Helvetica,13'", "front.svg");
        draw(&f, "pngcairo size 1080,720 enhanced font 'Helvetica,15'", "front.png");
    }
    free_members(&f);
    return rc == 0 ? 0 : -1;
}

/* The loop: look at the files, draw, wait. Runs of which nothing is to be expected are
 * looked at less often. */
#include "pipeline/watch/watch.h"

#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/sweep/sweep_parts.h"
#include "pipeline/watch/watch_frame.h"
#include "pipeline/watch/watch_terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { SELDOM = 8 }; /* rounds between two looks at a run that is not at work */

struct watched {
    const struct watch_options *o;
    struct watch_run **run; /* [n] */
    int64_t n, round;
    bool *there; /* [dirs] its runs are in the list */
    bool sweep;  /* among the directories */
};

static void add_run(struct watched *w, const char *dir, const char *name)
{
    w->run = mem_resize(w->run, w->n, w->n + 1, sizeof *w->run);
    w->run[w->n++] = watch_run_create(dir, name);
}

static bool holds(const char *dir, const char *name)
{
    char *path = rundir_path(dir, name);
    const bool there = file_exists(path);
    mem_free(path);
    return there;
}

static int add_sweep(struct watched *w, const char *dir)
{
    struct sweep *s = sweep_load(dir);
    if (s == NULL)
        return -1;
    for (int64_t i = 0; i < s->members; i++) {
        struct text name = {0};
        char *run = rundir_path(s->member[i].dir, "run");
        text_add(&name, "%.6s ", s->member[i].id);
        sweep_describe(s, &s->member[i], &name);
        add_run(w, run, name.s);
        w->run[w->n - 1]->member = true;
        text_free(&name);
        mem_free(run);
    }
    sweep_destroy(s);
    w->sweep = true;
    return 0;
}

/* Runs of directories that were not there before. */
static int find_runs(struct watched *w)
{
    for (int64_t i = 0; i < w->o->dirs; i++) {
        const char *dir = w->o->dir[i];
        if (w->there[i])
            continue;
        if (holds(dir, "sweep.json")) {
            if (add_sweep(w, dir) != 0)
                return -1;
        } else if (holds(dir, "status.json") || holds(dir, "config.yaml") ||
                   holds(dir, "metrics.jsonl")) {
            add_run(w, dir, NULL);
        } else if (w->o->wait) {
            continue;
        } else {
            return err_set(
                ERR_INPUT,
                "%s: is no run directory (no status.json, config.yaml or "
                "metrics.jsonl) and no folder of a sweep; with --wait it may "
                "come later",
                dir);
        }
        w->there[i] = true;
    }
    return 0;
}

static int look(struct watched *w)
{
    if (find_runs(w) != 0)
        return -1;
    const double now = clock_s();
    for (int64_t i = 0; i < w->n; i++)
        if (!w->run[i]->seen || w->run[i]->state == WATCH_RUNNING || w->n == 1 ||
            (w->round + i) % SELDOM == 0)
            watch_run_look(w->run[i], now);
    w->round++;
    return 0;
}

static bool all_there(const struct watched *w)
{
    for (int64_t i = 0; i < w->o->dirs; i++)
        if (!w->there[i])
            return false;
    return true;
}

static bool all_over(const struct watched *w)
{
    bool over = all_there(w);
    for (int64_t i = 0; i < w->n && over; i++)
        over = watch_run_over(w->run[i]);
    return over;
}

static void paint(const struct watched *w, struct watch_canvas *c)
{
    struct timespec wall;
    clock_gettime(CLOCK_REALTIME, &wall);
    const struct watch_clocks t = {clock_s(),
                                   (double)wall.tv_sec + 1e-9 * (double)wall.tv_nsec};
    c->utf8 = strcmp(nl_langinfo(CODESET), "UTF-8") == 0;
    for (int64_t i = 0; i < w->o->dirs; i++)
        if (!w->there[i]) {
            watch_canvas_put(c, WATCH_ODD, "waiting for %s", w->o->dir[i]);
            watch_canvas_line(c);
        }
    if (w->n == 1 && !w->sweep)
        watch_frame_run(c, w->run[0], t);
    else if (w->n > 0)
        watch_frame_runs(c, w->run, w->n, t);
}

static void print(const struct watched *w)
{
    struct watch_canvas c = {0};
    int rows;
    watch_terminal_size(&c.columns, &rows);
    paint(w, &c);
    fputs(c.out.s != NULL ? c.out.s : "", stdout);
    fflush(stdout);
    text_free(&c.out);
}

static void draw(const struct watched *w, struct watch_terminal *t)
{
    const char *no = getenv("NO_COLOR");
    struct watch_canvas c = {.colour = no == NULL || no[0] == '\0',
                             .end = watch_terminal_end};
    watch_terminal_size(&c.columns, &c.rows);
    c.columns--;    /* in the last one "erase to the end" would take its character */
    if (c.rows > 1) /* the line after the last one must not scroll */
        c.rows--;
    paint(w, &c);
    watch_terminal_draw(t, c.out.s != NULL ? c.out.s : "");
    text_free(&c.out);
}

static void pause_for(double seconds)
{
    const struct timespec t = {.tv_sec = (time_t)seconds,
                               .tv_nsec =
                                   (long)((seconds - (double)(time_t)seconds) * 1e9)};
    nanosleep(&t, NULL);
}

static int print_once(struct watched *w)
{
    while (look(w) == 0) {
        if (all_there(w)) {
            print(w);
            return 0;
        }
        pause_for(w->o->interval_s);
    }
    return -1;
}

static int watch(struct watched *w)
{
    struct watch_terminal *t = NULL;
    bool go = true;
    int rc = look(w);
    if (rc == 0 && !all_over(w))
        t = watch_terminal_open();
    while (rc == 0 && go && !all_over(w)) {
        draw(w, t);
        go = watch_terminal_wait(t, w->o->interval_s);
        if (go)
            rc = look(w);
    }
    watch_terminal_close(t);
    if (rc == 0)
        print(w);
    return rc;
}

int watch_runs(const struct watch_options *o)
{
    struct watched w = {.o = o, .there = mem_alloc(o->dirs, sizeof *w.there)};
    setlocale(LC_CTYPE, "");
    const int rc = o->once || !watch_terminal_fits() ? print_once(&w) : watch(&w);
    for (int64_t i = 0; i < w.n; i++)
        watch_run_destroy(w.run[i]);
    mem_free(w.run);
    mem_free(w.there);
    return rc;
}

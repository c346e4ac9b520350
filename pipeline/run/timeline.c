/* The time line. A lease's wait is cut at the moments at which what it needed was ready:
 * the policy (its iteration's rollouts, rewards, advantage and update), then the work of its
 * own iteration. Up to each such moment the rank waited for the group that was due; what is
 * left is the time until the lease was there. Times are kept as doubles and written as
 * whole microseconds. */
#include "pipeline/run/timeline_line.h"

#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>

enum {
    RANKS = 8,       /* of a group, with all their leases */
    LEASES = 1024,   /* of an iteration */
    POINTS = 8,      /* moments that a lease waits for */
    FULL = 2 << 20,  /* bytes of the file */
    HELD_BYTES = 1 << 16
};
static const double held_s = 5; /* lines stay in memory so long */

/* An iteration at hand, or one that newer ones wait for. */
struct entry {
    int64_t iteration;        /* -1: unused */
    double ready[GROUPS];     /* when the last work of each group was sealed; 0: not here */
    double *rolled;           /* [shards] the same of each rollout shard */
    struct json_out *line;    /* NULL: none is open */
    int64_t leases, left_out; /* in the line; not there */
    double working[GROUPS];
    struct record_waits waited[GROUPS];
};

struct timeline {
    struct timeline_options o;
    struct entry *entry; /* [entries], by iteration modulo */
    int64_t entries, newest;
    double *until;                    /* [world] end of each rank's last lease */
    struct record_waits sum[GROUPS];  /* of the session */
    double began;                     /* of the iteration at hand */
    char session[32];
    struct text held;
    double written; /* clock_s */
    bool broken;    /* it cannot be written: said once */
};

struct timeline *timeline_create(const struct timeline_options *o)
{
    struct timeline *t = mem_alloc(1, sizeof *t);
    t->o = *o;
    t->entries = o->max_staleness + 2;
    t->newest = -1;
    t->entry = mem_alloc(t->entries, sizeof *t->entry);
    t->until = mem_alloc(o->layout->world, sizeof *t->until);
    t->written = clock_s();
    log_now(t->session);
    for (int64_t i = 0; i < t->entries; i++) {
        t->entry[i].iteration = -1;
        t->entry[i].rolled = mem_alloc(o->shards, sizeof *t->entry[i].rolled);
    }
    return t;
}

static void drop_line(struct entry *e)
{
    struct text text = {0};
    if (e->line == NULL)
        return;
    json_out_end(e->line);
    json_out_finish(e->line, 0, &text);
    text_free(&text);
    e->line = NULL;
}

void timeline_destroy(struct timeline *t)
{
    if (t == NULL)
        return;
    for (int64_t i = 0; i < t->entries; i++) {
        drop_line(&t->entry[i]);
        mem_free(t->entry[i].rolled);
    }
    text_free(&t->held);
    mem_free(t->entry);
    mem_free(t->until);
    mem_free(t);
}

/* The entry of an iteration, NULL where it is not kept. */
static const struct entry *find(const struct timeline *t, int64_t iteration)
{
    const struct entry *e = &t->entry[iteration % t->entries];
    return e->iteration == iteration ? e : NULL;
}

static struct entry *open_entry(struct timeline *t, int64_t iteration)
{
    struct entry *e = &t->entry[iteration % t->entries];
    if (e->iteration != iteration) {
        double *rolled = e->rolled;
        drop_line(e);
        *e = (struct entry){.iteration = iteration, .rolled = rolled};
        for (int64_t i = 0; i < t->o.shards; i++)
            rolled[i] = 0;
        t->newest = iteration > t->newest ? iteration : t->newest;
    }
    return e;
}

/* A moment, and the group that was due until then. */
struct point {
    enum group group;
    double at;
};

static int add_point(struct point p[POINTS], int n, enum group g, double at)
{
    p[n] = (struct point){g, at};
    return n + 1;
}

/* All of an iteration, in the order in which it is done. */
static int add_iteration(const struct timeline *t, struct point p[POINTS], int n,
                         int64_t iteration)
{
    const struct entry *e = iteration < 0 ? NULL : find(t, iteration);
    for (int g = 0; e != NULL && g < GROUPS; g++)
        n = add_point(p, n, (enum group)g, e->ready[g]);
    return n;
}

static int find_points(const struct timeline *t, const struct lease *l,
                       struct point p[POINTS])
{
    int64_t made = l->iteration - t->o.max_staleness - 1; /* the iteration of its policy */
    const struct entry *e = find(t, l->iteration);
    int n = add_iteration(t, p, 0, made);
    if (e == NULL || l->group == GROUP_ROLLOUT)
        return n;
    if (l->group == GROUP_REWARD) {
        bool known = l->shard >= 0 && l->shard < t->o.shards;
        return known ? add_point(p, n, GROUP_ROLLOUT, e->rolled[l->shard]) : n;
    }
    n = add_point(p, n, GROUP_ROLLOUT, e->ready[GROUP_ROLLOUT]);
    n = add_point(p, n, GROUP_REWARD, e->ready[GROUP_REWARD]);
    if (l->group == GROUP_UPDATE)
        n = add_point(p, n, GROUP_ADVANTAGE, e->ready[GROUP_ADVANTAGE]);
    return n;
}

/* Cuts from .. to at the points; returns how many waits. */
static int cut(const struct point *p, int points, double from, double to,
               struct timeline_wait w[POINTS + 1])
{
    int n = 0;
    for (int i = 0; i <= points && from < to; i++) {
        double end = i == points ? to : fmin(p[i].at, to);
        if (end <= from)
            continue;
        int on = i == points ? (int)RECORD_LEASE : (int)p[i].group;
        w[n++] = (struct timeline_wait){on, from, end};
        from = end;
    }
    return n;
}

static bool shown(const struct layout *l, enum group g, int rank)
{
    int every = (l->size[g] + RANKS - 1) / RANKS;
    return every > 0 && layout_has(l, g, rank) && (rank - l->start[g]) % every == 0;
}

void timeline_lease(struct timeline *t, int rank, const struct lease *lease,
                    const struct record_account *a, const struct timeline_lease *w)
{
    struct entry *e = open_entry(t, lease->iteration);
    struct point point[POINTS];
    struct timeline_wait wait[POINTS + 1];
    int waits = 0;
    if (w->aside != 1) {
        waits = cut(point, find_points(t, lease, point), t->until[rank], w->from_s, wait);
        t->until[rank] = w->to_s;
    }
    e->working[lease->group] += a->working_s;
    for (int i = 0; i < waits; i++) {
        e->waited[lease->group].on_s[wait[i].on] += wait[i].to - wait[i].from;
        t->sum[lease->group].on_s[wait[i].on] += wait[i].to - wait[i].from;
    }
    if (!shown(t->o.layout, lease->group, rank))
        return;
    if (e->leases == LEASES) {
        e->left_out++;
        return;
    }
    if (e->line == NULL) {
        e->line = json_out_create();
        json_out_i64(e->line, "iteration", e->iteration);
        json_out_text(e->line, "session", t->session);
        json_out_list(e->line, "leases");
    }
    e->leases++;
    timeline_put_lease(e->line, rank, lease, a, w);
    if (waits > 0)
        timeline_put_waits(e->line, wait, waits);
    json_out_end(e->line);
}

void timeline_sealed(struct timeline *t, const struct lease *lease, double now_s)
{
    struct entry *e = open_entry(t, lease->iteration);
    e->ready[lease->group] = now_s;
    if (lease->group == GROUP_ROLLOUT && lease->shard >= 0 && lease->shard < t->o.shards)
        e->rolled[lease->shard] = now_s;
}

/* Did a killed job leave a piece of a line at the end? */
static bool is_cut(const char *path)
{
    char last = '\n';
    FILE *f = fopen(path, "rb");
    if (f == NULL)
        return false;
    bool any = fseek(f, -1, SEEK_END) == 0 && fread(&last, 1, 1, f) == 1;
    fclose(f);
    return any && last != '\n';
}

static int append_held(struct timeline *t, const char *path)
{
    char *old = rundir_path(t->o.dir, "log/timeline.old.jsonl");
    int rc = 0;
    if (file_size(path) > FULL && rename(path, old) != 0)
        rc = err_set_errno("cannot rename", path);
    else if (is_cut(path))
        rc = file_append(path, "\n", 1);
    if (rc == 0)
        rc = file_append(path, t->held.s, t->held.len);
    mem_free(old);
    return rc;
}

/* Nothing depends on the time line, so a run goes on without it. */
static void write_held(struct timeline *t)
{
    char *path = rundir_path(t->o.dir, "log/timeline.jsonl");
    if (t->held.len > 0 && !t->broken && append_held(t, path) != 0) {
        log_warn("the time line is not recorded any more: %s", err_text());
        err_clear();
        t->broken = true;
    }
    text_free(&t->held);
    t->written = clock_s();
    mem_free(path);
}

/* Closes the entry's line. */
static void end_line(struct timeline *t, struct entry *e, double now_s, bool complete)
{
    if (e->line == NULL)
        return;
    json_out_end(e->line);
    json_out_i64(e->line, "from_us", timeline_us(t->began));
    json_out_i64(e->line, "to_us", timeline_us(now_s));
    json_out_bool(e->line, "complete", complete);
    json_out_i64(e->line, "left_out", e->left_out);
    timeline_put_groups(e->line, t->o.layout, e->working, e->waited);
    json_out_finish(e->line, 0, &t->held);
    text_add(&t->held, "\n");
    e->line = NULL;
}

void timeline_iteration(struct timeline *t, int64_t iteration, double now_s,
                        struct record_waits waited[GROUPS])
{
    struct entry *e = open_entry(t, iteration);
    for (int g = 0; g < GROUPS; g++)
        waited[g] = e->waited[g];
    end_line(t, e, now_s, true);
    t->began = now_s;
    if (t->held.len > HELD_BYTES || clock_s() - t->written > held_s)
        write_held(t);
}

/* The first group of a rank; GROUPS for none. */
static int group_of(const struct layout *l, int rank)
{
    int g = 0;
    while (g < GROUPS && !layout_has(l, (enum group)g, rank))
        g++;
    return g;
}

/* What the ranks waited for after their last leases. */
static void put_rest(struct timeline *t, double now_s)
{
    const struct layout *l = t->o.layout;
    struct point point[POINTS];
    struct timeline_wait wait[POINTS + 1];
    int points = add_iteration(t, point, 0, t->newest);
    struct json_out *o = json_out_create();
    json_out_text(o, "session", t->session);
    json_out_i64(o, "to_us", timeline_us(now_s));
    json_out_list(o, "rest");
    for (int r = 0; r < l->world; r++) {
        int g = group_of(l, r), n = cut(point, points, t->until[r], now_s, wait);
        for (int i = 0; g < GROUPS && i < n; i++)
            t->sum[g].on_s[wait[i].on] += wait[i].to - wait[i].from;
        if (g == GROUPS || !shown(l, (enum group)g, r))
            continue;
        json_out_map(o, NULL);
        json_out_i64(o, "rank", r);
        timeline_put_waits(o, wait, n);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_finish(o, 0, &t->held);
    text_add(&t->held, "\n");
}

void timeline_finish(struct timeline *t, double now_s, struct record_waits waited[GROUPS])
{
    for (int64_t i = t->newest + 1; i <= t->newest + t->entries; i++)
        end_line(t, &t->entry[(i + t->entries) % t->entries], now_s, false);
    if (t->newest >= 0)
        put_rest(t, now_s);
    write_held(t);
    for (int g = 0; g < GROUPS; g++)
        waited[g] = t->sum[g];
}

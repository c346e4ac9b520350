/* The queue of a sweep. This process has no MPI: members are children with an MPI of
 * their own, so that none can take another one down and each starts with a clean
 * memory. Signals are held back but for the moments in which this process waits. */
#include "pipeline/child.h"
#include "pipeline/openmpi.h"
#include "pipeline/sweep/sweep_parts.h"
#include "pipeline/sweep/sweep_places.h"

#include "io/rundir.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <unistd.h>

static const double WAKE_S = 0.25; /* between looks at the clock, STOP and locks */

struct slot {
    int64_t member; /* -1: free */
    pid_t pid;
    double started;
    int lock;
};

/* Since when the cores' use is measured: ends of members, processor time of those that
 * have ended. */
struct window {
    double since, cpu_s;
    int64_t ends;
};

struct queue {
    const struct sweep *s;
    const struct sweep_options *o;
    struct slot *slot; /* [most] */
    int64_t at_once, most, running;
    struct window window;
    char self[4096], launch[512];
    struct openmpi_folders folders; /* with a launcher: one for each slot */
    sigset_t signals;
    int asked; /* times that this process was told to stop */
    bool stopping;
    double deadline;                  /* 0: none */
    int64_t ended, total, iterations; /* of the round; iterations 0: the member's own */
    int code;                         /* of the first member that failed */
    int64_t failed_first;
    bool left; /* something was stopped */
};

/* How members start, and how many at a time. */
static int settle(struct queue *q)
{
    const struct config *c = q->s->settings;
    int64_t threads = q->s->members > 0 ? q->s->member[0].threads : 1;
    int64_t places = sweep_places(q->s);
    ssize_t n = readlink("/proc/self/exe", q->self, sizeof q->self - 1);
    if (n < 0)
        return err_set(ERR_ENV, "this program's path cannot be found");
    q->self[n] = '\0';
    if (sweep_launch(q->s, q->o->launcher, q->launch, sizeof q->launch) != 0)
        return -1;
    q->at_once = config_is(c, "sweep.at_once", "auto") ? places
                                                       : config_int(c, "sweep.at_once");
    if (q->at_once > q->s->members)
        q->at_once = q->s->members;
    q->most = q->at_once;
    if (config_is(c, "sweep.at_once", "auto") && q->launch[0] == '\0' && threads == 1)
        q->most = SWEEP_SPREAD * q->at_once;
    /* Several launchers must not all bind their ranks to the first cores. */
    if (q->at_once > 1)
        setenv("OMPI_MCA_hwloc_base_binding_policy", "none", 0);
    return 0;
}

/* The member's lock; -1: another process has it. -2: an error. */
static int take_lock(const struct sweep_member *m)
{
    if (file_make_dirs(m->dir) != 0)
        return -2;
    char *path = rundir_path(m->dir, "lock");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0)
        err_set_errno("cannot create the lock", path);
    bool held = fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
    mem_free(path);
    if (held)
        close(fd);
    return fd < 0 ? -2 : held ? -1 : fd;
}

/* All words are in one array, to be freed with it. */
struct command {
    char **word;
    int64_t n;
};

static void add(struct command *c, char *owned)
{
    c->word = mem_resize(c->word, c->n, c->n + 2, sizeof *c->word);
    c->word[c->n++] = owned;
    c->word[c->n] = NULL;
}

static void make_command(const struct queue *q, const struct sweep_member *m,
                         struct command *c)
{
    const struct sweep *s = q->s;
    for (const char *p = q->launch; *p != '\0';) {
        size_t n = strcspn(p, " ");
        if (n > 0)
            add(c, text_new("%.*s", (int)n, p));
        p += n + strspn(p + n, " ");
    }
    add(c, mem_text(q->self));
    add(c, mem_text("run"));
    add(c, mem_text(s->base));
    for (int64_t i = 0; i < s->overrides; i++)
        add(c, mem_text(s->override[i]));
    for (int64_t k = 0; k < s->keys; k++)
        if (m->value[k] != NULL)
            add(c, text_new("%s=%s", s->key[k], m->value[k]));
    add(c, text_new("groups.threads=%lld", (long long)m->threads));
    add(c, text_new("run.dir=%s/run", m->dir));
    if (q->iterations > 0)
        add(c, text_new("run.iterations=%lld", (long long)q->iterations));
    double left = q->deadline > 0 ? fmax(q->deadline - clock_s(), 1) : 0;
    add(c, text_new("run.max_walltime=%.0f", left));
}

/* Starts a member in a free slot. 0, 1: it is locked, -1. */
static int start(struct queue *q, int64_t number)
{
    const struct sweep_member *m = &q->s->member[number];
    struct command c = {0};
    struct slot *slot = q->slot;
    int lock = take_lock(m);
    if (lock < 0)
        return lock == -1 ? 1 : -1;
    while (slot->member >= 0)
        slot++;
    char *log = rundir_path(m->dir, "log.txt");
    make_command(q, m, &c);
    openmpi_folders_use(&q->folders, slot - q->slot);
    int rc = child_launch(c.word, log, lock, &slot->pid);
    for (int64_t i = 0; i < c.n; i++)
        mem_free(c.word[i]);
    mem_free(c.word);
    mem_free(log);
    if (rc != 0) {
        close(lock);
        return -1;
    }
    slot->member = number;
    slot->lock = lock;
    slot->started = clock_s();
    q->running++;
    return 0;
}

static void print_end(const struct queue *q, const struct sweep_member *m, int code,
                      double wall_s)
{
    struct sweep_result r;
    struct text t = {0};
    sweep_result_read(q->s, m, &r);
    sweep_describe(q->s, m, &t);
    printf("%lld of %lld  %s  ", (long long)q->ended, (long long)q->total, m->id);
    if (code == 0)
        printf("finished  %s %.5g", q->s->metric, r.last);
    else if (code == ERR_STOPPED)
        printf("stopped");
    else
        printf("FAILED (%d)", code);
    printf("  %.1f s  %s\n", wall_s, t.s == NULL ? "" : t.s);
    if (r.state == SWEEP_FAILED && r.message[0] != '\0')
        printf("    %s\n", r.message);
    fflush(stdout);
    text_free(&t);
    sweep_result_free(&r);
}

static void note_failure(struct queue *q, int64_t number, int code)
{
    static const int known[] = {2, 3, 4, 5, 6, 7, 8};
    if (q->code != 0 && q->failed_first < number)
        return;
    q->failed_first = number;
    q->code = ERR_ENV;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (known[i] == code)
            q->code = code;
}

/* What the end of a member's process means. While all are told to stop, one that a
 * signal ended before it could listen was stopped too. */
static int end_member(struct queue *q, struct slot *slot, int code)
{
    const struct sweep_member *m = &q->s->member[slot->member];
    double wall_s = clock_s() - slot->started;
    if (q->stopping && code != 0)
        code = code > 1 && code < 9 && code != ERR_ENV ? code : ERR_STOPPED;
    if (code == CHILD_NOT_STARTED)
        code = ERR_ENV;
    q->left = q->left || code == ERR_STOPPED;
    /* Time is up for all where it is up for one. Slurm takes nodes from a job's steps first
     * and tells this process later: no other member may begin in between. */
    if (code == ERR_STOPPED && (q->deadline > 0 || getenv("SLURM_JOB_ID") != NULL) &&
        !sweep_stopped_alone(m))
        q->stopping = true;
    if (code != 0 && code != ERR_STOPPED)
        note_failure(q, slot->member, code);
    q->ended++;
    int rc = sweep_result_write(q->s, m, code, wall_s);
    print_end(q, m, code, wall_s);
    close(slot->lock);
    slot->member = -1;
    q->running--;
    return rc;
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_CHILDREN, &u);
    return (double)u.ru_utime.tv_sec + (double)u.ru_stime.tv_sec +
           1e-6 * (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

/* Short runs wait for disks and for their own start: where those that have ended left
 * cores idle, more of them run at a time. */
static void fill_cores(struct queue *q)
{
    struct window *w = &q->window;
    double cores = (double)(q->most / SWEEP_SPREAD), now, cpu, busy;
    if (++w->ends < 2 * q->at_once || q->at_once >= q->most)
        return;
    now = clock_s();
    cpu = cpu_s();
    busy = (cpu - w->cpu_s) / (cores * fmax(now - w->since, 1e-3));
    if (busy < 0.95) {
        q->at_once = (int64_t)ceil((double)q->at_once / fmax(busy, 1.0 / SWEEP_SPREAD));
        q->at_once = q->at_once < q->most ? q->at_once : q->most;
    }
    *w = (struct window){.since = now, .cpu_s = cpu};
}

static void tell_all(const struct queue *q, int sig)
{
    for (int64_t i = 0; i < q->most; i++)
        if (q->slot[i].member >= 0)
            kill(q->slot[i].pid, sig);
}

/* Sleeps until a child ends, a signal comes or some time has passed. */
static int attend(struct queue *q)
{
    const struct timespec wake = {0, (long)(WAKE_S * 1e9)};
    const bool before = q->stopping;
    pid_t pid;
    int sig = sigtimedwait(&q->signals, NULL, &wake), code, rc = 0;
    if (sig == SIGTERM || sig == SIGINT || sig == SIGUSR1) {
        q->asked++;
        q->stopping = true;
    }
    q->stopping = q->stopping || rundir_flag(q->s->dir, "STOP") ||
                  (q->deadline > 0 && clock_s() >= q->deadline);
    while ((code = child_next(&pid)) >= 0)
        for (int64_t i = 0; i < q->most; i++)
            if (q->slot[i].member >= 0 && q->slot[i].pid == pid) {
                rc = end_member(q, &q->slot[i], code) != 0 ? -1 : rc;
                fill_cores(q);
            }
    if (q->stopping && !before) {
        printf("stopping: %lld members finish what they are at\n",
               (long long)q->running);
        fflush(stdout);
        tell_all(q, SIGUSR1);
    } else if (q->asked > 1 && sig > 0 && sig != SIGCHLD) {
        tell_all(q, SIGTERM);
    }
    return rc;
}

/* Runs the members list[n]; those that another process is at are waited for. */
static int run_round(struct queue *q, int64_t *list, int64_t n)
{
    double looked = 0;
    int rc = 0;
    q->total = n;
    q->ended = 0;
    while (rc == 0 && (q->running > 0 || (n > 0 && !q->stopping))) {
        bool look = clock_s() - looked > WAKE_S;
        for (int64_t at = 0;
             at < n && rc == 0 && !q->stopping && q->running < q->at_once;) {
            const struct sweep_member *m = &q->s->member[list[at]];
            int64_t wanted = q->iterations > 0 ? q->iterations : m->iterations;
            int got = sweep_is_done(m, wanted) ? 2 : start(q, list[at]);
            rc = got < 0 ? -1 : 0;
            q->ended += got == 2;
            if (got == 0 || got == 2)
                memmove(list + at, list + at + 1, (size_t)(--n - at) * sizeof *list);
            else
                at++;
            if (got == 1 && !look) /* not all of them at every end */
                break;
        }
        if (look)
            looked = clock_s();
        if (rc == 0 && (q->running > 0 || n > 0))
            rc = attend(q);
    }
    q->left = q->left || n > 0;
    if (rc != 0) {
        q->stopping = true;
        tell_all(q, SIGUSR1);
        while (q->running > 0)
            attend(q);
    }
    return rc;
}

struct standing {
    int64_t member;
    double metric;
    const char *id;
};

/* Best first; without a number last; the name decides between equals. */
static int by_standing(const void *a, const void *b)
{
    const struct standing *x = a, *y = b;
    double p = isnan(x->metric) ? -INFINITY : x->metric,
           q = isnan(y->metric) ? -INFINITY : y->metric;
    return p > q ? -1 : p < q ? 1 : strcmp(x->id, y->id);
}

/* Rung by rung: all members of a rung reach its iterations before the best go on. A
 * member that failed has no standing. */
static int run_rungs(struct queue *q)
{
    const struct sweep *s = q->s;
    struct standing *order = mem_alloc(s->members, sizeof *order);
    int64_t *list = mem_alloc(s->members, sizeof *list), n = s->members;
    int rc = 0;
    for (int64_t i = 0; i < n; i++)
        order[i] = (struct standing){.member = i, .id = s->member[i].id};
    for (int64_t k = 0; k < s->rungs && rc == 0 && !q->left && !q->stopping; k++) {
        int64_t due = 0;
        n = s->count[k] < n ? s->count[k] : n;
        for (int64_t i = 0; i < n; i++)
            if (!sweep_is_done(&s->member[order[i].member], s->iterations[k]))
                list[due++] = order[i].member;
        printf("rung %lld of %lld: %lld members, %lld iterations%s\n", (long long)k + 1,
               (long long)s->rungs, (long long)n, (long long)s->iterations[k],
               due == 0 ? ", all finished" : "");
        fflush(stdout);
        q->iterations = s->iterations[k];
        rc = run_round(q, list, due);
        int64_t good = 0;
        for (int64_t i = 0; i < n; i++) {
            struct standing *x = &order[i];
            if (!sweep_is_done(&s->member[x->member], s->iterations[k]))
                continue;
            x->metric = sweep_metric_at(s, &s->member[x->member], s->iterations[k]);
            order[good++] = *x;
        }
        qsort(order, (size_t)good, sizeof *order, by_standing);
        n = good;
    }
    mem_free(list);
    mem_free(order);
    return rc;
}

static int run_members(struct queue *q)
{
    const struct sweep *s = q->s;
    int64_t *list = mem_alloc(s->members, sizeof *list), n = 0, mine = 0;
    for (int64_t i = 0; i < s->members; i++) {
        if (q->o->parts > 0 && i % q->o->parts != q->o->part)
            continue;
        mine++;
        if (!sweep_is_done(&s->member[i], s->member[i].iterations))
            list[n++] = i;
    }
    printf("%lld members, %lld finished already, %lld at a time%s%s\n", (long long)mine,
           (long long)(mine - n), (long long)q->at_once,
           q->launch[0] != '\0' ? ", each with: " : "", q->launch);
    fflush(stdout);
    int rc = run_round(q, list, n);
    mem_free(list);
    return rc;
}

int sweep_run(const struct sweep *s, const struct sweep_options *o)
{
    struct queue q = {.s = s, .o = o};
    sigset_t before;
    if (settle(&q) != 0)
        return -1;
    q.deadline = o->max_walltime_s > 0 ? clock_s() + o->max_walltime_s : 0;
    q.window = (struct window){.since = clock_s()};
    q.slot = mem_alloc(q.most, sizeof *q.slot);
    for (int64_t i = 0; i < q.most; i++)
        q.slot[i].member = -1;
    if (q.launch[0] != '\0')
        openmpi_folders_create(&q.folders, "sweep");
    sigemptyset(&q.signals);
    sigaddset(&q.signals, SIGCHLD);
    sigaddset(&q.signals, SIGTERM);
    sigaddset(&q.signals, SIGINT);
    sigaddset(&q.signals, SIGUSR1);
    sigprocmask(SIG_BLOCK, &q.signals, &before);
    if (o->parts == 0) /* of an array, it is for all tasks, also those to come */
        rundir_clear_flag(s->dir, "STOP");
    int rc = s->rungs > 0 ? run_rungs(&q) : run_members(&q);
    openmpi_folders_remove(&q.folders);
    sigprocmask(SIG_SETMASK, &before, NULL);
    mem_free(q.slot);
    if (rc == 0 && q.left)
        rc = err_set(ERR_STOPPED, "stopped early; the same command goes on");
    else if (rc == 0 && q.code != 0)
        rc = err_set(
            (enum err_code)q.code,
            "members failed, the first with code %d; %s/log.txt says why, and the "
            "same command tries them again",
            q.code, s->member[q.failed_first].dir);
    return rc;
}

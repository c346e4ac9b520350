/* Looking at a run directory. Only changed files are opened; folders of shards are
 * listed only when something was added to them. */
#include "pipeline/watch/watch_run.h"

#include "io/config.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"

#include <fcntl.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { JSON_MOST = 1 << 20, LOG_END = 1 << 13 };

static const char *const names[WATCH_STATES] = {
    "pending", "starting", "running", "waiting", "stopped", "failed", "finished"};

const char *watch_state_name(enum watch_state s)
{
    return names[s];
}

struct watch_run *watch_run_create(const char *dir, const char *name)
{
    struct watch_run *r = mem_alloc(1, sizeof *r);
    r->dir = mem_text(dir);
    r->name = mem_text(name != NULL ? name : dir);
    r->code = r->version = r->iterations = r->shards = -1;
    r->rolled_out = r->scored = r->looked_at = -1;
    r->session_s = r->sign_wall = r->sign_seen = NAN;
    for (int g = 0; g < GROUPS; g++)
        r->busy[g] = NAN;
    watch_metrics_clear(&r->metrics);
    return r;
}

void watch_run_destroy(struct watch_run *r)
{
    if (r == NULL)
        return;
    mem_free(r->dir);
    mem_free(r->name);
    mem_free(r);
}

int watch_stamp_look(struct watch_stamp *s, const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        *s = (struct watch_stamp){0};
        return -1;
    }
    if (s->inode == st.st_ino && s->size == st.st_size &&
        s->changed.tv_sec == st.st_mtim.tv_sec &&
        s->changed.tv_nsec == st.st_mtim.tv_nsec)
        return 0;
    *s = (struct watch_stamp){st.st_ino, st.st_size, st.st_mtim};
    return 1;
}

/* watch_stamp_look at DIR/RELATIVE; a change is a sign of life. */
static int look(struct watch_run *r, struct watch_stamp *s, const char *relative,
                double now)
{
    char *path = rundir_path(r->dir, relative);
    const int found = watch_stamp_look(s, path);
    mem_free(path);
    if (found == 1) {
        const double at = (double)s->changed.tv_sec + 1e-9 * (double)s->changed.tv_nsec;
        if (!(at <= r->sign_wall))
            r->sign_wall = at;
        if (r->seen)
            r->sign_seen = now;
    }
    return found;
}

static struct json *read_map(struct watch_run *r, const char *relative)
{
    char *path = rundir_path(r->dir, relative);
    struct json *j = json_read(path, JSON_MOST);
    mem_free(path);
    if (j != NULL && json_kind(j) == JSON_MAP_T)
        return j;
    if (r->trouble[0] == '\0')
        snprintf(r->trouble, sizeof r->trouble, "%s cannot be read: %.160s", relative,
                 j == NULL ? err_text() : "it holds no JSON object");
    err_clear();
    json_free(j);
    return NULL;
}

static int64_t whole(const struct json *map, const char *key)
{
    int64_t v;
    const struct json *j = json_get(map, key);
    return j != NULL && json_to_i64(j, &v) && v >= 0 ? v : -1;
}

static void read_status(struct watch_run *r)
{
    char state[24];
    struct json *j = read_map(r, "status.json");
    if (j == NULL)
        return;
    watch_text(j, "state", state, sizeof state);
    r->state = WATCH_NEW;
    for (int s = WATCH_RUNNING; s < WATCH_STATES; s++)
        if (strcmp(state, names[s]) == 0)
            r->state = (enum watch_state)s;
    r->code = whole(j, "exit_code");
    r->version = whole(j, "policy_version");
    r->iterations = whole(j, "iterations");
    r->session_s = json_number(j, "session_s", NAN);
    watch_text(j, "message", r->message, sizeof r->message);
    watch_text(j, "phase", r->phase, sizeof r->phase);
    json_free(j);
}

/* How many shards an iteration has; a configuration of another version is no trouble.
 */
static void read_config(struct watch_run *r)
{
    char *path = rundir_path(r->dir, "config.yaml");
    struct config *c = config_create(schema);
    if (config_read(c, path) == 0) {
        const int64_t samples = config_int(c, "rollout.samples");
        const int64_t each = config_int(c, "rollout.shard_samples");
        r->shards = samples / each + (samples % each > 0);
        if (r->iterations < 0)
            r->iterations = config_int(c, "run.iterations");
        snprintf(r->method, sizeof r->method, "%s", config_text(c, "algorithm.name"));
        snprintf(r->reward, sizeof r->reward, "%s", config_text(c, "reward.name"));
    }
    err_clear();
    config_destroy(c);
    mem_free(path);
}

static void read_accounting(struct watch_run *r)
{
    struct json *j = read_map(r, "accounting.json");
    const struct json *groups = j == NULL ? NULL : json_get(j, "groups");
    for (int64_t i = 0; groups != NULL && i < json_count(groups); i++) {
        const struct json *one = json_item(groups, i);
        char name[24];
        enum group g;
        if (one == NULL || json_kind(one) != JSON_MAP_T)
            continue;
        watch_text(one, "name", name, sizeof name);
        const double working = json_number(one, "working_s", NAN);
        if (group_from_name(name, &g))
            r->busy[g] = working / (working + json_number(one, "waiting_s", NAN));
    }
    json_free(j);
}

static int64_t count_shards(const struct watch_run *r, const char *relative)
{
    char **name, *path = rundir_path(r->dir, relative);
    int64_t n = 0;
    if (file_list(path, "s", ".h5", &name, &n) != 0)
        err_clear();
    file_list_free(name, n);
    mem_free(path);
    return n;
}

/* Shards of the iteration at hand. */
static void look_at_shards(struct watch_run *r, double now)
{
    const int64_t at = r->version >= 0 ? r->version : r->metrics.iteration + 1;
    char rollout[96], reward[96], advantage[96];
    if (at != r->looked_at) {
        r->rollout_at = r->reward_at = r->advantage_at = (struct watch_stamp){0};
        r->rolled_out = r->scored = 0;
    }
    r->looked_at = at;
    *strrchr(rundir_rollout(rollout, at, 0), '/') = '\0';
    *strrchr(rundir_reward(reward, at, 0), '/') = '\0';
    if (look(r, &r->rollout_at, rollout, now) == 1)
        r->rolled_out = count_shards(r, rollout);
    if (look(r, &r->reward_at, reward, now) == 1)
        r->scored = count_shards(r, reward);
    r->advantage = look(r, &r->advantage_at, rundir_advantage(advantage, at), now) >= 0;
    look(r, &r->policy_at, "policy", now);
}

/* A log line "TIME TAG HOST warning: TEXT" becomes r->warning where it is newer. */
static void take_log_line(struct watch_run *r, const char *s, int len)
{
    static const char *const mark[] = {" warning: ", " ERROR "};
    char line[1024];
    snprintf(line, sizeof line, "%.*s", len < 1023 ? len : 1023, s);
    for (int k = 0; k < 2; k++) {
        const char *at = strstr(line, mark[k]), *blank = strchr(line, ' ');
        if (at == NULL || blank == NULL || blank - line >= (int)sizeof r->warning.time)
            continue;
        char time[sizeof r->warning.time];
        snprintf(time, sizeof time, "%.*s", (int)(blank - line), line);
        if (strcmp(time, r->warning.time) < 0)
            continue;
        snprintf(r->warning.time, sizeof time, "%s", time);
        snprintf(r->warning.name, sizeof r->warning.name, "%s",
                 k == 0 ? "warning" : "error");
        snprintf(r->warning.detail, sizeof r->warning.detail, "%s",
                 at + strlen(mark[k]));
    }
}

static void read_log_end(struct watch_run *r, const char *relative)
{
    struct stat st;
    char buf[LOG_END], *path = rundir_path(r->dir, relative);
    const int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = 0;
    mem_free(path);
    if (fd < 0)
        return;
    if (fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        n = pread(fd, buf, LOG_END, st.st_size > LOG_END ? st.st_size - LOG_END : 0);
    close(fd);
    for (const char *p = buf, *end = buf + (n > 0 ? n : 0); p < end;) {
        const char *stop = memchr(p, '\n', (size_t)(end - p));
        if (stop == NULL)
            break;
        take_log_line(r, p, (int)(stop - p));
        p = stop + 1;
    }
}

static void look_at_logs(struct watch_run *r, double now)
{
    char relative[64];
    if (look(r, &r->logs_at, "log", now) == 1) {
        char **name, *path = rundir_path(r->dir, "log");
        int64_t n = 0;
        if (file_list(path, "rank", ".log", &name, &n) != 0)
            err_clear();
        r->logs = n < WATCH_LOGS ? n : WATCH_LOGS;
        for (int64_t i = 0; i < r->logs; i++)
            snprintf(r->log[i], sizeof r->log[i], "%s", name[i]);
        file_list_free(name, n);
        mem_free(path);
    }
    for (int64_t i = 0; i < r->logs; i++) {
        snprintf(relative, sizeof relative, "log/%s", r->log[i]);
        if (look(r, &r->log_at[i], relative, now) == 1)
            read_log_end(r, relative);
    }
}

static bool later(const struct watch_stamp *a, const struct watch_stamp *b)
{
    return a->changed.tv_sec != b->changed.tv_sec
               ? a->changed.tv_sec > b->changed.tv_sec
               : a->changed.tv_nsec > b->changed.tv_nsec;
}

/* How a sweep's member ended, where that is newer than what the run itself has said:
 * one that was killed or did not begin says nothing. */
static void look_at_member(struct watch_run *r)
{
    const char *slash = strrchr(r->dir, '/'); /* the run's own folder may be missing */
    char *path =
        text_new("%.*s/member.json", slash != NULL ? (int)(slash - r->dir) : 0, r->dir);
    if (watch_stamp_look(&r->member_at, path) == 1) {
        struct json *j = json_read(path, JSON_MOST);
        r->member_code =
            j != NULL && json_kind(j) == JSON_MAP_T ? whole(j, "exit_code") : -1;
        json_free(j);
        err_clear();
    }
    mem_free(path);
    if (r->member_code > 0 && r->member_code != ERR_STOPPED &&
        r->state != WATCH_FAILED && later(&r->member_at, &r->status_at)) {
        r->state = WATCH_FAILED;
        r->code = r->member_code;
    }
}

static void look_at_metrics(struct watch_run *r, double now)
{
    const ino_t before = r->metrics_at.inode;
    char *path = rundir_path(r->dir, "metrics.jsonl");
    const int found = look(r, &r->metrics_at, "metrics.jsonl", now);
    if (found < 0 || (found == 1 && before != 0 && before != r->metrics_at.inode))
        watch_metrics_clear(&r->metrics);
    if (found == 1)
        watch_metrics_read(&r->metrics, path);
    mem_free(path);
}

void watch_run_look(struct watch_run *r, double now)
{
    const int status = look(r, &r->status_at, "status.json", now);
    if (status == 0 && r->state == WATCH_FINISHED)
        return;
    if (status == 1) {
        r->trouble[0] = '\0';
        read_status(r);
    }
    const int config = look(r, &r->config_at, "config.yaml", now);
    if (config == 1)
        read_config(r);
    look_at_metrics(r, now);
    if (status < 0)
        r->state = config >= 0 || r->metrics_at.inode != 0 ? WATCH_NEW : WATCH_ABSENT;
    else if (r->state == WATCH_ABSENT)
        r->state = WATCH_NEW;
    if (r->member)
        look_at_member(r);
    if (r->state != WATCH_ABSENT) {
        if (look(r, &r->accounting_at, "accounting.json", now) == 1)
            read_accounting(r);
        if (r->state != WATCH_FINISHED)
            look_at_shards(r, now);
        look_at_logs(r, now);
    }
    r->seen = true;
}

double watch_run_age(const struct watch_run *r, double now, double wall)
{
    const double age =
        isfinite(r->sign_seen) ? now - r->sign_seen : wall - r->sign_wall;
    return age < 0 ? 0 : age;
}

double watch_run_eta(const struct watch_run *r)
{
    const int64_t left = r->iterations - (r->metrics.iteration + 1);
    return r->iterations < 0 || r->metrics.iteration < 0 || left < 0
               ? NAN
               : r->metrics.recent_s * (double)left;
}

bool watch_run_over(const struct watch_run *r)
{
    return r->state == WATCH_FINISHED || r->state == WATCH_FAILED;
}

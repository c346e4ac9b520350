/* A run as it looks from outside: what its files say, read again and again at little
 * cost. Every file is looked at (stat) before it is read, metrics.jsonl is read on from
 * where the last reading ended, and memory does not grow with a run's length. No file
 * is locked or written, so it is safe beside the job, also from another machine. */
#ifndef SLUICE_PIPELINE_WATCH_RUN_H
#define SLUICE_PIPELINE_WATCH_RUN_H

#include "io/json.h"
#include "scheduler/layout.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

enum watch_state {
    WATCH_ABSENT, /* no such directory, or nothing of a run in it yet */
    WATCH_NEW,    /* a run directory without a status */
    WATCH_RUNNING,
    WATCH_WAITING, /* for other stages' jobs */
    WATCH_STOPPED,
    WATCH_FAILED,
    WATCH_FINISHED,
    WATCH_STATES
};
const char *watch_state_name(enum watch_state s);

/* Numbers of an iteration, by their keys in metrics.jsonl. */
enum watch_value {
    WATCH_REWARD,
    WATCH_REWARD_STD,
    WATCH_KL,
    WATCH_CLIP,
    WATCH_RATIO,
    WATCH_SAMPLES,
    WATCH_FAILED_SAMPLES,
    WATCH_ITERATION_S,
    WATCH_RSS,
    WATCH_GUARD,
    WATCH_GUARD_ERROR,
    WATCH_KL_PATH,
    WATCH_ANSWER,
    WATCH_OVERHEAD,
    WATCH_VALUES
};

enum {
    WATCH_HISTORY = 256,
    WATCH_NAMED = 8,
    WATCH_EVENTS = 3,
    WATCH_TEXT = 240,
    WATCH_LOGS = 5
};

/* A file as it was when it was last looked at. All zero: never seen. */
struct watch_stamp {
    ino_t inode;
    int64_t size;
    struct timespec changed;
};

struct watch_named { /* a component of a mixture, a status */
    char name[48];
    double value;
};

struct watch_event {
    char time[32], name[24], detail[WATCH_TEXT];
};

/* What metrics.jsonl has said so far. */
struct watch_metrics {
    int64_t iteration;          /* the newest; -1: none */
    double value[WATCH_VALUES]; /* of it; NaN: absent */
    double share[GROUPS];       /* of the ranks' time in it; NaN: not known */
    struct watch_named component[WATCH_NAMED], status[WATCH_NAMED];
    int64_t components, statuses;
    double recent_s; /* running mean of an iteration's time; NaN: none */
    struct {
        double sum;
        int64_t n;
    } bucket[WATCH_HISTORY]; /* reward, `width` iterations to a bucket */
    int64_t width;
    struct watch_event event[WATCH_EVENTS]; /* newest first */
    int64_t events, unreadable;
    int64_t offset; /* read up to here */
};

struct watch_run {
    char *dir, *name;
    enum watch_state state;
    int64_t code, version, iterations; /* -1: not known */
    double session_s;                  /* NaN: not known */
    char message[WATCH_TEXT], phase[128], trouble[WATCH_TEXT];
    struct watch_metrics metrics;
    struct watch_event warning; /* the newest of the logs, of this job; name "": none */

    bool member;         /* of a sweep: ../member.json says how it ended */
    int64_t member_code; /* there; -1: not known */

    /* The iteration at hand. -1: not known. */
    int64_t shards, rolled_out, scored;
    bool advantage;
    char method[48], reward[48];

    /* accounting.json; NaN: not there. */
    double busy[GROUPS];

    /* The last sign of life: by the file's time; by our clock, NaN: before we looked. */
    double sign_wall, sign_seen;
    bool seen; /* looked at before */

    struct watch_stamp status_at, metrics_at, config_at, accounting_at, rollout_at,
        reward_at, advantage_at, policy_at, member_at, logs_at, log_at[WATCH_LOGS];
    char log[WATCH_LOGS][32];
    int64_t logs, looked_at; /* the iteration whose shards were counted */
};

/* dir and name are copied; name NULL: dir. */
struct watch_run *watch_run_create(const char *dir, const char *name);
void watch_run_destroy(struct watch_run *r);

/* Looks at the files and reads what is new. What is missing, cut or no JSON is left as
 * it was, and r->trouble says so; never fails. now: clock_s(). */
void watch_run_look(struct watch_run *r, double now);
/* Seconds since the last sign of life, NaN where there was none. now: clock_s(); wall:
 * of the calendar. A change that was seen counts by our own clock, an older one by the
 * file's time, which may be another machine's. */
double watch_run_age(const struct watch_run *r, double now, double wall);
/* Seconds to the end at the present rate, NaN where not known. */
double watch_run_eta(const struct watch_run *r);
/* Whether nothing more will come unless somebody starts the run again. */
bool watch_run_over(const struct watch_run *r);

/* Reads on in metrics.jsonl. Of a stretch of more than 4 MiB only evenly spaced parts
 * and the end are read. Returns whether the file is there. */
bool watch_metrics_read(struct watch_metrics *m, const char *path);
void watch_metrics_clear(struct watch_metrics *m);
/* n values of the reward's history, oldest first, NaN for none; returns how many,
 * at most n. */
int64_t watch_metrics_history(const struct watch_metrics *m, double *v, int64_t n);

/* Looks at a file: 1 changed since the stamp (which is renewed), 0 the same, -1
 * absent. */
int watch_stamp_look(struct watch_stamp *s, const char *path);

/* A text of a JSON map cut to size, "" where there is none. */
void watch_text(const struct json *map, const char *key, char *out, size_t size);

#endif

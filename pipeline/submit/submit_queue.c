/* Jobs of a directory that wait or run. Their scripts read files there, also after a
 * requeue, so a further submission must neither replace these files nor start beside
 * them. DIR/slurm/jobs has the numbers, a line each; Slurm says which of them are left.
 */
#include "pipeline/submit/submit.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/child.h"

#include <stdio.h>
#include <string.h>

enum { JOBS_FILE = 1 << 20, DIGITS = 24, EDITIONS = 10000 };

static char *jobs_path(const struct submit *s)
{
    return text_new("%s/slurm/jobs", s->dir);
}

/* The next line's number; NULL at the end. */
static const char *next_id(const char **at, char id[DIGITS])
{
    while (**at != '\0') {
        const char *line = *at;
        size_t n = strspn(line, "0123456789"), all = strcspn(line, "\n");
        *at = line + all + (line[all] == '\n');
        if (n > 0 && n < DIGITS) {
            snprintf(id, DIGITS, "%.*s", (int)n, line);
            return id;
        }
    }
    return NULL;
}

/* "12 RUNNING\n..." of those that are in the queue. What squeue does not know, or where
 * it does not answer, is not: sbatch will say more. */
static void ask(const char *jobs, struct text *said)
{
    struct text ids = {0};
    const struct text nothing = {0};
    char id[DIGITS];
    static char squeue[] = "squeue", h[] = "-h", j[] = "-j", o[] = "-o",
                format[] = "%F %T";
    while (next_id(&jobs, id) != NULL)
        text_add(&ids, "%s%s", ids.len > 0 ? "," : "", id);
    char *const argv[] = {squeue, h, j, ids.s, o, format, NULL};
    if (ids.len > 0 && !child_filter(argv, &nothing, said))
        text_free(said);
    text_free(&ids);
}

/* Its state among squeue's lines, into state; whether it is there. */
static bool find(const char *said, const char *id, char state[DIGITS])
{
    size_t n = strlen(id);
    for (const char *p = said; p != NULL && *p != '\0'; p = strchr(p, '\n')) {
        p += *p == '\n';
        if (strncmp(p, id, n) == 0 && p[n] == ' ') {
            snprintf(state, DIGITS, "%.*s", (int)strcspn(p + n + 1, "\n"), p + n + 1);
            return true;
        }
    }
    return false;
}

/* Whether --after names the job. */
static bool waits_for(const struct submit *s, const char *id)
{
    size_t n = strlen(id);
    for (const char *p = config_text(s->options, "after"); *p != '\0'; p++) {
        if (strncmp(p, id, n) == 0 && (p[n] == '\0' || p[n] == ':'))
            return true;
        p += strcspn(p, ":");
        if (*p == '\0')
            break;
    }
    return false;
}

static int next_edition(struct submit *s)
{
    for (s->edition = 2; s->edition < EDITIONS; s->edition++) {
        char *path = submit_script_path(s, GROUP_ROLLOUT);
        bool taken = file_exists(path);
        mem_free(path);
        if (!taken)
            return 0;
    }
    return err_set(ERR_USAGE, "%s/slurm: too many scripts; remove old ones", s->dir);
}

/* The last job is the one that all others are before. */
static int decide(struct submit *s, const char *last, const char *state)
{
    if (s->kind == SUBMIT_STAGES)
        return err_set(
            ERR_USAGE,
            "%s: job %s (%s) of an earlier submission is in the queue, and a chain "
            "of stages has the directory for itself: wait for its end, or "
            "`scancel %s`",
            s->dir, last, state, last);
    if (!waits_for(s, last))
        return err_set(
            ERR_USAGE,
            "%s: job %s (%s) of an earlier submission is in the queue: wait for its "
            "end, `scancel %s`, or give --after %s (afterany:%s: however it ends) to "
            "run behind it",
            s->dir, last, state, last, last, last);
    return next_edition(s);
}

int submit_queue(struct submit *s)
{
    char *path = jobs_path(s), *jobs = NULL, id[DIGITS], last[DIGITS] = "",
         state[DIGITS] = "";
    int64_t len = 0;
    struct text said = {0};
    int rc = file_exists(path) ? file_read(path, JOBS_FILE, &jobs, &len) : 0;
    mem_free(path);
    if (rc != 0 || jobs == NULL)
        return rc;
    ask(jobs, &said);
    for (const char *at = jobs; next_id(&at, id) != NULL;)
        if (find(said.s, id, state)) {
            text_add(&s->queued, "%s\n", id);
            snprintf(last, sizeof last, "%s", id);
        }
    if (last[0] != '\0') {
        find(said.s, last, state);
        rc = decide(s, last, state);
    }
    text_free(&said);
    mem_free(jobs);
    return rc;
}

int submit_queue_begin(const struct submit *s)
{
    char *path = jobs_path(s);
    int rc = file_write(path, s->queued.len > 0 ? s->queued.s : "", s->queued.len);
    mem_free(path);
    return rc;
}

int submit_queue_add(const struct submit *s, const char *id)
{
    char *path = jobs_path(s), *line = text_new("%s\n", id);
    int rc = file_append(path, line, (int64_t)strlen(line));
    mem_free(line);
    mem_free(path);
    return rc;
}

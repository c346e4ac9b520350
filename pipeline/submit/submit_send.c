/* Submission: files first, then jobs, in the order in which they depend on each other. */
#include "pipeline/submit/submit.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/child.h"
#include "pipeline/settings.h"

#include <stdio.h>
#include <string.h>

enum { JOBS_MOST = 4000, ID = 64 };

static int write_below(const struct submit *s, const char *name, const struct text *t)
{
    char *path = text_new("%s/%s", s->dir, name);
    int rc = file_write(path, t->s, t->len);
    mem_free(path);
    return rc;
}

/* The configuration as it is now: a job that waits for a week does not see later edits. */
static int write_files(const struct submit *s)
{
    struct text t = {0};
    char *dir = text_new("%s/slurm", s->dir), *log = text_new("%s/log", s->dir);
    char *config = submit_file(s, "slurm/config", "yaml");
    int rc = file_make_dirs(dir) != 0 || file_make_dirs(log) != 0 ? -1 : 0;
    if (rc == 0 && s->config != NULL) {
        config_dump(s->config, &t, false);
        rc = rundir_create(s->dir) != 0 || write_below(s, config, &t) != 0 ? -1 : 0;
        if (rc == 0 && s->kind == SUBMIT_STAGES) /* `sluice stage` reads this one */
            rc = write_below(s, "config.yaml", &t);
    }
    text_free(&t);
    if (rc == 0)
        rc = submit_queue_begin(s);
    for (int g = 0; g < (s->kind == SUBMIT_STAGES ? GROUPS : 1) && rc == 0; g++) {
        char *path = submit_script_path(s, (enum group)g);
        submit_script(s, (enum group)g, &t);
        rc = file_write(path, t.s, t.len);
        text_free(&t);
        mem_free(path);
    }
    mem_free(config);
    mem_free(log);
    mem_free(dir);
    return rc;
}

/* The last line of what sbatch wrote from byte `from` on, as a job's number. */
static int read_id(const char *log, int64_t from, int code, char id[ID])
{
    char *text = NULL;
    int64_t len = 0;
    if (file_read(log, 1 << 26, &text, &len) != 0)
        return -1;
    char *said = text + (from < len ? from : len);
    while (len > 0 && text + len > said && text[len - 1] == '\n')
        text[--len] = '\0';
    const char *last = strrchr(said, '\n');
    last = last != NULL ? last + 1 : said;
    size_t n = strspn(last, "0123456789"); /* "123;cluster" too */
    int rc = 0;
    if (code != 0 || n == 0 || n >= ID)
        rc = err_set(ERR_ENV, "sbatch did not take the job (exit %d): %.600s", code, said);
    else
        snprintf(id, ID, "%.*s", (int)n, last);
    mem_free(text);
    return rc;
}

/* Submits one job. *id: of the job that it depends on, or ""; then its own. */
static int send_one(const struct submit *s, enum group stage, const char *argument,
                    char id[ID])
{
    char *log = text_new("%s/slurm/sbatch.log", s->dir);
    char *script = submit_script_path(s, stage);
    char *after = text_new("--dependency=afterok:%s", id);
    int64_t from = file_size(log);
    static char sbatch[] = "sbatch", parsable[] = "--parsable",
                cancel[] = "--kill-on-invalid-dep=yes";
    char *word[8] = {sbatch, parsable, cancel};
    int n = 3;
    if (id[0] != '\0')
        word[n++] = after;
    word[n++] = script;
    char *extra = mem_text(argument);
    if (extra != NULL)
        word[n] = extra;
    int code = child_run(word, log);
    int rc = code < 0 ? -1 : read_id(log, from < 0 ? 0 : from, code, id);
    if (rc == 0)
        rc = submit_queue_add(s, id);
    mem_free(extra);
    mem_free(after);
    mem_free(script);
    mem_free(log);
    return rc;
}

/* Iterations that the run directory has. */
static int done_so_far(const struct submit *s, int64_t *done)
{
    int64_t *version = NULL, n = 0;
    if (rundir_policies(s->dir, &version, &n) != 0)
        return -1;
    *done = n > 0 ? version[n - 1] : 0;
    mem_free(version);
    return 0;
}

static int send_chain(const struct submit *s)
{
    char id[ID] = "";
    int64_t done = 0, wanted = settings_iterations(s->config), sent = 0;
    const int stages = s->kind == SUBMIT_STAGES ? GROUPS : 1;
    const int64_t each = s->kind == SUBMIT_STAGES ? 1 : s->block;
    int rc = done_so_far(s, &done);
    if (rc == 0 && done >= wanted)
        return err_set(ERR_USAGE, "%s: the run is finished; raise run.iterations", s->dir);
    if (rc == 0 && (wanted - done + each - 1) / each * stages > JOBS_MOST)
        return err_set(ERR_USAGE,
                       "a chain of more than %d jobs: use --chain blocks with a larger "
                       "--block",
                       JOBS_MOST);
    for (int64_t i = done; i < wanted && rc == 0; i += each) {
        int64_t end = i + each < wanted ? i + each : wanted;
        char *until = s->kind == SUBMIT_BLOCKS ? text_new("%lld", (long long)end) : NULL;
        for (int g = 0; g < stages && rc == 0; g++) {
            rc = send_one(s, (enum group)g, until, id);
            sent += rc == 0;
            if (rc == 0 && until == NULL)
                printf("%s iteration %lld %s\n", id, (long long)i,
                       group_name((enum group)g));
            else if (rc == 0)
                printf("%s iterations %lld to %lld\n", id, (long long)i,
                       (long long)end - 1);
        }
        mem_free(until);
    }
    if (rc != 0 && sent > 0)
        err_add("%lld jobs of the chain are in the queue (the last is %s), this one is not",
                (long long)sent, id);
    return rc;
}

int submit_send(const struct submit *s)
{
    char id[ID] = "";
    if (write_files(s) != 0)
        return -1;
    if (s->kind == SUBMIT_STAGES || s->kind == SUBMIT_BLOCKS)
        return send_chain(s);
    if (send_one(s, GROUP_ROLLOUT, NULL, id) != 0)
        return -1;
    printf("%s\n", id);
    return 0;
}

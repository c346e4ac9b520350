/* RO-Crate: what lies in the run directory and how it came to be, as JSON-LD.
 * https://w3id.org/ro/crate/1.1, https://w3id.org/ro/wfrun/process/0.5 */
#include "pipeline/export/export.h"

#include "io/json_lines.h"
#include "io/rundir.h"
#include "io/sys/digest.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/metrics_log.h"

#include <stdio.h>
#include <string.h>

#define CRATE "https://w3id.org/ro/crate/1.1"
#define PROFILE "https://w3id.org/ro/wfrun/process/0.5"
enum { JSON_MOST = 64 << 20 };

static const struct part {
    const char *path, *type, *what;
} parts[] = {
    {"config.yaml", "application/yaml", "the resolved configuration"},
    {"provenance.json", "application/json", "what ran where when the run began"},
    {"metrics.jsonl", "application/jsonl", "metrics of each iteration"},
    {"status.json", "application/json", "state of the run"},
    {"accounting.json", "application/json", "time and core-hours"},
    {"index.h5", "application/x-hdf5", "virtual data sets over all shards"},
    {"report.html", "text/html", "the report"},
    {"log/sessions.jsonl", "application/jsonl", "one line of provenance per job"},
    {"rollout/", NULL, "sampled trajectories, sealed HDF5 files by iteration"},
    {"reward/", NULL, "scores of the samples"},
    {"advantage/", NULL, "learning signal by iteration"},
    {"policy/", NULL, "policies by version: weights and the optimizer's state"},
};
enum { PARTS = sizeof parts / sizeof *parts };

static void put_reference(struct json_out *o, const char *key, const char *id)
{
    json_out_map(o, key);
    json_out_text(o, "@id", id);
    json_out_end(o);
}

/* `utc` ends in Z; validators of the profile want the offset as a number. */
static void put_time(struct json_out *o, const char *key, const char *utc)
{
    size_t len = strlen(utc);
    bool zulu = len > 0 && utc[len - 1] == 'Z';
    char *time = text_new("%.*s%s", (int)(len - zulu), utc, zulu ? "+00:00" : "");
    json_out_text(o, key, time);
    mem_free(time);
}

static void begin_entity(struct json_out *o, const char *id, const char *type)
{
    json_out_map(o, NULL);
    json_out_text(o, "@id", id);
    json_out_text(o, "@type", type);
}

static bool there(const char *run, const struct part *p)
{
    char *path = rundir_path(run, p->path);
    bool yes = file_exists(path);
    mem_free(path);
    return yes;
}

/* RO-Crate 1.1 has no term for the digest; this is the one of 1.2. */
static void put_context(struct json_out *o)
{
    json_out_list(o, "@context");
    json_out_text(o, NULL, CRATE "/context");
    json_out_map(o, NULL);
    json_out_text(o, "sha256", "http://schema.org/sha256");
    json_out_end(o);
    json_out_end(o);
}

static void put_root(struct json_out *o, const char *run, const struct json *first,
                     const char *newest, int64_t sessions)
{
    const char *started = json_text(json_get(first, "started"));
    const char *run_id = json_text(json_get(first, "run_id"));
    char *name = text_new("Sluice run %s", run_id == NULL ? "" : run_id);
    begin_entity(o, "ro-crate-metadata.json", "CreativeWork");
    put_reference(o, "conformsTo", CRATE);
    put_reference(o, "about", "./");
    json_out_end(o);
    begin_entity(o, "./", "Dataset");
    put_reference(o, "conformsTo", PROFILE);
    json_out_text(o, "name", name);
    json_out_text(
        o, "description",
        "Reinforcement-learning fine-tuning of a diffusion model: configuration, "
        "sampled trajectories, rewards, advantages, policies and metrics.");
    json_out_text(o, "identifier", run_id == NULL ? "" : run_id);
    json_out_text(o, "datePublished", started == NULL ? "" : started);
    json_out_text(o, "license", "not stated");
    json_out_list(o, "hasPart");
    for (int k = 0; k < PARTS; k++)
        if (there(run, &parts[k]))
            put_reference(o, NULL, parts[k].path);
    if (newest != NULL)
        put_reference(o, NULL, newest);
    json_out_end(o);
    if (sessions > 1) /* the format wants no lists of one entry */
        json_out_list(o, "mentions");
    for (int64_t i = 0; i < sessions; i++) {
        char id[32];
        snprintf(id, sizeof id, "#job-%lld", (long long)i + 1);
        put_reference(o, sessions > 1 ? NULL : "mentions", id);
    }
    if (sessions > 1)
        json_out_end(o);
    json_out_end(o);
    mem_free(name);
}

static int put_file(struct json_out *o, const char *run, const struct part *p)
{
    char hex[DIGEST_HEX], *path = rundir_path(run, p->path);
    int rc = 0;
    if (file_exists(path)) {
        begin_entity(o, p->path, p->type == NULL ? "Dataset" : "File");
        json_out_text(o, "name", p->path);
        json_out_text(o, "description", p->what);
        if (p->type != NULL) {
            char size[24];
            rc = digest_file(path, hex);
            snprintf(size, sizeof size, "%lld", (long long)file_size(path));
            json_out_text(o, "encodingFormat", p->type);
            json_out_text(o, "contentSize", size);
            json_out_text(o, "sha256", rc == 0 ? hex : "");
        }
        json_out_end(o);
    }
    mem_free(path);
    return rc;
}

static void put_software(struct json_out *o, const struct json *session)
{
    const char *version = json_text(json_get(session, "version"));
    const char *commit = json_text(json_get(session, "commit"));
    const char *build = json_text(json_get(session, "build"));
    begin_entity(o, PROFILE, "CreativeWork");
    json_out_text(o, "name", "Process Run Crate");
    json_out_text(o, "version", "0.5");
    json_out_end(o);
    begin_entity(o, "#sluice", "SoftwareApplication");
    json_out_text(o, "name", "Sluice");
    json_out_text(o, "softwareVersion", version == NULL ? "" : version);
    json_out_text(o, "identifier", commit == NULL ? "" : commit);
    json_out_text(o, "description", build == NULL ? "" : build);
    json_out_end(o);
}

/* The last iteration's end before the next job began. */
static const char *end_of(const struct metrics_log *m, const char *start,
                          const char *next)
{
    const char *end = NULL;
    for (int64_t i = 0; i < m->rows; i++)
        if (strcmp(m->time[i], start) >= 0 &&
            (next == NULL || strcmp(m->time[i], next) < 0))
            end = m->time[i];
    return end;
}

static void put_action(struct json_out *o, const struct json *session, int64_t number,
                       const char *end, const char *newest)
{
    char id[32];
    const char *start = json_text(json_get(session, "started"));
    const char *hosts = json_text(json_get(session, "hosts"));
    const struct json *command = json_get(session, "command");
    struct text line = {0};
    text_add(&line, "sluice");
    for (int64_t i = 0; i < json_count(command); i++) {
        const char *word = json_text(json_item(command, i));
        text_add(&line, " %s", word == NULL ? "" : word);
    }
    snprintf(id, sizeof id, "#job-%lld", (long long)number + 1);
    begin_entity(o, id, "CreateAction");
    json_out_text(o, "name", line.s);
    if (hosts != NULL)
        json_out_text(o, "description", hosts);
    if (start != NULL)
        put_time(o, "startTime", start);
    if (end != NULL)
        put_time(o, "endTime", end);
    put_reference(o, "instrument", "#sluice");
    put_reference(o, "object", "config.yaml");
    json_out_list(o, "result");
    for (int k = PARTS - 4; k < PARTS; k++)
        put_reference(o, NULL, parts[k].path);
    put_reference(o, NULL, "metrics.jsonl");
    if (newest != NULL)
        put_reference(o, NULL, newest);
    json_out_end(o);
    json_out_end(o);
    text_free(&line);
}

/* One JSON value per line of log/sessions.jsonl; a run of an older kind has only
 * provenance.json. */
static int read_sessions(const char *run, struct json ***session, int64_t *n)
{
    char *path = rundir_path(run, "log/sessions.jsonl");
    struct json_lines *lines = NULL;
    struct json *j;
    int rc = 0;
    *session = NULL;
    *n = 0;
    if (file_exists(path))
        rc = (lines = json_lines_open(path)) == NULL ? -1 : 0;
    while (lines != NULL && (j = json_lines_next(lines)) != NULL) {
        *session = mem_resize(*session, *n, *n + 1, sizeof **session);
        (*session)[(*n)++] = j;
    }
    json_lines_close(lines);
    mem_free(path);
    if (rc != 0 || *n > 0)
        return rc;
    path = rundir_path(run, "provenance.json");
    j = json_read(path, JSON_MOST);
    mem_free(path);
    if (j == NULL)
        return -1;
    *session = mem_resize(NULL, 0, 1, sizeof **session);
    (*session)[(*n)++] = j;
    return 0;
}

/* "policy/v000006.h5" in buf, NULL: no policy. */
static const char *newest_policy(const char *run, char buf[96])
{
    int64_t *version, n;
    if (rundir_policies(run, &version, &n) != 0) {
        err_clear();
        return NULL;
    }
    const char *found = n == 0 ? NULL : rundir_policy(buf, version[n - 1]);
    mem_free(version);
    return found;
}

int export_ro_crate(const char *run)
{
    struct json **session;
    struct metrics_log m = {0};
    struct text text = {0};
    int64_t n;
    char buf[96], *path = rundir_path(run, "ro-crate-metadata.json");
    char *log = rundir_path(run, "metrics.jsonl");
    const char *newest = newest_policy(run, buf);
    int rc = read_sessions(run, &session, &n);
    if (rc == 0)
        rc = metrics_log_read(&m, log);
    struct json_out *o = json_out_create();
    put_context(o);
    json_out_list(o, "@graph");
    if (rc == 0)
        put_root(o, run, session[0], newest, n);
    for (int k = 0; k < PARTS && rc == 0; k++)
        rc = put_file(o, run, &parts[k]);
    if (rc == 0 && newest != NULL)
        rc = put_file(
            o, run, &(struct part){newest, "application/x-hdf5", "the newest policy"});
    if (rc == 0)
        put_software(o, session[n - 1]);
    for (int64_t i = 0; i < n && rc == 0; i++) {
        const char *start = json_text(json_get(session[i], "started"));
        const char *next =
            i + 1 < n ? json_text(json_get(session[i + 1], "started")) : NULL;
        put_action(o, session[i], i, start == NULL ? NULL : end_of(&m, start, next),
                   newest);
    }
    json_out_end(o);
    json_out_finish(o, 2, &text);
    text_add(&text, "\n");
    if (rc == 0)
        rc = file_write(path, text.s, text.len);
    text_free(&text);
    metrics_log_free(&m);
    for (int64_t i = 0; i < n; i++)
        json_free(session[i]);
    mem_free(session);
    mem_free(path);
    mem_free(log);
    return rc;
}

/* The section "What to change": gathers what the rules need. */
#include "pipeline/report/report_time.h"

#include "io/rundir.h"
#include "io/shard.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "pipeline/plan/plan.h"
#include "pipeline/plan/plan_crowd.h"
#include "stages/reward/scorer.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Ranks up to which other layouts are tried here: a second or two. */
enum { RANKS_MOST = 1024 };

struct scored {
    int64_t prompt;
    double reward, advantage;
};

static int by_prompt(const void *a, const void *b)
{
    const struct scored *x = a, *y = b;
    return (x->prompt > y->prompt) - (x->prompt < y->prompt);
}

/* The part of the samples, two or more of a prompt, that have advantage 0 and the same
 * reward as all others of their prompt. */
static double part_zero(struct scored *s, int64_t n)
{
    int64_t zero = 0, end;
    qsort(s, (size_t)n, sizeof *s, by_prompt);
    for (int64_t i = 0; i < n; i = end) {
        bool same = true;
        for (end = i; end < n && s[end].prompt == s[i].prompt; end++)
            same = same && s[end].reward == s[i].reward && s[end].advantage == 0;
        zero += same && end - i > 1 ? end - i : 0;
    }
    return n > 0 ? (double)zero / (double)n : NAN;
}

/* Of the samples that take part in the update. */
static double zero_advantages(const char *rundir, int64_t iteration)
{
    char rel[96];
    int64_t dim[SHARD_MAX_ND] = {0}, kept = 0;
    double part = NAN;
    char *path = rundir_path(rundir, rundir_advantage(rel, iteration));
    struct shard *s = file_exists(path) ? shard_open(path, SHARD_ADVANTAGE) : NULL;
    if (s != NULL) {
        double *a = shard_get(s, "advantage", COLUMN_F64, 1, NULL, dim);
        int64_t n = dim[0];
        double *r = a == NULL ? NULL : shard_get(s, "reward", COLUMN_F64, 1, dim, NULL);
        int64_t *p = r == NULL ? NULL : shard_get(s, "prompt_id", COLUMN_I64, 1, dim, NULL);
        uint8_t *used = p == NULL ? NULL : shard_get(s, "usable", COLUMN_U8, 1, dim, NULL);
        struct scored *row = mem_alloc(n + 1, sizeof *row);
        for (int64_t i = 0; used != NULL && i < n; i++)
            if (used[i])
                row[kept++] = (struct scored){p[i], r[i], a[i]};
        part = part_zero(row, kept);
        mem_free(row);
        mem_free(used);
        mem_free(p);
        mem_free(r);
        mem_free(a);
    }
    shard_close(s);
    mem_free(path);
    err_clear();
    return part;
}

static void from_config(struct report_facts *f, const struct config *c)
{
    struct reward reward;
    int64_t samples = config_int(c, "rollout.samples");
    int64_t batch =
        config_is(c, "update.batch", "auto") ? samples : config_int(c, "update.batch");
    f->shard_samples = config_int(c, "rollout.shard_samples");
    f->shards = plan_parts(samples, f->shard_samples);
    f->micro_batch = config_int(c, "model.micro_batch");
    f->optimizer_steps = config_int(c, "update.inner_epochs") * plan_parts(samples, batch);
    f->max_staleness = config_int(c, "max_staleness");
    f->in_flight = config_int(c, "http.in_flight");
    f->workers = config_int(c, "exec.workers");
    f->has_kl_budget = config_real(c, "run.kl_budget") > 0;
    if (scorer_describe(c, NULL, &reward) == 0 && reward.remote) {
        f->http = config_text(c, "http.url")[0] != '\0';
        f->exec = !f->http;
    }
    err_clear();
}

/* What other group sizes would give; *why receives why that is not known. */
static void try_layouts(struct report_facts *f, const char *rundir, const struct config *c,
                        char why[320])
{
    struct plan p = {.c = c, .ranks = f->layout.world};
    struct plan_rates r;
    struct simulate_options o;
    if (plan_derive_work(&p) == 0 && p.model != NULL &&
        plan_rates_read(&r, rundir, &p) == 0 && plan_crowd_remove(&r, &p) == 0) {
        f->micro_batches = plan_parts(p.pairs, p.micro);
        plan_costs(&o, &p, &r, &f->layout, 1);
        if (r.cores == 0) {
            snprintf(why, 320, "accounting.json does not say how many cores there were");
        } else {
            if (r.cores < r.ranks * r.threads) /* they took turns, and so would others */
                o.cores = r.cores > r.threads ? r.cores / r.threads : 1;
            plan_improve(&o, &p, &r, &f->plan);
            f->planned = true;
        }
    } else if (err_code() != ERR_NONE) {
        snprintf(why, 320, "%.300s", err_text());
    }
    plan_close(&p);
    err_clear();
}

/* The layout of the last job, which may not be config's. */
static bool layout_of_job(struct layout *l, const struct json *accounting)
{
    int want[GROUPS] = {0};
    int64_t ranks, size;
    const struct json *groups = accounting == NULL ? NULL : json_get(accounting, "groups");
    if (groups == NULL || !json_to_i64(json_get(accounting, "ranks"), &ranks) || ranks < 2 ||
        ranks > 10000000)
        return false;
    for (int64_t i = 0; i < json_count(groups); i++) {
        enum group g;
        const struct json *one = json_item(groups, i);
        const char *name = json_text(json_get(one, "name"));
        if (name != NULL && group_from_name(name, &g) &&
            json_to_i64(json_get(one, "ranks"), &size) && size > 0 && size <= ranks)
            want[g] = (int)size;
    }
    for (int g = 0; g < GROUPS; g++)
        if (want[g] == 0)
            return false;
    bool good = layout_make(l, want, false, (int)ranks) == 0;
    err_clear();
    return good;
}

static void find_layout(struct report_facts *f, const char *rundir, const struct config *c,
                        const struct json *accounting, char why[320])
{
    char *replay = rundir_path(rundir, "replay.json");
    bool judged = !file_exists(replay) && layout_of_job(&f->layout, accounting);
    mem_free(replay);
    if (accounting == NULL)
        snprintf(why, 320, "a job writes accounting.json, which it takes, at its end");
    if (!judged)
        return;
    f->apart = !f->layout.overlap;
    f->large = f->layout.world > RANKS_MOST;
    if (!f->large && c != NULL)
        try_layouts(f, rundir, c, why);
}

void report_changes(struct text *out, const char *rundir, const struct report_metrics *m,
                    const struct config *config, const struct json *accounting)
{
    struct report_shares shares;
    struct report_facts f = {.metrics = m, .shares = &shares, .zero_advantages = NAN};
    struct text items = {0};
    char why[320] = "";
    if (m->n == 0)
        return;
    report_shares_read(&shares, rundir);
    struct report_spent job[GROUPS] = {0};
    bool last = report_shares_of_job(job, accounting);
    if (last)
        memcpy(shares.sum, job, sizeof job);
    if (config != NULL)
        from_config(&f, config);
    find_layout(&f, rundir, config, accounting, why);
    f.zero_iteration = (int64_t)m->row[m->n - 1][M_ITERATION];
    f.zero_advantages = zero_advantages(rundir, f.zero_iteration);
    text_add(out, "<section id=\"advice\"><h2>What to change</h2>\n");
    if (report_advice(&items, &f) > 0)
        text_add(out,
                 "<ul>\n%s</ul>\n<p class=\"scale\">Times are of the %s; what is expected, on "
                 "the same cores. Keys of <code>groups</code>, <code>http</code> and "
                 "<code>exec</code> may change when a run goes on; most others shape results "
                 "and are for the next run.</p>\n",
                 items.s, last ? "last job" : "whole run");
    else
        text_add(out, "<p>Nothing that was measured asks for a change.</p>\n");
    if (why[0] != '\0') {
        text_add(out, "<p class=\"scale\">Group sizes were not judged: ");
        report_escape(out, why);
        text_add(out, ".</p>\n");
    }
    text_add(out, "</section>\n");
    text_free(&items);
    report_shares_free(&shares);
}

/* The statistics for people. The table's rows are the leaves of the JSON objects, lists
 * apart, so that a number has one name everywhere. */
#include "pipeline/stats/stats.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BAR = 50, ROWS_MOST = 24, LEAVES_MOST = 512, CELL = 16 };

struct leaf {
    char *name;
    double *value; /* [runs], NaN: absent */
};
struct table {
    struct leaf leaf[LEAVES_MOST];
    int64_t n, runs;
};

static struct leaf *leaf_of(struct table *t, const char *name)
{
    for (int64_t i = 0; i < t->n; i++)
        if (strcmp(t->leaf[i].name, name) == 0)
            return &t->leaf[i];
    if (t->n == LEAVES_MOST)
        return NULL;
    struct leaf *l = &t->leaf[t->n++];
    l->name = mem_text(name);
    l->value = mem_alloc(t->runs, sizeof *l->value);
    for (int64_t i = 0; i < t->runs; i++)
        l->value[i] = NAN;
    return l;
}

static void take_leaves(struct table *t, const struct json *map, const char *prefix,
                        int64_t run)
{
    for (int64_t i = 0; i < json_count(map); i++) {
        const char *key = NULL;
        double v;
        const struct json *child = json_entry(map, i, &key);
        char *name = text_new("%s%s%s", prefix, prefix[0] != '\0' ? "." : "", key);
        if (json_kind(child) == JSON_MAP_T) {
            take_leaves(t, child, name, run);
        } else if (json_to_f64(child, &v)) {
            struct leaf *l = leaf_of(t, name);
            if (l != NULL)
                l->value[run] = v;
        }
        mem_free(name);
    }
}

static void print_table(char *const *dir, const struct stats *s, int64_t runs)
{
    struct table *t = mem_alloc(1, sizeof *t);
    t->runs = runs;
    for (int64_t i = 0; i < runs; i++) {
        struct text text = {0};
        struct json_out *out = json_out_create();
        stats_put(&s[i], out);
        json_out_finish(out, 0, &text);
        struct json *j = json_parse(text.s, text.len, dir[i]);
        take_leaves(t, j, "", i);
        json_free(j);
        text_free(&text);
    }
    printf("%-36s", "");
    for (int64_t i = 0; i < runs; i++) {
        size_t n = strlen(dir[i]);
        printf(" %*s", CELL, dir[i] + (n > CELL ? n - CELL : 0));
    }
    putchar('\n');
    for (int64_t k = 0; k < t->n; k++) {
        printf("%-36s", t->leaf[k].name);
        for (int64_t i = 0; i < runs; i++)
            if (isnan(t->leaf[k].value[i]))
                printf(" %*s", CELL, "-");
            else
                printf(" %*.6g", CELL, t->leaf[k].value[i]);
        putchar('\n');
        mem_free(t->leaf[k].name);
        mem_free(t->leaf[k].value);
    }
    mem_free(t);
}

static void print_bar(int64_t n, int64_t most)
{
    int64_t width = most > 0 ? (n * BAR + most - 1) / most : 0;
    printf(" %9lld  ", (long long)n);
    for (int64_t i = 0; i < width; i++)
        putchar('#');
    putchar('\n');
}

static void print_histograms(const struct stats *s)
{
    int64_t most = 0;
    double width = (s->reward.max - s->reward.min) / STATS_BINS;
    for (int k = 0; k < STATS_BINS; k++)
        most = s->count[k] > most ? s->count[k] : most;
    puts("\nreward, samples:");
    for (int k = 0; k < STATS_BINS && s->reward.n > 0 && (k == 0 || width > 0); k++) {
        printf("  %12.6g ..", s->reward.min + k * width);
        print_bar(s->count[k], most);
    }
    puts("\nstatus, samples:");
    for (int k = 0; k < STATS_STATUSES; k++)
        if (s->status[k] > 0) {
            printf("  %-15s", reward_status_name((enum reward_status)k));
            print_bar(s->status[k], s->samples);
        }
}

/* Of many rows every so many-th, and the last one. */
static bool shown(int64_t i, int64_t n)
{
    return n <= ROWS_MOST || i % ((n + ROWS_MOST - 1) / ROWS_MOST) == 0 || i == n - 1;
}

static void print_cell(double v)
{
    if (isfinite(v))
        printf(" %11.5g", v);
    else
        printf(" %11s", "-");
}

static void print_iterations(const struct stats *s)
{
    static const char *const head[] = {
        "reward",  "std",        "guard",      "correlation", "adv. std",
        "KL path", "const. grp", "eff. first", "approx KL",   "clipped"};
    puts("\niterations (correlation: of reward and guard; eff. first: effective "
         "samples for "
         "policy 0):");
    printf("  %9s", "iteration");
    for (size_t k = 0; k < sizeof head / sizeof *head; k++)
        printf(" %11s", head[k]);
    putchar('\n');
    for (int64_t i = 0; i < s->n; i++) {
        const struct stats_iteration *it = &s->iteration[i];
        if (!shown(i, s->n))
            continue;
        const double cell[] = {it->reward.mean,
                               it->reward.std,
                               it->guard.mean,
                               pairs_correlation(&it->reward_guard),
                               moments_std(&it->advantage),
                               moments_mean(&it->kl_path),
                               (double)it->constant,
                               weights_size(&it->first),
                               it->approx_kl,
                               it->clip_fraction};
        printf("  %9lld", (long long)it->iteration);
        for (size_t k = 0; k < sizeof cell / sizeof *cell; k++)
            print_cell(cell[k]);
        putchar('\n');
    }
}

static void print_steps(const struct stats *s)
{
    if (s->steps == 0)
        return;
    puts("\nsteps of the chain (ratio: log-density under policy 0 less that under its "
         "own; "
         "eff.: chains up to here):");
    printf("  %9s %11s %11s %11s %11s %11s %11s %11s %11s\n", "t", "log-prob", "std",
           "KL first", "ratio", "ratio std", "eff. first", "eff. other", "adv. std");
    for (int64_t k = 0; k < s->steps; k++) {
        const struct stats_step *p = &s->step[k];
        if (!shown(k, s->steps) || !p->live)
            continue;
        printf("  %9lld", (long long)p->t);
        print_cell(moments_mean(&p->log_prob));
        print_cell(moments_std(&p->log_prob));
        print_cell(moments_mean(&p->kl));
        print_cell(moments_mean(&p->log_ratio));
        print_cell(moments_std(&p->log_ratio));
        print_cell(weights_size(&p->first));
        print_cell(weights_size(&p->other));
        print_cell(moments_std(&p->advantage));
        putchar('\n');
    }
}

static void print_samples(const char *title, const struct stats_sample *b, int64_t n)
{
    printf("\n%s:\n  %12s %12s %10s %7s %7s %10s  %s\n", title, "reward", "guard",
           "iteration", "shard", "row", "prompt_id", "prompt");
    for (int64_t i = 0; i < n; i++) {
        printf("  %12.6g ", b[i].reward);
        print_cell(b[i].guard);
        printf(" %10lld %7lld %7lld %10lld  %s %s\n", (long long)b[i].iteration,
               (long long)b[i].shard, (long long)b[i].row, (long long)b[i].prompt_id,
               b[i].prompt, b[i].decoded);
    }
}

static void print_prompts(const struct stats *s)
{
    puts("\nprompts:");
    printf("  %10s %9s %12s %12s %12s %12s\n", "prompt_id", "n", "mean", "std", "min",
           "max");
    for (int64_t i = 0; i < s->prompts; i++) {
        const struct moments *m = &s->prompt[i].reward;
        if (shown(i, s->prompts))
            printf("  %10lld %9lld %12.6g %12.6g %12.6g %12.6g\n",
                   (long long)s->prompt[i].prompt_id, (long long)m->n, m->mean,
                   moments_std(m), m->min, m->max);
    }
}

void stats_print(char *const *dir, const struct stats *s, int64_t runs)
{
    print_table(dir, s, runs);
    for (int64_t i = 0; i < runs; i++) {
        if (runs > 1)
            printf("\n== %s\n", dir[i]);
        print_histograms(&s[i]);
        print_iterations(&s[i]);
        print_steps(&s[i]);
        if (s[i].prompts > 1)
            print_prompts(&s[i]);
        print_samples("best", s[i].best, s[i].bests);
        print_samples("worst", s[i].worst, s[i].worsts);
        printf("\n%s\n", s[i].verdict);
    }
}

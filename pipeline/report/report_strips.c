/* Denoising strips: the states of a few chains from noise to sample. Letters of a text are
 * shaded by how sure a state is of them: with x = sqrt(abar) x_0 + sqrt(1 - abar) e (Ho et
 * al. 2020, eq. 4) and x_0 = 1 at the letter's channel and -1 at the others, the letters'
 * probabilities given x alone are softmax(2 sqrt(abar) x / (1 - abar)) over the channels. */
#include "pipeline/report/report_pictures.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { STATES = 8, CHAINS = 3, LETTERS = 160, CHAIN_MOST = 1 << 24, SHADES = 5 };

/* One chain: the states that are shown. */
struct chain {
    const struct report_ranked *sample;
    const char *place;
    float *states; /* [shown, channels, height, width], in the data's units; NULL: damaged */
};

struct strips {
    const char *rundir;
    struct coding coding;
    bool text, series;
    double range[2];         /* of all curves */
    int64_t all, n;          /* states, and those shown */
    int64_t channels, height, width;
    double *t, *alpha_bar;   /* [all]; t negative: the sample */
};

/* Timesteps and signal levels of the states of a shard's chains; false: it stores none. */
static bool read_times(struct strips *s, int64_t iteration, int64_t shard)
{
    enum column_type type;
    char rel[96];
    int nd = 0;
    int64_t dim[SHARD_MAX_ND];
    char *path = rundir_path(s->rundir, rundir_rollout(rel, iteration, shard));
    struct shard *f = shard_open(path, SHARD_ROLLOUT);
    mem_free(path);
    if (f != NULL && shard_has(f, "latents", &type, &nd, dim) && nd == 5 && dim[1] > 2 &&
        dim[1] < 1 << 20 && dim[2] > 0 && dim[3] > 0 && dim[4] > 0) {
        const int64_t steps = dim[1] - 1, expect[1] = {steps};
        int64_t *t = shard_get(f, "t", COLUMN_I64, 1, expect, NULL);
        float *at = shard_get(f, "alpha_bar", COLUMN_F32, 1, expect, NULL);
        float *next = shard_get(f, "alpha_bar_next", COLUMN_F32, 1, expect, NULL);
        if (t != NULL && at != NULL && next != NULL) {
            s->all = dim[1];
            s->channels = dim[2];
            s->height = dim[3];
            s->width = dim[4];
            s->t = mem_alloc(s->all, sizeof *s->t);
            s->alpha_bar = mem_alloc(s->all, sizeof *s->alpha_bar);
            for (int64_t i = 0; i < s->all; i++) {
                s->t[i] = i < steps ? (double)t[i] : -1;
                s->alpha_bar[i] = (double)(i < steps ? at[i] : next[i - 1]);
            }
        }
        mem_free(t);
        mem_free(at);
        mem_free(next);
    }
    shard_close(f);
    err_clear();
    return s->t != NULL;
}

static int64_t state_of(const struct strips *s, int64_t k)
{
    return report_even(k, s->n, s->all);
}

/* The worst, the median and the best of the samples with a reward, else the first. */
static int64_t choose(const struct report_ranking *r, struct chain c[CHAINS])
{
    if (r->scored == 0) {
        c[0] = (struct chain){&r->sample[0], "first", NULL};
        return 1;
    }
    const struct chain all[CHAINS] = {{&r->sample[r->scored - 1], "best", NULL},
                                      {&r->sample[(r->scored - 1) / 2], "median", NULL},
                                      {&r->sample[0], "worst", NULL}};
    int64_t n = 0;
    for (int k = 0; k < CHAINS; k++)
        if (k == 0 || all[k].sample != c[n - 1].sample)
            c[n++] = all[k];
    return n;
}

static void read_chain(struct strips *s, const struct report_ranking *r, struct chain *c)
{
    int nd;
    int64_t dim[SHARD_MAX_ND];
    const int64_t size = s->channels * s->height * s->width;
    c->states =
        report_row(s->rundir, r->iteration, c->sample, "latents", CHAIN_MOST, &nd, dim);
    if (c->states != NULL && (nd != 4 || dim[0] != s->all || dim[1] != s->channels ||
                              dim[2] != s->height || dim[3] != s->width)) {
        mem_free(c->states);
        c->states = NULL;
    }
    if (c->states == NULL)
        return;
    for (int64_t k = 0; k < s->n; k++) /* the shown ones move to the front */
        memmove(c->states + k * size, c->states + state_of(s, k) * size,
                (size_t)size * sizeof *c->states);
    c->states = mem_resize(c->states, s->all * size, s->n * size, sizeof *c->states);
    if (s->coding.kind == CODING_SERIES)
        coding_decode(&s->coding, c->states, s->n * size);
    for (int64_t k = 0; k < s->n * size && s->series; k++)
        if (k % size < s->width && isfinite(c->states[k])) {
            s->range[0] = fmin(s->range[0], (double)c->states[k]);
            s->range[1] = fmax(s->range[1], (double)c->states[k]);
        }
}

/* The likeliest letter at place j of a state x [channels, width], and its probability. */
static char letter_at(const struct strips *s, const float *x, int64_t j, double alpha_bar,
                      double *sure)
{
    const double by = 2 * sqrt(fmax(alpha_bar, 0)) / fmax(1 - alpha_bar, 1e-6);
    int64_t best = 0;
    double sum = 0;
    for (int64_t a = 1; a < s->channels; a++)
        if (x[a * s->width + j] > x[best * s->width + j])
            best = a;
    for (int64_t a = 0; a < s->channels; a++)
        sum += exp(by * (double)(x[a * s->width + j] - x[best * s->width + j]));
    *sure = 1 / sum;
    return s->coding.alphabet[best];
}

/* From no more than chance to certain. */
static int shade_of(const struct strips *s, double sure)
{
    const double chance = 1 / (double)s->channels;
    const double k = SHADES * (sure - chance) / (1 - chance);
    return !(k > 0) ? 0 : k < SHADES ? (int)k : SHADES - 1; /* NaN of damaged states: 0 */
}

/* A state as letters, those of one shade together. */
static void add_letters(struct text *out, const struct strips *s, const float *x,
                        double alpha_bar)
{
    const int64_t n = s->width < LETTERS ? s->width : LETTERS;
    int before = -1;
    double mean = 0;
    struct text line = {0};
    for (int64_t j = 0; j < n; j++) {
        double sure;
        char c[2] = {letter_at(s, x, j, alpha_bar, &sure), '\0'};
        const int shade = shade_of(s, sure);
        mean += sure / (double)n;
        if (shade != before)
            text_add(&line, "%s<b class=\"c%d\">", before < 0 ? "" : "</b>", shade);
        before = shade;
        if (c[0] == ' ')
            text_add(&line, "·");
        else
            report_escape(&line, c);
    }
    text_add(out, "<code>%s</b>%s</code><small>%.0f&thinsp;%%</small>", line.s,
             n < s->width ? "…" : "", 100 * mean);
    text_free(&line);
}

static void add_time(struct text *out, const struct strips *s, int64_t state)
{
    if (s->t[state] < 0)
        text_add(out, "x<sub>0</sub>");
    else
        text_add(out, "t %.0f", s->t[state]);
}

static void add_label(struct text *out, const struct chain *c)
{
    text_add(out, "<b>%s</b> ", c->place);
    report_ranked_reward(out, c->sample);
}

static void add_texts(struct text *out, const struct strips *s, const struct chain *c,
                      int64_t chains)
{
    text_add(out, "<div class=\"chains\" style=\"--w:%lldch\">\n",
             (long long)(s->width < LETTERS ? s->width : LETTERS) + 14);
    for (int64_t i = 0; i < chains; i++) {
        text_add(out, "<div><h4>");
        add_label(out, &c[i]);
        text_add(out, "</h4>");
        for (int64_t k = 0; k < s->n && c[i].states != NULL; k++) {
            const int64_t at = state_of(s, k);
            text_add(out, "<p><span>");
            add_time(out, s, at);
            text_add(out, "</span>");
            add_letters(out, s, c[i].states + k * s->channels * s->width, s->alpha_bar[at]);
            text_add(out, "</p>\n");
        }
        text_add(out, "%s</div>\n", c[i].states == NULL ? "<p class=\"gone\">damaged</p>" : "");
    }
    text_add(out, "</div>\n");
}

static void add_figures(struct text *out, const struct strips *s, const struct chain *c,
                        int64_t chains)
{
    const int64_t size = s->channels * s->height * s->width;
    text_add(out, "<div class=\"strip\" style=\"--n:%lld\"><span></span>", (long long)s->n);
    for (int64_t k = 0; k < s->n; k++) {
        text_add(out, "<span>");
        add_time(out, s, state_of(s, k));
        text_add(out, "</span>");
    }
    for (int64_t i = 0; i < chains; i++) {
        text_add(out, "\n<span class=\"who\">");
        add_label(out, &c[i]);
        text_add(out, "</span>");
        for (int64_t k = 0; k < s->n; k++) {
            const float *x = c[i].states == NULL ? NULL : c[i].states + k * size;
            char alt[64];
            snprintf(alt, sizeof alt, "%s chain, state %lld of %lld", c[i].place,
                     (long long)k + 1, (long long)s->n);
            if (x == NULL)
                text_add(out, "<p class=\"gone\">damaged</p>");
            else if (s->series)
                report_curve(out, x, s->width, s->range[0] < s->range[1] ? s->range : NULL,
                             alt);
            else
                report_picture(out, &(struct report_image){x, s->channels, s->height,
                                                           s->width, alt});
        }
    }
    text_add(out, "</div>\n");
}

static void begin(struct text *out, const struct strips *s)
{
    text_add(out, "<section><h2>From noise to sample</h2>\n<p class=\"scale\">%lld of the %lld "
                  "states of a chain, from x<sub>T</sub> to x<sub>0</sub>, each with its "
                  "timestep.",
             (long long)s->n, (long long)s->all);
    if (s->text)
        text_add(out, " The likeliest letters, the stronger the surer: <code><b class=\"c0\">no "
                      "better than chance</b> <b class=\"c2\">likely</b> <b class=\"c4\">"
                      "certain</b></code>. Behind them the mean of their probabilities, given "
                      "the state and its noise level alone.");
    else if (s->range[0] < s->range[1])
        text_add(out, " All curves from %.4g to %.4g.", s->range[0], s->range[1]);
    text_add(out, "</p>\n");
}

void report_strips(struct text *out, const char *rundir, const struct report_ranking *r,
                   int64_t n)
{
    const struct report_ranking *end[2] = {n > 0 ? &r[0] : NULL, n > 1 ? &r[n - 1] : NULL};
    struct chain chain[2][CHAINS];
    int64_t chains[2] = {0, 0};
    struct strips s = {.rundir = rundir,
                       .coding = report_coding(rundir),
                       .range = {INFINITY, -INFINITY}};
    for (int k = 0; k < 2 && s.t == NULL; k++)
        if (end[k] != NULL)
            read_times(&s, end[k]->iteration, end[k]->sample[0].shard);
    if (s.t == NULL)
        return;
    s.n = s.all < STATES ? s.all : STATES;
    s.text = report_is_text(&s.coding, s.channels, s.height);
    s.series = !s.text && s.height == 1;
    for (int k = 0; k < 2 && end[k] != NULL; k++) {
        chains[k] = choose(end[k], chain[k]);
        for (int64_t i = 0; i < chains[k]; i++)
            read_chain(&s, end[k], &chain[k][i]);
    }
    begin(out, &s);
    for (int k = 0; k < 2 && end[k] != NULL; k++) {
        text_add(out, "<h3>Iteration %lld</h3>\n", (long long)end[k]->iteration);
        if (s.text)
            add_texts(out, &s, chain[k], chains[k]);
        else
            add_figures(out, &s, chain[k], chains[k]);
        for (int64_t i = 0; i < chains[k]; i++)
            mem_free(chain[k][i].states);
    }
    text_add(out, "</section>\n");
    mem_free(s.t);
    mem_free(s.alpha_bar);
}

/* The highest and the lowest samples of an iteration by each component and by the sum. Only
 * these are read from the rollout shards, row by row. */
#include "pipeline/report/report_mix.h"

#include "io/sys/mem.h"
#include "pipeline/report/report_pictures.h"

#include <math.h>
#include <stdlib.h>

enum { SHOWN = 6 };

/* The samples of one criterion: up to SHOWN highest, best first, and as many lowest, worst
 * last, without overlap. */
struct chosen {
    int64_t criterion; /* a component, or -1: the sum */
    int64_t n[2], at[2][SHOWN];
};

/* Samples as they are needed. */
struct samples {
    const char *dir;
    int64_t iteration;
    struct coding coding;
    int64_t shape[3]; /* channels, height, width of the first that was read */
    float **data;     /* [n]; NULL: not read, or gone */
    uint8_t *gone;    /* [n] */
};

static int64_t size_of(const struct samples *b)
{
    return b->shape[0] * b->shape[1] * b->shape[2];
}

struct rank {
    double score;
    int64_t at;
};

static int by_score(const void *a, const void *b)
{
    const struct rank *x = a, *y = b;
    if (x->score != y->score)
        return x->score > y->score ? -1 : 1;
    return x->at < y->at ? -1 : x->at > y->at;
}

static void choose(const struct report_mix_scores *s, int64_t criterion, struct chosen *c)
{
    struct rank *rank = mem_alloc(s->n, sizeof *rank);
    int64_t n = 0;
    for (int64_t i = 0; i < s->n; i++) {
        double v = criterion < 0 ? s->total[i] : s->score[i * s->parts + criterion];
        if (isfinite(v))
            rank[n++] = (struct rank){v, i};
    }
    if (n > 1)
        qsort(rank, (size_t)n, sizeof *rank, by_score);
    *c = (struct chosen){.criterion = criterion};
    c->n[0] = n < 2 * SHOWN ? (n + 1) / 2 : SHOWN;
    c->n[1] = n < 2 * SHOWN ? n / 2 : SHOWN;
    for (int64_t i = 0; i < c->n[0]; i++)
        c->at[0][i] = rank[i].at;
    for (int64_t i = 0; i < c->n[1]; i++)
        c->at[1][i] = rank[n - c->n[1] + i].at;
    mem_free(rank);
}

/* Sample i from its rollout shard; where that fails it is gone. */
static void fetch(struct samples *b, const struct report_mix_scores *s, int64_t i)
{
    const struct report_ranked place = {.shard = s->place[i].shard, .row = s->place[i].row};
    if (b->data[i] != NULL || b->gone[i])
        return;
    b->data[i] = report_final(b->dir, b->iteration, &place, b->shape);
    b->gone[i] = b->data[i] == NULL;
    if (b->data[i] != NULL && b->coding.kind == CODING_SERIES)
        coding_decode(&b->coding, b->data[i], size_of(b));
}

/* Least and largest number of all that were read; false where they are alike. */
static bool range_of(const struct samples *b, int64_t n, double range[2])
{
    range[0] = INFINITY;
    range[1] = -INFINITY;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; b->data[i] != NULL && j < size_of(b); j++)
            if (isfinite(b->data[i][j])) {
                range[0] = fmin(range[0], (double)b->data[i][j]);
                range[1] = fmax(range[1], (double)b->data[i][j]);
            }
    return range[0] < range[1];
}

static void add_sample(struct text *out, const struct samples *b, int64_t i,
                       const double *range)
{
    const struct report_image p = {b->data[i], b->shape[0], b->shape[1], b->shape[2],
                                   "sample"};
    if (p.x == NULL)
        text_add(out, "<div class=\"gone\">sample gone</div>");
    else
        report_sample(out, &b->coding, &p, range);
}

/* All scores of sample i, for the pointer that rests on it. */
static void add_hint(struct text *out, const struct report_mix *x,
                     const struct report_mix_scores *s, int64_t i)
{
    text_add(out, " title=\"sum ");
    report_number(out, s->total[i]);
    for (int64_t k = 0; k < x->parts; k++) {
        text_add(out, ", ");
        report_escape(out, x->part[k].name);
        text_add(out, " ");
        report_number(out, s->score[i * s->parts + k]);
    }
    text_add(out, "\"");
}

static void add_chosen(struct text *out, const struct report_mix *x,
                       const struct report_mix_scores *s, const struct samples *b,
                       const struct chosen *c, const double *range)
{
    const int64_t k = c->criterion;
    const bool lines = report_is_text(&b->coding, b->shape[0], b->shape[1]);
    text_add(out, "<div class=\"pick\"><h3><i class=\"swatch\" style=\"background:%s\"></i>",
             k < 0 ? "#0f172a" : x->part[k].colour);
    report_escape(out, k < 0 ? "sum" : x->part[k].name);
    text_add(out, "%s</h3>", k >= 0 && x->part[k].at < 0 ? " <span>guard</span>" : "");
    for (int side = 0; side < 2; side++) {
        text_add(out, "<div class=\"side\"><small>%s</small><div class=\"grid%s\">",
                 side == 0 ? "highest" : "lowest", lines ? " lines" : "");
        for (int64_t j = 0; j < c->n[side]; j++) {
            int64_t i = c->at[side][j];
            text_add(out, "<figure");
            add_hint(out, x, s, i);
            text_add(out, ">");
            add_sample(out, b, i, range);
            text_add(out, "<figcaption>");
            report_number(out, k < 0 ? s->total[i] : s->score[i * s->parts + k]);
            text_add(out, "</figcaption></figure>");
        }
        text_add(out, "</div></div>");
    }
    text_add(out, "</div>\n");
}

void report_mix_chosen(struct text *out, const struct report_mix *x,
                       const struct report_mix_scores *last)
{
    struct samples b = {.dir = x->dir, .iteration = last->iteration,
                        .coding = report_coding(x->dir)};
    struct chosen chosen[REPORT_MIX_PARTS + 1];
    double range[2];
    int64_t lost = 0;
    b.data = mem_alloc(last->n, sizeof *b.data);
    b.gone = mem_alloc(last->n, 1);
    for (int64_t c = 0; c <= x->parts; c++) {
        choose(last, c - 1, &chosen[c]);
        for (int side = 0; side < 2; side++)
            for (int64_t j = 0; j < chosen[c].n[side]; j++)
                fetch(&b, last, chosen[c].at[side][j]);
    }
    for (int64_t i = 0; i < last->n; i++)
        lost += b.gone[i];
    const bool alike = b.coding.kind == CODING_SERIES && range_of(&b, last->n, range);
    text_add(out, "<section><h2>Highest and lowest samples</h2><p class=\"scale\">Of iteration "
                  "%lld, by the sum and by each component's own score; pointing at one tells "
                  "all its scores.",
             (long long)last->iteration);
    if (alike)
        text_add(out, " All of these curves from %.4g to %.4g.", range[0], range[1]);
    text_add(out, "</p>\n");
    if (lost > 0)
        text_add(out, "<p class=\"note\">%lld of these samples cannot be shown: their rollout "
                      "shards are gone or damaged.</p>\n",
                 (long long)lost);
    for (int64_t c = 0; c <= x->parts; c++)
        add_chosen(out, x, last, &b, &chosen[c], alike ? range : NULL);
    text_add(out, "</section>\n");
    for (int64_t i = 0; i < last->n; i++)
        mem_free(b.data[i]);
    mem_free(b.data);
    mem_free(b.gone);
}

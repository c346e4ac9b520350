/* The section "Who worked when": the last iterations' lanes, each group's time over all
 * iterations, and a table of shares; in SVG and words of our own. */
#include "pipeline/report/report_time.h"

#include <math.h>

enum {
    ITERATIONS = 4, /* in the picture of lanes */
    STRIP = 46, GAP = 10, BINS = 160, /* in that of all iterations */
    RIGHT = 20
};

const char *const report_colour[GROUPS] = {"#3b82f6", "#10b981", "#8b5cf6", "#f59e0b"};
const char *const report_tint[RECORD_WAITS] = {"#d6e6fe", "#c9f2e3", "#e4dcfd", "#fdeac6",
                                               "#e2e8f0"};
const char *const report_awaited[RECORD_WAITS] = {"rollouts", "scores", "advantages",
                                                  "a new policy", "the coordinator"};

void report_svg(struct text *out, double height, const char *about)
{
    text_add(out,
             "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 %d %.0f\" "
             "font-size=\"12\" font-family=\"inherit\" role=\"img\" "
             "aria-label=\"%s\" style=\"width:100%%;display:block\">\n",
             REPORT_WIDTH, height, about);
}

static void swatch(struct text *out, const char *colour, const char *word)
{
    text_add(out, "<span><i class=\"swatch\" style=\"background:%s\"></i>%s</span> ", colour,
             word);
}

static void add_legend(struct text *out)
{
    text_add(out, "<p class=\"chips\" style=\"font-size:13px\">");
    for (int g = 0; g < GROUPS; g++)
        swatch(out, report_colour[g], group_name((enum group)g));
    swatch(out, "#475569", "files: read at a bar’s start, written at its end");
    swatch(out, "#94a3b8", "messages");
    text_add(out, "</p>\n<p class=\"chips\" style=\"font-size:13px\">waits for ");
    for (int k = 0; k < RECORD_WAITS; k++)
        swatch(out, report_tint[k], report_awaited[k]);
    text_add(out, " <span>white within a bar: for the slowest rank of its group</span></p>\n");
}

/* Columns of the table and layers of a strip. */
enum { WORK, FILES, MESSAGES, SLOWEST, WAITS, SHARES = WAITS + RECORD_WAITS };
static const char *const layer_colour[WAITS] = {[FILES] = "#475569",
                                                [MESSAGES] = "#94a3b8",
                                                [SLOWEST] = "#f1f5f9"};

/* Seconds of work that was neither files nor messages nor votes. */
static double own_work(const struct report_spent *s)
{
    return fmax(s->working - s->io - s->communication - s->vote, 0);
}

static void shares_of(const struct report_spent *s, double share[SHARES])
{
    double all = s->working + report_waited(s);
    share[WORK] = own_work(s);
    share[FILES] = s->io;
    share[MESSAGES] = s->communication;
    share[SLOWEST] = s->vote;
    for (int k = 0; k < RECORD_WAITS; k++)
        share[WAITS + k] = s->wait.on_s[k];
    for (int k = 0; k < SHARES; k++)
        share[k] = all > 0 ? share[k] / all : 0;
}

/* One iteration of a strip: layers from its foot upwards. */
struct pile {
    struct text *out;
    double x, width, y;
};

static void draw_layer(struct pile *c, double share, const char *colour)
{
    double h = share * STRIP;
    c->y -= h;
    if (h >= 0.3)
        text_add(c->out,
                 "<rect x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\" "
                 "fill=\"%s\"/>\n",
                 c->x, c->y, c->width, h, colour);
}

/* at: of the groups in these iterations; g: one of them, GROUPS: all together. */
static void draw_pile(struct pile *c, const struct report_spent at[GROUPS], int g)
{
    struct report_spent sum = {0};
    double share[SHARES], all;
    for (int i = 0; i < GROUPS; i++)
        if (g == GROUPS || i == g)
            report_spent_add(&sum, &at[i]);
    all = sum.working + report_waited(&sum);
    shares_of(&sum, share);
    for (int i = 0; i < GROUPS && all > 0; i++)
        if (g == GROUPS || i == g)
            draw_layer(c, own_work(&at[i]) / all, report_colour[i]);
    for (int k = 1; k < SHARES; k++)
        draw_layer(c, share[k], k < WAITS ? layer_colour[k] : report_tint[k - WAITS]);
}

static void draw_strip(struct text *out, const struct report_shares *f, int g, double top)
{
    int64_t each = (f->n + BINS - 1) / BINS, bins = (f->n + each - 1) / each;
    double width = (double)(REPORT_WIDTH - REPORT_LEFT - RIGHT) / (double)bins;
    text_add(out,
             "<text x=\"%d\" y=\"%.1f\" text-anchor=\"end\" fill=\"#475569\">%s</text>\n",
             REPORT_LEFT - 10, top + STRIP / 2.0 + 4,
             g == GROUPS ? "all ranks" : group_name((enum group)g));
    for (int64_t b = 0; b < bins; b++) {
        struct report_spent at[GROUPS] = {0};
        struct pile c = {out, REPORT_LEFT + (double)b * width, fmax(width - 0.6, 0.6),
                           top + STRIP};
        for (int64_t i = b * each; i < f->n && i < (b + 1) * each; i++)
            for (int k = 0; k < GROUPS; k++)
                report_spent_add(&at[k], &f->at[i][k]);
        draw_pile(&c, at, g);
    }
}

/* Groups that share ranks have no time of their own. */
static void add_strips(struct text *out, const struct report_shares *f, bool together)
{
    double y = 4;
    int strips = together ? 1 : GROUPS + 1;
    if (f->n < 3)
        return;
    text_add(out,
             "<h3 style=\"margin-top:18px\">All iterations <span>shares of %s time: work "
             "below, waiting above</span></h3>\n",
             together ? "the ranks’" : "each group’s");
    report_svg(out, y + strips * (STRIP + GAP) + 16, "shares of time, by iteration");
    for (int i = 0; i < strips; i++, y += STRIP + GAP)
        draw_strip(out, f, i == 0 ? GROUPS : i - 1, y);
    text_add(out,
             "<text x=\"%d\" y=\"%.0f\" fill=\"#64748b\">iteration %lld</text><text "
             "x=\"%d\" y=\"%.0f\" text-anchor=\"end\" fill=\"#64748b\">%lld</text>\n</svg>\n",
             REPORT_LEFT, y + 6, (long long)f->iteration[0], REPORT_WIDTH - RIGHT, y + 6,
             (long long)f->iteration[f->n - 1]);
}

/* The waits of a group that are worth a word, the largest first; false where none is. */
static bool add_sentence(struct text *out, int g, const double *wait)
{
    bool used[RECORD_WAITS] = {false}, said = false;
    for (;;) {
        int most = -1;
        for (int k = 0; k < RECORD_WAITS; k++)
            if (!used[k] && wait[k] >= 0.05 && (most < 0 || wait[k] > wait[most]))
                most = k;
        if (most < 0)
            break;
        used[most] = true;
        if (said)
            text_add(out, ", ");
        else
            text_add(out, "Group <b>%s</b> waited ", group_name((enum group)g));
        text_add(out, "%.0f %%%s for %s", 100 * wait[most], said ? "" : " of its time",
                 report_awaited[most]);
        said = true;
    }
    if (said)
        text_add(out, ". ");
    return said;
}

static void add_caption(struct text *out, const struct report_shares *f)
{
    bool any = false;
    text_add(out, "<p>");
    for (int g = 0; g < GROUPS; g++) {
        double share[SHARES];
        shares_of(&f->sum[g], share);
        any = add_sentence(out, g, share + WAITS) || any;
    }
    text_add(out, any ? "</p>\n" : "No group waited for as much as 5 %% of its time.</p>\n");
}

static void add_table(struct text *out, const struct report_shares *f)
{
    text_add(out,
             "<table class=\"parts\" style=\"margin-top:12px\"><tr><th>%% of its time</th>"
             "<th>works</th><th>files</th><th>messages</th><th>slowest rank</th>");
    for (int k = 0; k < RECORD_WAITS; k++)
        text_add(out, "<th>%s%s</th>", k == 0 ? "waits for: " : "", report_awaited[k]);
    text_add(out, "</tr>\n");
    for (int g = 0; g < GROUPS; g++) {
        double share[SHARES];
        if (!(f->sum[g].working + report_waited(&f->sum[g]) > 0))
            continue;
        shares_of(&f->sum[g], share);
        text_add(out, "<tr><td>%s</td>", group_name((enum group)g));
        for (int k = 0; k < SHARES; k++)
            text_add(out, "<td>%.1f</td>", 100 * share[k]);
        text_add(out, "</tr>\n");
    }
    text_add(out, "</table>\n");
}

void report_timeline(struct text *out, const char *rundir)
{
    struct report_line line;
    struct report_shares shares;
    report_shares_read(&shares, rundir);
    report_line_read(&line, rundir, ITERATIONS);
    text_add(out, "<section id=\"timeline\"><h2>Who worked when, who waited for whom</h2>\n");
    if (shares.n > 0)
        add_caption(out, &shares);
    if (line.extents > 0 || shares.n > 0)
        add_legend(out);
    else
        text_add(out, "<p class=\"scale\">This run has no record of it: no iteration is "
                      "finished, or an older version made it.</p>\n");
    report_lanes(out, &line);
    add_strips(out, &shares, report_line_overlaps(&line));
    if (shares.n > 0)
        add_table(out, &shares);
    text_add(out, "</section>\n");
    report_line_free(&line);
    report_shares_free(&shares);
}

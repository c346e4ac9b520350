/* The rules of the advice with made numbers: each speaks where its numbers say so, with
 * them, and is silent just below. */
#include "pipeline/report/report_time.h"

#include "tests/tap.h"

enum { ROWS = 12 };

/* A run that has nothing to complain of: the reward rises, a tenth of the ratios are
 * clipped, each group of its four ranks works all the time. */
struct scene {
    double row[ROWS][M_COUNT];
    struct report_metrics m;
    struct report_shares s;
    struct report_facts f;
};

static void begin(struct scene *s)
{
    const int want[GROUPS] = {2, 3, 1, 2};
    *s = (struct scene){.m = {.n = ROWS, .row = s->row}};
    for (int i = 0; i < ROWS; i++) {
        for (int k = 0; k < M_COUNT; k++)
            s->row[i][k] = NAN;
        s->row[i][M_ITERATION] = i;
        s->row[i][M_REWARD_MEAN] = 0.1 * i + 0.01 * (i % 2);
        s->row[i][M_REWARD_STD] = 1;
        s->row[i][M_CLIP_FRACTION] = 0.1;
        s->row[i][M_APPROX_KL] = 1e-3;
        s->row[i][M_SAMPLES] = 50;
        s->row[i][M_FAILED] = 0;
    }
    for (int g = 0; g < GROUPS; g++)
        s->s.sum[g] = (struct report_spent){.working = 100, .network = 100};
    s->s.n = ROWS;
    s->s.iteration_s = 4.25;
    s->f = (struct report_facts){.metrics = &s->m,
                                 .shares = &s->s,
                                 .apart = true,
                                 .shards = 8,
                                 .shard_samples = 6,
                                 .micro_batch = 16,
                                 .micro_batches = 8,
                                 .optimizer_steps = 4,
                                 .in_flight = 5,
                                 .workers = 3,
                                 .zero_advantages = 0};
    layout_make(&s->f.layout, want, true, 8);
}

/* The advice; valid until the next call. */
static const char *advice(const struct scene *s, int *n)
{
    static struct text t;
    text_free(&t);
    text_add(&t, "|");
    *n = report_advice(&t, &s->f);
    return t.s;
}

static void silent(const struct scene *s, const char *name)
{
    int n;
    const char *text = advice(s, &n);
    tap_ok(n == 0 && strcmp(text, "|") == 0, "silent: %s", name);
}

static void says(const struct scene *s, const char *words, const char *name)
{
    int n;
    const char *text = advice(s, &n);
    if (!tap_ok(n == 1 && strstr(text, words) != NULL, "%s", name))
        printf("# %d: %s\n", n, text);
}

/* The reward's ranks wait 62 % of their time; two of them would do more as rollouts. */
static void idle(struct scene *s)
{
    const int better[GROUPS] = {4, 1, 1, 2};
    s->s.sum[GROUP_REWARD].working = 38;
    s->s.sum[GROUP_REWARD].wait.on_s[GROUP_ROLLOUT] = 62;
    layout_make(&s->f.plan.split, better, true, 8);
    s->f.planned = true;
    s->f.plan.now_s = 4;
    s->f.plan.split_s = 3;
    s->f.plan.shared_s = s->f.plan.ahead_s = INFINITY;
}

static void test_groups(void)
{
    struct scene s;
    begin(&s);
    silent(&s, "a run where all is well");
    idle(&s);
    says(&s, "<b>reward group idle 62 %</b>: move 2 ranks to rollout; ", "an idle group");
    says(&s, "groups.rollout=4 groups.reward=1 groups.advantage=1 groups.update=2</code>",
         "with the sizes");
    says(&s, "3 s per iteration instead of 4 s, 25 % less (measured now: 4.25 s)",
         "and what they bring");
    s.f.plan.split_s = 3.9;
    silent(&s, "no layout is much faster");
    s.f.plan.shared_s = 2;
    says(&s, "reward group idle 62 %</b>: with <code>groups.placement=shared</code>",
         "sharing ranks is faster");
    s.f.plan.shared_s = INFINITY;
    s.f.plan.ahead_s = 2;
    says(&s, "max_staleness=1</code>", "rollouts during the update are faster");
    begin(&s);
    idle(&s);
    s.s.sum[GROUP_REWARD].working = 75;
    s.s.sum[GROUP_REWARD].wait.on_s[GROUP_ROLLOUT] = 25;
    silent(&s, "nobody idles much");
    begin(&s);
    idle(&s);
    s.f.planned = false;
    silent(&s, "an idle group, but nothing known that is better");
    s.f.large = true;
    says(&s, "sluice plan config.yaml --from", "too many ranks to try here");
}

static void test_work(void)
{
    struct scene s;
    begin(&s);
    s.s.sum[GROUP_REWARD].io = 30;
    silent(&s, "7.5 % of the work is files");
    s.s.sum[GROUP_REWARD].io = 60;
    s.s.sum[GROUP_ROLLOUT].io = 20;
    says(&s, "files of shards take 20 % of the work</b>: larger shards "
             "(<code>rollout.shard_samples</code>, now 6, which makes 8 shards for 2 rollout "
             "ranks)",
         "20 % are");
    s.f.shards = 3;
    silent(&s, "shards cannot be fewer than ranks");
    begin(&s);
    s.s.sum[GROUP_ROLLOUT].wait.on_s[RECORD_LEASE] = 100;
    says(&s, "ranks wait 20 % of their time for the coordinator", "many letters");
    begin(&s);
    s.s.sum[GROUP_UPDATE].vote = 30;
    silent(&s, "8 micro-batches divide between 2 ranks");
    s.f.micro_batches = 3;
    says(&s, "wait 30 % of their work for the slowest of them</b>: 3 micro-batches", "3 do not");
    begin(&s);
    s.s.sum[GROUP_ROLLOUT].wait.on_s[GROUP_REWARD] = 150;
    silent(&s, "waits for scores made here");
    s.f.http = true;
    says(&s, "wait 27 % of their time for scores of another program</b>: more requests at once "
             "(<code>http.in_flight</code>, now 5)",
         "for those of a server");
    s.f.http = false;
    s.f.exec = true;
    says(&s, "exec.workers</code>, now 3", "for those of a program");
}

static void set(struct scene *s, enum report_metric k, double from, double step)
{
    for (int i = 0; i < ROWS; i++)
        s->row[i][k] = from + step * i;
}

static void test_curves(void)
{
    struct scene s;
    begin(&s);
    set(&s, M_CLIP_FRACTION, 0.92, 0);
    says(&s, "92 % of the ratios left the clip range</b> in the last 3 iterations", "clipping");
    set(&s, M_CLIP_FRACTION, 0, 0);
    silent(&s, "no clipping and a reward that rises");
    for (int i = 0; i < ROWS; i++)
        s.row[i][M_REWARD_MEAN] = i % 2;
    says(&s, "0 % of the ratios left the clip range", "no clipping and one that does not");
    s.f.optimizer_steps = 1;
    silent(&s, "a single step cannot clip");
    begin(&s);
    s.row[9][M_FAILED] = 18;
    says(&s, "3 % of the samples have no score</b> (18 of 600)", "failed samples");
    s.row[9][M_FAILED] = 5;
    silent(&s, "few of them");
    begin(&s);
    s.row[11][M_REWARD_STD] = s.row[10][M_REWARD_STD] = 0;
    says(&s, "the last 2 iterations have the same reward", "equal rewards");
    begin(&s);
    s.f.zero_advantages = 0.75;
    s.f.zero_iteration = 11;
    says(&s, "75 % of the advantages of iteration 11 are 0", "equal rewards within prompts");
    begin(&s);
    set(&s, M_REWARD_MEAN, 0, 0.5);
    set(&s, M_REWARD_STD, 1, 0);
    for (int i = 9; i < ROWS; i++)
        s.row[i][M_REWARD_STD] = 0.0625;
    says(&s, "it rose by 5 while its deviation fell from 1 to 0.0625", "a saturated reward");
}

static void test_drift(void)
{
    struct scene s;
    begin(&s);
    set(&s, M_APPROX_KL, 0.01, 0.01);
    says(&s, "steps grow: approx_kl 0.11, at first 0.02", "steps that grow");
    set(&s, M_APPROX_KL, 1e-4, 1e-4);
    silent(&s, "small ones may");
    begin(&s);
    set(&s, M_KL_PATH, 0, 0.5);
    silent(&s, "the policy moves and the reward rises");
    for (int i = 0; i < ROWS; i++)
        s.row[i][M_REWARD_MEAN] = i % 2;
    says(&s, "since iteration 6 the KL to policy 0 grew by 0.5 per iteration to 5.5 nats",
         "it moves and the reward does not rise");
    s.f.has_kl_budget = true;
    silent(&s, "a budget watches that");
    begin(&s);
    set(&s, M_GUARD_MEAN, 2, 0.25);
    silent(&s, "the guard rises too");
    set(&s, M_GUARD_MEAN, 2, -0.25);
    s.row[3][M_GUARD_MEAN] = 2.5;
    says(&s, "it was highest in iteration 3, so prefer a policy near version 3",
         "the guard falls");
    s.m.n = 1;
    silent(&s, "one iteration says nothing");
    s.m.n = 0;
    silent(&s, "none");
}

int main(void)
{
    test_groups();
    test_work();
    test_curves();
    test_drift();
    return tap_done();
}

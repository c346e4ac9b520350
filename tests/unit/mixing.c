/* Mixing in the advantage stage against plain loops: normalised sums, weighted advantages of
 * a batch, of prompts and of a history; constant components, samples without a score. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/schema.h"
#include "stages/mixing.h"
#include "stages/reward/scorer.h"
#include "tests/tap.h"

enum { N = 24, K = 4, PROMPTS = 3 };

static const double weight[K] = {2, -0.5, 0, 1};

/* A task with components a, b, watched (weight 0), constant. */
struct scene {
    struct config *c;
    struct task t;
    double score[N * K], reward[N], total[N], advantage[N];
    uint8_t usable[N];
    const char *prompt[N];
    struct algo_signal s;
};

static void begin(struct scene *s, const char *mixing, const char *const *set)
{
    static const char *const mix[] = {
        "reward.name=mixture", "components.a.name=brightness", "components.a.weight=2",
        "components.b.name=brightness", "components.b.weight=-0.5",
        "components.watched.name=brightness", "components.watched.weight=0",
        "components.constant.name=brightness", "components.constant.offset=3",
        "components.constant.scale=7", NULL};
    static const char *const name[PROMPTS] = {"0", "1", "17"};
    *s = (struct scene){.c = schema_load(0, NULL)};
    char *word = text_new("reward.mixing=%s", mixing);
    int rc = config_override(s->c, word);
    for (int i = 0; mix[i] != NULL; i++)
        rc |= config_override(s->c, mix[i]);
    for (; *set != NULL; set++)
        rc |= config_override(s->c, *set);
    s->t.algo = algo_find(config_text(s->c, "algorithm.name"));
    if (rc != 0 || s->t.algo == NULL || scorer_describe(s->c, NULL, &s->t.own_reward) != 0)
        ERR_BUG("%s", err_text());
    const struct reward_scene scene = {
        .channels = 1, .height = 1, .width = 1, .config = s->c};
    if (s->t.own_reward.open(&scene, &s->t.reward_ctx) != 0)
        ERR_BUG("%s", err_text());
    s->t.reward = &s->t.own_reward;
    s->t.samples = N;
    s->t.mixing = (enum reward_mixing)config_choice(s->c, "reward.mixing");
    algo_options_read(&s->t.algo_options, s->t.algo, s->c);
    for (int i = 0; i < N; i++) {
        s->usable[i] = i % 7 != 3;
        s->prompt[i] = name[i * 5 % PROMPTS];
    }
    s->s = (struct algo_signal){.n = N, .reward = s->total, .prompt = s->prompt,
                                .usable = s->usable, .advantage = s->advantage};
    mem_free(word);
}

static void end(struct scene *s)
{
    s->t.own_reward.close(s->t.reward_ctx);
    mem_free((void *)s->t.algo_options.own);
    config_destroy(s->c);
}

static void fill(struct scene *s, int round)
{
    for (int i = 0; i < N; i++) {
        double *v = s->score + i * K;
        v[0] = (i * 37 + round * 11) % 23 - 5;
        v[1] = 1e6 * ((i * 13 + round) % 11) + 0.25 * i;
        v[2] = i == 5 ? (double)NAN : 1e300 * i;
        v[3] = 1234567890.1;
        for (int k = 0; k < K && !s->usable[i]; k++)
            v[k] = k % 2 == 0 ? (double)NAN : (double)INFINITY;
        s->reward[i] = s->total[i] = s->usable[i] ? 42 + i : (double)NAN;
    }
}

static void moments(const struct scene *s, int k, const char *prompt, double *mean, double *std)
{
    int n = 0;
    *mean = *std = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < N; i++) {
            if (!s->usable[i] || (prompt != NULL && strcmp(prompt, s->prompt[i]) != 0))
                continue;
            double v = s->score[i * K + k];
            *(pass == 0 ? mean : std) += pass == 0 ? v : (v - *mean) * (v - *mean);
            n += pass == 0;
        }
        if (pass == 0)
            *mean /= n;
    }
    *std = sqrt(*std / n);
}

static double worst(const struct scene *s, const double *got, const double *want)
{
    double most = 0;
    for (int i = 0; i < N; i++)
        if (s->usable[i])
            most = fmax(most, isfinite(got[i]) ? fabs(got[i] - want[i]) : 1e300);
    return most;
}

static const char *const nothing[] = {NULL};

static void test_normalised(void)
{
    struct scene s;
    double want[N] = {0}, mean, std;
    int bad = 0;
    begin(&s, "normalised", nothing);
    fill(&s, 0);
    tap_ok(mixing_parts(&s.t) == K, "the watched component is one of them");
    for (int k = 0; k < 2; k++) {
        moments(&s, k, NULL, &mean, &std);
        for (int i = 0; i < N; i++)
            want[i] += weight[k] * (s.score[i * K + k] - mean) / std;
    }
    mixing_total(&s.t, s.score, s.usable, s.total);
    tap_near(worst(&s, s.total, want), 0, 1e-12, "normalised sum");
    for (int i = 0; i < N; i++)
        bad += s.usable[i] ? !isfinite(s.total[i]) : !isnan(s.total[i]);
    tap_ok(bad == 0, "without a score: no total");
    for (int i = 0; i < N; i++) {
        s.score[i * K] = i % 2 == 0 ? 1.7e308 : -1.7e308;
        s.score[i * K + 1] = 1e-310 * (i % 4);
        s.score[i * K + 3] = 0;
    }
    mixing_total(&s.t, s.score, s.usable, s.total);
    bad = 0;
    for (int i = 0; i < N; i++)
        bad += s.usable[i] && (!isfinite(s.total[i]) || s.total[i] == 0);
    tap_ok(bad == 0, "the largest and smallest numbers do not overflow");
    memset(s.usable, 0, sizeof s.usable);
    mixing_total(&s.t, s.score, s.usable, s.total);
    tap_ok(isnan(s.total[0]) && isnan(s.total[N - 1]), "none is usable");
    s.usable[4] = 1;
    mixing_total(&s.t, s.score, s.usable, s.total);
    tap_ok(s.total[4] == 0, "a single one is like all");
    end(&s);
    begin(&s, "reward", nothing);
    fill(&s, 0);
    mixing_total(&s.t, s.score, s.usable, s.total);
    tap_ok(s.total[0] == 42 && s.total[1] == 43, "mixing reward: the total stays");
    end(&s);
}

static int signal(struct scene *s, struct tracker *tracker)
{
    for (int i = 0; i < N; i++)
        s->advantage[i] = -7;
    return mixing_signal(&s->t, s->score, tracker, &s->s);
}

static void check(struct scene *s, const double *want, const char *what)
{
    int bad = 0;
    for (int i = 0; i < N; i++)
        bad += !s->usable[i] && s->advantage[i] != 0;
    tap_near(worst(s, s->advantage, want), 0, 1e-9, what);
    tap_ok(bad == 0, "%s: 0 for what is not usable", what);
}

static void test_batch(void)
{
    struct scene s;
    double want[N] = {0}, mean, std;
    begin(&s, "advantage", (const char *const[]){"algorithm.baseline=batch", NULL});
    fill(&s, 0);
    for (int k = 0; k < 2; k++) {
        moments(&s, k, NULL, &mean, &std);
        for (int i = 0; i < N; i++)
            want[i] += weight[k] * (s.score[i * K + k] - mean) / (std + 1e-8);
    }
    struct tracker *t = tracker_create(16, 4);
    tap_ok(signal(&s, t) == 0, "ddpo_is, batch: %s", err_text());
    check(&s, want, "weighted advantages of a batch");
    tracker_destroy(t);
    end(&s);
}

static void test_groups(void)
{
    struct scene s;
    double want[N] = {0}, mean, std;
    begin(&s, "advantage", (const char *const[]){"algorithm.name=flow_grpo", NULL});
    fill(&s, 0);
    for (int k = 0; k < 2; k++)
        for (int i = 0; i < N; i++) {
            moments(&s, k, s.prompt[i], &mean, &std);
            want[i] += weight[k] * (s.score[i * K + k] - mean) / (std + 1e-4);
        }
    tap_ok(signal(&s, NULL) == 0, "flow_grpo: %s", err_text());
    if (config_is(s.c, "algorithm.group_std", "prompt"))
        check(&s, want, "weighted advantages within prompts");
    else
        tap_ok(0, "algorithm.group_std's default has changed");
    end(&s);
}

/* FIFOs of the last 8 rewards of each prompt, for each component; used from 5 entries on. */
static void test_history(void)
{
    enum { BUFFER = 8, LEAST = 5 };
    struct scene s;
    static double fifo[2][PROMPTS][1000];
    int count[PROMPTS] = {0};
    const char *set[] = {"algorithm.baseline=tracker", NULL};
    begin(&s, "advantage", set);
    struct tracker *t = tracker_create(BUFFER, LEAST);
    for (int round = 0; round < 5; round++) {
        double want[N] = {0};
        fill(&s, round);
        for (int i = 0; i < N; i++) {
            int p = i * 5 % PROMPTS;
            if (!s.usable[i])
                continue;
            for (int k = 0; k < 2; k++)
                fifo[k][p][count[p]] = s.score[i * K + k];
            count[p]++;
        }
        for (int i = 0; i < N; i++)
            for (int k = 0; k < 2; k++) {
                int p = i * 5 % PROMPTS, n = count[p] < BUFFER ? count[p] : BUFFER;
                const double *v = fifo[k][p] + count[p] - n;
                double mean = 0, std = 0;
                for (int j = 0; j < n; j++)
                    mean += v[j] / n;
                for (int j = 0; j < n; j++)
                    std += (v[j] - mean) * (v[j] - mean) / n;
                std = sqrt(std);
                if (n < LEAST)
                    moments(&s, k, NULL, &mean, &std);
                want[i] += weight[k] * (s.score[i * K + k] - mean) / (std + 1e-6);
            }
        int rc = signal(&s, t);
        char what[40];
        snprintf(what, sizeof what, "history, round %d", round);
        tap_ok(rc == 0, "ddpo_is, tracker: %s", err_text());
        check(&s, want, what);
    }
    const char *const *key;
    const int64_t *length;
    const double *value;
    int64_t n = tracker_state(t, &key, &length, &value);
    tap_ok(n == 3 * PROMPTS && strncmp(key[0], "a/", 2) == 0 && strcmp(key[1], key[0]) != 0,
           "its keys are COMPONENT/PROMPT, none of the watched one: %lld, %s", (long long)n,
           key[0]);
    tracker_destroy(t);
    end(&s);
}

/* Every method with a signal takes it; what is not finite is refused. */
static void test_methods(void)
{
    for (const struct algo *const *a = algo_all(); *a != NULL; a++) {
        struct scene s;
        char *set = text_new("algorithm.name=%s", (*a)->name);
        if ((*a)->signal != NULL) {
            begin(&s, "advantage", (const char *const[]){set, NULL});
            fill(&s, 0);
            struct tracker *t = tracker_create(16, 4);
            int rc = signal(&s, t), bad = 0;
            for (int i = 0; i < N; i++)
                bad += !isfinite(s.advantage[i]);
            tap_ok(rc == 0 && bad == 0, "%s: finite: %s", (*a)->name, err_text());
            s.score[0] = (double)INFINITY;
            rc = signal(&s, t);
            tap_ok(rc == -1 && err_code() == ERR_NUMERIC &&
                       strstr(err_text(), "component a") != NULL,
                   "%s: the component is named: %s", (*a)->name, err_text());
            err_clear();
            tracker_destroy(t);
            end(&s);
        }
        mem_free(set);
    }
}

int main(void)
{
    test_normalised();
    test_batch();
    test_groups();
    test_history();
    test_methods();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

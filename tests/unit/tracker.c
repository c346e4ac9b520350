/* Per-prompt statistics: worked example, the peer's seven epochs, state, bad state. */
#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "stages/algo/tracker.h"
#include "tests/tap.h"

#define MOST 512

/* Algorithms reference, 3.3. */
static void worked_example(void)
{
    struct tracker *t = tracker_create(4, 3);
    const char *first[] = {"cat", "cat", "dog", "cat"};
    const char *second[] = {"dog", "dog", "cat", "cat"};
    static const double want1[] = {-1.224743, 0, 1.697056, 1.224743};
    static const double want2[] = {0, 1.224744, 0.390567, 1.432077};
    double adv[4];
    tracker_update(t, 4, first, (const double[]){1, 2, 10, 3}, adv);
    for (int i = 0; i < 4; i++)
        tap_near(adv[i], want1[i], 1e-6, "first batch");
    tracker_update(t, 4, second, (const double[]){12, 14, 5, 7}, adv);
    for (int i = 0; i < 4; i++)
        tap_near(adv[i], want2[i], 1e-6, "second batch");
    tracker_destroy(t);
}

static int64_t numbers(const struct json *list, double *out)
{
    int64_t n = json_count(list);
    if (n > MOST)
        ERR_BUG("%lld numbers", (long long)n);
    for (int64_t i = 0; i < n; i++)
        if (!json_to_f64(json_item(list, i), &out[i]))
            ERR_BUG("entry %lld is no number", (long long)i);
    return n;
}

static double worst_of(const double *a, const double *b, int64_t n)
{
    double worst = 0;
    for (int64_t i = 0; i < n; i++)
        worst = fmax(worst, fabs(a[i] - b[i]) / (1 + fabs(b[i])));
    return worst;
}

/* Restarting from the saved state in every epoch must change no bit. */
static void replay(const struct json *run, int64_t number)
{
    const struct json *config = json_get(run, "config"),
                      *epochs = json_get(run, "epochs");
    int64_t buffer, min_count, differ = 0;
    json_to_i64(json_get(config, "buffer_size"), &buffer);
    json_to_i64(json_get(config, "min_count"), &min_count);
    struct tracker *t = tracker_create(buffer, min_count);
    double worst[2] = {0}; /* float64, float32 */
    for (int64_t e = 0; e < json_count(epochs); e++) {
        const struct json *epoch = json_item(epochs, e);
        double reward[MOST], want[MOST], adv[MOST], again[MOST];
        const char *prompt[MOST], *const *keys;
        int64_t n = numbers(json_get(epoch, "rewards"), reward);
        numbers(json_get(epoch, "advantages"), want);
        for (int64_t i = 0; i < n; i++)
            prompt[i] = json_text(json_item(json_get(epoch, "prompts"), i));
        const int64_t *length;
        const double *values;
        int64_t total = 0, np = tracker_state(t, &keys, &length, &values);
        for (int64_t i = 0; i < np; i++)
            total += length[i];
        struct tracker *copy = tracker_create(buffer, min_count);
        if (tracker_restore(copy, np, keys, length, values, total) != 0)
            differ++;
        tracker_update(t, n, prompt, reward, adv);
        tracker_update(copy, n, prompt, reward, again);
        differ += memcmp(adv, again, (size_t)n * sizeof *adv) != 0;
        tracker_destroy(copy);
        int f32 = strcmp(json_text(json_get(epoch, "reward_dtype")), "float32") == 0;
        worst[f32] = fmax(worst[f32], worst_of(adv, want, n));
    }
    tap_ok(json_count(epochs) == 7 && worst[0] <= 1e-10 && worst[1] <= 1e-6,
           "configuration %lld: float64 epochs %.3g, float32 epochs %.3g",
           (long long)number, worst[0], worst[1]);
    tap_ok(differ == 0, "a restored tracker gives the same bits");
    tracker_destroy(t);
}

static void goldens(void)
{
    const char *path = tap_shared("goldens/stats/stat_tracker.json");
    struct json *j = path != NULL ? json_read(path, 1 << 20) : NULL;
    if (j == NULL) {
        tap_skip("stat_tracker", "the reference numbers are absent");
        return;
    }
    const struct json *runs = json_get(j, "tracker");
    for (int64_t i = 0; i < json_count(runs); i++)
        replay(json_item(runs, i), i);
    double reward[MOST], want[MOST], adv[MOST];
    int64_t n = numbers(json_get(json_get(j, "plain"), "rewards"), reward);
    numbers(json_get(json_get(j, "plain"), "advantages"), want);
    tracker_batch(n, reward, adv);
    tap_near(worst_of(adv, want, n), 0, 1e-12, "whole-batch normalisation");
    json_free(j);
}

/* Ten times the same number: its sum's rounding is not a deviation. */
static void equal(void)
{
    const char *prompt[10];
    double reward[10], adv[10], worst = 0;
    for (int i = 0; i < 10; i++) {
        prompt[i] = "p";
        reward[i] = 1234567890.1;
    }
    tracker_batch(10, reward, adv);
    for (int i = 0; i < 10; i++)
        worst = fmax(worst, fabs(adv[i]));
    struct tracker *t = tracker_create(16, 4);
    tracker_update(t, 10, prompt, reward, adv);
    for (int i = 0; i < 10; i++)
        worst = fmax(worst, fabs(adv[i]));
    tracker_destroy(t);
    tap_ok(worst == 0, "equal rewards have an advantage of 0: %g", worst);
}

static void bad_state(void)
{
    struct tracker *t = tracker_create(2, 1);
    const char *keys[] = {"a", "b"}, *twice[] = {"a", "a"}, *const * got;
    const int64_t *length;
    const double *values;
    static const double v[] = {1, 2, 3, 4}, nan_[] = {1, 2, 3, (double)NAN};
    tap_ok(tracker_restore(t, 2, keys, (const int64_t[]){3, 1}, v, 4) == 0 &&
               tracker_state(t, &got, &length, &values) == 2 && length[0] == 2 &&
               values[0] == 2 && values[2] == 4,
           "a smaller buffer keeps the last rewards");
    tap_ok(tracker_restore(t, 2, keys, (const int64_t[]){1, 1}, v, 4) == -1 &&
               err_code() == ERR_INPUT,
           "too many rewards: %s", err_text());
    tap_ok(tracker_restore(t, 2, keys, (const int64_t[]){3, 2}, v, 4) == -1,
           "too few rewards: %s", err_text());
    tap_ok(tracker_restore(t, 2, keys, (const int64_t[]){-1, 5}, v, 4) == -1,
           "a negative length: %s", err_text());
    tap_ok(tracker_restore(t, 2, twice, (const int64_t[]){2, 2}, v, 4) == -1,
           "a prompt twice: %s", err_text());
    tap_ok(tracker_restore(t, 2, keys, (const int64_t[]){2, 2}, nan_, 4) == -1,
           "a NaN: %s", err_text());
    tap_ok(tracker_state(t, &got, &length, &values) == 2 && values[2] == 4,
           "a refused state changes nothing");
    tracker_destroy(t);
}

int main(void)
{
    worked_example();
    equal();
    bad_state();
    goldens();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

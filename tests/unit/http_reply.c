/* Replies of services: what is a score, what is a status, what is nothing; and tens of
 * thousands of damaged replies, of which none may become a number that is not in it. */
#include "stages/reward/http_reply.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "stages/reward/reward.h"
#include "tests/tap.h"

enum { MOST = 8, MUTATIONS = 60000 };

/* The statuses of a reply as letters: o ok, f failed, i infeasible, n non-finite; "x" for one
 * that is refused. */
static void scores(const char *path, const char *body, int64_t n, const char *want)
{
    double score[MOST] = {0};
    uint8_t status[MOST] = {0};
    char got[MOST + 1] = "x";
    struct http_path *p = http_path_parse("http.response", path);
    int rc = http_reply_scores(p, body, (int64_t)strlen(body), n, score, status);
    bool same = true;
    for (int64_t i = 0; i < n && rc == 0; i++) {
        got[i] = "of?in?"[status[i]];
        got[i + 1] = '\0';
        same &= status[i] != REWARD_OK || score[i] == 0.5 + (double)i;
    }
    tap_ok(strcmp(got, want) == 0 && same, "%s in %.70s: %s%s%s", path, body, got,
           rc != 0 ? ": " : "", rc != 0 ? err_text() : "");
    err_clear();
    http_path_free(p);
}

static void bad_path(const char *path)
{
    tap_ok(http_path_parse("http.response", path) == NULL, "path \"%s\" is refused", path);
    err_clear();
}

static void lists(void)
{
    scores("scores", "{\"scores\": [0.5, 1.5, 25e-1]}", 3, "ooo");
    scores("", "[0.5, 1.5]", 2, "oo");
    scores("[]", "[0.5, 1.5]", 2, "oo");
    scores("", "[0.5]", 1, "o");
    scores("", "0.5", 1, "x"); /* of 0.53, where a connection's end is the reply's end */
    scores("[].v", "[{\"v\": 0.5}, {\"v\": 1.5}]", 2, "oo");
    scores("a.b", "{\"a\": {\"b\": [0.5]}}", 1, "o");
    scores("results[].score", "{\"results\": [{\"score\": 0.5}, {\"score\": null}]}", 2, "of");
    scores("r[].a.b", "{\"r\": [{\"a\": {\"b\": 0.5}}]}", 1, "o");
    scores("r[].s", "{\"r\": [{\"infeasible\": true}, {\"s\": 1.5}, {\"error\": \"e\"}]}", 3,
           "iof");
    scores("r[].s", "{\"r\": [{\"infeasible\": false, \"s\": 0.5, \"error\": null}]}", 1, "o");
    scores("scores", "{\"scores\": [{\"infeasible\": true}, 1.5, null]}", 3, "iof");
    scores("r[].s", "{\"r\": [{\"infeasible\": null, \"s\": 0.5}]}", 1, "o");
    scores("r[].s", "{\"r\": [{\"infeasible\": 1, \"s\": 0.5}]}", 1, "x");
    scores("r[].s", "{\"r\": [{\"infeasible\": \"true\", \"s\": 0.5}]}", 1, "x");
    scores("scores", "{\"scores\": [NaN, 1.5, Infinity, -Infinity, 1e999, -1e999]}", 6,
           "nonnnn");
    scores("scores", "{\"note\": \"NaN \\\" NaN [1e999\", \"scores\": [0.5]}", 1, "o");
    scores("scores", "{\"big\": 123456789012345678901234567890, \"scores\": [0.5]}", 1, "o");
    scores("score", "{\"score\": 0.5}", 1, "o");
    scores("score", "{\"score\": 0.5}", 2, "x");
    scores("scores", "{\"scores\": [0.5, 1.5]}", 3, "x");
    scores("scores", "{\"scores\": [0.5, 1.5]}", 1, "x");
    scores("scores", "{\"scores\": [0.5, \"1.5\"]}", 2, "x");
    scores("scores", "{\"scores\": [0.5, true]}", 2, "x");
    scores("scores", "{\"scores\": [0.5, [1.5]]}", 2, "x");
    scores("scores", "{\"scores\": [0.5, {}]}", 2, "x");
    scores("scores", "{\"score\": [0.5]}", 1, "x");
    scores("scores", "{\"scores\": [0.5], \"scores\": [1]}", 1, "x");
    scores("scores", "{\"scores\": [0.5]", 1, "x");
    scores("scores", "{\"scores\": [0.5]} x", 1, "x");
    scores("scores", "<html>502</html>", 1, "x");
    scores("scores", "", 1, "x");
    uint8_t status;
    double score;
    struct http_path *p = http_path_parse("http.response", "");
    tap_ok(http_reply_scores(p, NULL, 0, 1, &score, &status) != 0, "no body: %s", err_text());
    err_clear();
    http_path_free(p);
    bad_path("a..b");
    bad_path("a[0]");
    bad_path("a[].b[]");
    bad_path("a.");
    bad_path("a[]b");
}

static void chat(enum http_score kind, const char *body, const char *reference, double want)
{
    double got = -1;
    int rc = http_reply_chat(kind, body, (int64_t)strlen(body), 0, 10, reference, &got);
    if (isnan(want))
        tap_ok(rc != 0 && got == -1, "no score: %s", rc != 0 ? err_text() : body);
    else
        tap_near(got, want, 1e-12, body);
    err_clear();
}

static void says(enum http_score kind, const char *answer, const char *reference, double want)
{
    char body[512];
    snprintf(body, sizeof body, "{\"choices\": [{\"message\": {\"content\": \"%s\"}}]}", answer);
    chat(kind, body, reference, want);
}

static void tops(const char *list, double want)
{
    char body[1024];
    snprintf(body, sizeof body,
             "{\"choices\": [{\"message\": {\"content\": \"?\"}, \"logprobs\": {\"content\": "
             "[{\"token\": \" \\n\", \"top_logprobs\": []}, {\"token\": \"?\", "
             "\"top_logprobs\": [%s]}]}}]}",
             list);
    chat(HTTP_YES_NO, body, "", want);
}

static void chats(void)
{
    const double none = (double)NAN;
    double yes = exp(-0.5) + exp(-2), no = exp(-1.5);
    tops("{\"token\": \"Yes\", \"logprob\": -0.5}, {\"token\": \" YES.\", \"logprob\": -2}, "
         "{\"token\": \"\xc4\xa0no\", \"logprob\": -1.5}, {\"token\": \"not\", \"logprob\": -3}",
         yes / (yes + no));
    tops("{\"token\": \"Yes\", \"logprob\": 0}, {\"token\": \"No\", \"logprob\": -Infinity}", 1);
    tops("{\"token\": \"The\", \"logprob\": -0.01}", none);
    tops("{\"token\": \"Yes\", \"logprob\": 3}", none);
    tops("{\"token\": \"Yes\", \"logprob\": null}", none);
    tops("{\"token\": 5, \"logprob\": -1}", none);
    tops("", none);
    chat(HTTP_YES_NO, "{\"choices\": [{\"message\": {\"content\": \"Yes\"}}]}", "", none);
    chat(HTTP_YES_NO, "{\"choices\": []}", "", none);
    chat(HTTP_NUMBER, "{\"choices\": [{\"message\": {\"content\": null}}]}", "", none);
    says(HTTP_NUMBER, "8", "", 0.8);
    says(HTTP_NUMBER, "Score: 7.5/10.", "", 0.75);
    says(HTTP_NUMBER, "<think>3 or 4?</think> **6**", "", 0.6);
    says(HTTP_NUMBER, "<think>3 or", "", none);
    says(HTTP_NUMBER, "GPT4 says 5", "", 0.5);
    says(HTTP_NUMBER, "11", "", none);
    says(HTTP_NUMBER, "-3", "", none);
    says(HTTP_NUMBER, "1,000", "", none);
    says(HTTP_NUMBER, "1.2.3", "", none);
    says(HTTP_NUMBER, "0x5", "", none);
    says(HTTP_NUMBER, "ten", "", none);
    says(HTTP_COMPARE, "A cat, a red CAT", "a cat", 4.0 / 7);
    says(HTTP_RECALL, "A cat, a red CAT", "the cat", 0.5);
    says(HTTP_COMPARE, "dog", "cat", 0);
    says(HTTP_COMPARE, "...", "cat", none);
}

/* Damage: bytes changed, taken out, doubled, cut, or pieces of JSON put in. */
static int64_t damage(char *s, int64_t len, int64_t room, uint64_t key)
{
    static const char *const bits[] = {"NaN", "1e999", "null", "[[", "]}", "\"", "\\u0000",
                                       "-", "Infinity", "{\"infeasible\": true}", "\\",
                                       "99999999999999999999", "\xff", "e0", ",", "0."};
    int64_t times = 1 + rng_below(key, 0, 4);
    for (int64_t k = 0; k < times && len > 2; k++) {
        int64_t at = rng_below(key, 10 * k + 1, len), n = rng_below(key, 10 * k + 2, 6);
        const char *bit = bits[rng_below(key, 10 * k + 3, 16)];
        switch (rng_below(key, 10 * k + 4, 4)) {
        case 0:
            s[at] = (char)rng_below(key, 10 * k + 5, 256);
            break;
        case 1:
            n = n < len - at ? n : len - at;
            memmove(s + at, s + at + n, (size_t)(len - at - n));
            len -= n;
            break;
        case 2:
            n = (int64_t)strlen(bit);
            if (len + n > room)
                break;
            memmove(s + at + n, s + at, (size_t)(len - at));
            memcpy(s + at, bit, (size_t)n);
            len += n;
            break;
        default:
            len = rng_below(key, 10 * k + 5, 8) == 0 ? at : len;
        }
    }
    return len;
}

static void fuzz(void)
{
    static const char *const seed[] = {
        "{\"scores\": [0.5, 1.5, -2.5e-3, 4]}",
        "{\"results\": [{\"score\": 0.5}, {\"score\": null}, {\"infeasible\": true}, "
        "{\"score\": NaN, \"error\": null}]}",
        "{\"choices\": [{\"message\": {\"content\": \"I say 7.5, or\"}, \"logprobs\": "
        "{\"content\": [{\"token\": \"Yes\", \"top_logprobs\": [{\"token\": \"Yes\", "
        "\"logprob\": -0.5}, {\"token\": \"no\", \"logprob\": -2.5}]}]}}]}"};
    struct http_path *path[2] = {http_path_parse("", "scores"),
                                 http_path_parse("", "results[].score")};
    int64_t taken = 0, bad = 0;
    for (int64_t i = 0; i < MUTATIONS; i++) {
        uint64_t key = rng_key(5, RNG_TEST, i, 0, 0, 0);
        const char *from = seed[i % 3];
        int64_t len = (int64_t)strlen(from);
        char s[512];
        memcpy(s, from, (size_t)len);
        len = damage(s, len, sizeof s, key);
        char *exact = mem_alloc(len, 1); /* so that reads beyond it are seen */
        memcpy(exact, s, (size_t)len);
        double score[4] = {7, 7, 7, 7};
        uint8_t status[4] = {0};
        int rc;
        if (i % 3 == 2) {
            rc = http_reply_chat((enum http_score)(i / 3 % 4), exact, len, 0, 10, "i say",
                                 score);
            bad += rc == 0 && !(score[0] >= 0 && score[0] <= 1);
        } else {
            rc = http_reply_scores(path[i % 3], exact, len, 4, score, status);
            for (int k = 0; k < 4 && rc == 0; k++)
                bad += status[k] > REWARD_NON_FINITE ||
                       (status[k] == REWARD_OK && !isfinite(score[k]));
        }
        taken += rc == 0;
        bad += rc != 0 && err_code() != ERR_INPUT;
        err_clear();
        mem_free(exact);
    }
    http_path_free(path[0]);
    http_path_free(path[1]);
    tap_ok(bad == 0 && taken > 0, "%d damaged replies, %lld still read, %lld wrong", MUTATIONS,
           (long long)taken, (long long)bad);
}

int main(void)
{
    lists();
    chats();
    fuzz();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

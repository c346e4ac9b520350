/* Replies are strangers' bytes. They go through jansson, after numbers that JSON or double
 * has not were made strings: NaN, Infinity and 1e999 concern one sample, not the request. */
#include "stages/reward/http_reply.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "stages/reward/reward.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { NAMES_MAX = 16, NUMBER_MAX = 400, INTEGER_DIGITS = 18 };

struct http_path {
    char *copy;
    const char *before[NAMES_MAX], *after[NAMES_MAX]; /* the list; point into copy */
    int befores, afters;
};

struct http_path *http_path_parse(const char *key, const char *text)
{
    struct http_path *p = mem_alloc(1, sizeof *p);
    bool list = false, bad = false;
    p->copy = mem_text(text);
    for (char *s = p->copy; *s != '\0' && !bad;) {
        char *end = s + strcspn(s, ".[");
        bool opens = strncmp(end, "[]", 2) == 0;
        char *next = end + (opens ? 2 : 0);
        int *count = list ? &p->afters : &p->befores;
        bad = (*end == '[' && !opens) || (opens && list) || *count == NAMES_MAX ||
              (*next != '\0' && (*next != '.' || next[1] == '\0')) ||
              (end == s && !(opens && s == p->copy));
        if (end > s && !bad)
            (list ? p->after : p->before)[(*count)++] = s;
        list |= opens;
        s = next + (*next == '.');
        *end = '\0';
    }
    if (!bad)
        return p;
    http_path_free(p);
    err_set(ERR_USAGE, "%s: \"%.100s\" is no path like scores or results[].score", key, text);
    return NULL;
}

void http_path_free(struct http_path *p)
{
    if (p != NULL)
        mem_free(p->copy);
    mem_free(p);
}

/* Is the token of a number that starts at s, n bytes long, one that jansson would refuse? */
static const char *strange(const char *s, int64_t n, char *room)
{
    int64_t digits = n - (s[0] == '-');
    if (n >= NUMBER_MAX)
        return NULL; /* left to jansson */
    memcpy(room, s, (size_t)n);
    room[n] = '\0';
    if (isinf(strtod(room, NULL)))
        return room[0] == '-' ? "\"-Infinity\"" : "\"Infinity\"";
    if (digits > INTEGER_DIGITS && strspn(room + (s[0] == '-'), "0123456789") == (size_t)digits) {
        memcpy(room + n, "e0", 3); /* an integer beyond int64_t is still a number */
        return room;
    }
    return NULL;
}

/* len bytes of JSON, with such numbers as strings. */
static struct json *parse(const char *body, int64_t len)
{
    static const char *const word[] = {"NaN", "Infinity", "-Infinity"};
    static const char *const text_of[] = {"\"NaN\"", "\"Infinity\"", "\"-Infinity\""};
    struct text t = {0};
    char room[NUMBER_MAX + 4];
    bool quoted = false;
    int64_t from = 0;
    for (int64_t i = 0; i < len; i++) {
        char c = body[i];
        int64_t n = 0;
        const char *other = NULL;
        if (quoted) {
            i += c == '\\';
            quoted = c != '"';
            continue;
        }
        quoted = c == '"';
        for (int k = 0; k < 3 && n == 0; k++) {
            int64_t w = (int64_t)strlen(word[k]);
            if (len - i >= w && memcmp(body + i, word[k], (size_t)w) == 0)
                n = w, other = text_of[k];
        }
        if (n == 0 && (c == '-' || (c >= '0' && c <= '9'))) {
            while (i + n < len && body[i + n] != '\0' &&
                   strchr("+-.eE0123456789", body[i + n]) != NULL)
                n++;
            other = n > 4 ? strange(body + i, n, room) : NULL; /* 1e999 */
        }
        if (other != NULL) {
            text_add_bytes(&t, body + from, i - from);
            text_add_bytes(&t, other, (int64_t)strlen(other));
            from = i + n;
        }
        i += n > 0 ? n - 1 : 0;
    }
    if (len > from) /* an empty body is NULL */
        text_add_bytes(&t, body + from, len - from);
    struct json *v = json_parse(t.s != NULL ? t.s : "", t.len, "the reply");
    text_free(&t);
    return v;
}

static const struct json *walk(const struct json *v, const char *const *name, int n)
{
    for (int k = 0; k < n && v != NULL; k++)
        v = json_kind(v) == JSON_MAP_T ? json_get(v, name[k]) : NULL;
    return v;
}

/* NaN or an infinity, as parse() left it? */
static bool spelled(const struct json *v)
{
    const char *s = json_text(v);
    return s != NULL && (strcmp(s, "NaN") == 0 || strcmp(s, "Infinity") == 0 ||
                         strcmp(s, "-Infinity") == 0);
}

static int read_score(const struct http_path *p, const struct json *entry, int64_t i,
                      double *score, uint8_t *status)
{
    bool infeasible = false;
    const struct json *v = walk(entry, p->after, p->afters), *error = NULL, *said;
    *score = (double)NAN;
    if (json_kind(entry) == JSON_MAP_T) {
        said = json_get(entry, "infeasible");
        if (said != NULL && json_kind(said) != JSON_NULL_T &&
            !json_to_bool(said, &infeasible))
            return err_set(ERR_INPUT, "the reply's entry %lld: infeasible is neither true "
                                      "nor false", (long long)i);
        error = json_get(entry, "error");
    }
    if (infeasible)
        *status = REWARD_INFEASIBLE;
    else if (error != NULL && json_kind(error) != JSON_NULL_T)
        *status = REWARD_FAILED;
    else if (v != NULL && json_kind(v) == JSON_NULL_T)
        *status = REWARD_FAILED;
    else if (v != NULL && spelled(v))
        *status = REWARD_NON_FINITE;
    else if (json_to_f64(v, score))
        *status = isfinite(*score) ? REWARD_OK : REWARD_NON_FINITE;
    else
        return err_set(ERR_INPUT, "the reply's entry %lld has no number (http.response)",
                       (long long)i);
    return 0;
}

int http_reply_scores(const struct http_path *p, const char *body, int64_t len, int64_t n,
                      double *score, uint8_t *status)
{
    struct json *root = parse(body, len);
    if (root == NULL)
        return -1;
    const struct json *list = walk(root, p->before, p->befores);
    bool single = list != NULL && json_kind(list) != JSON_LIST_T && n == 1;
    int rc = 0;
    if (single && list == root && json_kind(root) != JSON_MAP_T)
        rc = err_set(ERR_INPUT, "the reply is a number by itself, which may be the beginning "
                                "of another: put it into a list or a map");
    else if (list == NULL || (json_kind(list) != JSON_LIST_T && !single))
        rc = err_set(ERR_INPUT, "the reply has no list of scores where http.response says");
    else if (!single && json_count(list) != n)
        rc = err_set(ERR_INPUT, "the reply has %lld scores for %lld samples",
                     (long long)json_count(list), (long long)n);
    for (int64_t i = 0; i < n && rc == 0; i++)
        rc = read_score(p, single ? list : json_item(list, i), i, &score[i], &status[i]);
    json_free(root);
    return rc;
}

/* Chat. */

static char lower(char c)
{
    return (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
}

static bool wordly(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (unsigned char)c >= 0x80;
}

/* Is the token this word, in any case, among blanks, marks and the marks that tokenisers
 * put for blanks (bytes beyond ASCII)? */
static bool spells(const char *token, const char *word)
{
    while (*token != '\0' && !(lower(*token) >= 'a' && lower(*token) <= 'z'))
        token++;
    for (; *word != '\0'; word++, token++)
        if (lower(*token) != *word)
            return false;
    while (*token != '\0' && !wordly(*token))
        token++;
    return *token == '\0';
}

/* exp(logprob) of an entry; -1 where there is none. */
static double probability(const struct json *entry)
{
    const struct json *v =
        json_kind(entry) == JSON_MAP_T ? json_get(entry, "logprob") : NULL;
    double x;
    if (v != NULL && json_text(v) != NULL && strcmp(json_text(v), "-Infinity") == 0)
        return 0;
    return json_to_f64(v, &x) && x <= 1e-3 ? exp(fmin(x, 0)) : -1;
}

static const struct json *child(const struct json *v, const char *name)
{
    return v != NULL && json_kind(v) == JSON_MAP_T ? json_get(v, name) : NULL;
}

static const struct json *list_of(const struct json *v, const char *name)
{
    v = child(v, name);
    return v != NULL && json_kind(v) == JSON_LIST_T ? v : NULL;
}

static bool blank(const struct json *position)
{
    const struct json *token = child(position, "token");
    const char *s = token == NULL ? NULL : json_text(token);
    return s != NULL && s[strspn(s, " \t\r\n")] == '\0';
}

static int yes_no(const struct json *choice, double *score)
{
    const double least = 0.01; /* of yes and no together: less is another answer */
    const struct json *content = list_of(child(choice, "logprobs"), "content");
    int64_t at = 0;
    double yes = 0, no = 0;
    while (blank(json_item(content, at)))
        at++;
    const struct json *top = list_of(json_item(content, at), "top_logprobs");
    if (json_count(top) == 0)
        return err_set(ERR_INPUT, "the answer has no top_logprobs, which http.score=yes_no "
                                  "needs; use number, or another server");
    for (int64_t i = 0; i < json_count(top); i++) {
        const struct json *entry = json_item(top, i), *token = child(entry, "token");
        const char *s = token == NULL ? NULL : json_text(token);
        double p = probability(entry);
        if (s == NULL || p < 0)
            return err_set(ERR_INPUT, "the answer's top_logprobs are malformed");
        yes += spells(s, "yes") ? p : 0;
        no += spells(s, "no") ? p : 0;
    }
    if (!(yes + no >= least) || yes + no > 1.01)
        return err_set(ERR_INPUT, "the answer is neither yes nor no");
    *score = yes / (yes + no);
    return 0;
}

/* The first number of an answer; one that goes on (1,000 or 1.2.3) is ambiguous. */
static int first_number(const char *s, double low, double high, double *score)
{
    char room[40];
    const char *p = s;
    while (*p != '\0' && !(*p >= '0' && *p <= '9' && (p == s || !wordly(p[-1]))))
        p++;
    size_t n = strspn(p, "0123456789");
    if (p[n] == '.' && p[n + 1] >= '0' && p[n + 1] <= '9')
        n += 1 + strspn(p + n + 1, "0123456789");
    bool ambiguous = n == 0 || n + 2 > sizeof room || wordly(p[n]) ||
                     (p > s && (p[-1] == '.' || p[-1] == ',')) ||
                     ((p[n] == '.' || p[n] == ',') && p[n + 1] >= '0' && p[n + 1] <= '9');
    if (ambiguous)
        return err_set(ERR_INPUT, n == 0 ? "the answer has no number"
                                         : "the answer's number is ambiguous");
    bool minus = p > s && p[-1] == '-' && (p - s < 2 || !wordly(p[-2]));
    memcpy(room, p, n);
    room[n] = '\0';
    double v = strtod(room, NULL) * (minus ? -1 : 1);
    if (!(v >= low && v <= high))
        return err_set(ERR_INPUT, "the answer's number is outside of http.number_low to "
                                  "http.number_high");
    *score = (v - low) / (high - low);
    return 0;
}

struct word {
    const char *s;
    int64_t n;
};

static int by_letters(const void *a, const void *b)
{
    const struct word *x = a, *y = b;
    for (int64_t i = 0; i < x->n && i < y->n; i++)
        if (lower(x->s[i]) != lower(y->s[i]))
            return (unsigned char)lower(x->s[i]) < (unsigned char)lower(y->s[i]) ? -1 : 1;
    return (x->n > y->n) - (x->n < y->n);
}

/* The words of s, sorted; free with mem_free. */
static struct word *words(const char *s, int64_t *n)
{
    struct word *w = mem_alloc((int64_t)strlen(s) / 2 + 1, sizeof *w);
    *n = 0;
    while (*s != '\0') {
        int64_t len = 0;
        while (wordly(s[len]))
            len++;
        if (len > 0)
            w[(*n)++] = (struct word){s, len};
        s += len > 0 ? len : 1;
    }
    qsort(w, (size_t)*n, sizeof *w, by_letters);
    return w;
}

static int overlap(const char *answer, const char *reference, bool recall, double *score)
{
    int64_t na, nr, common = 0;
    struct word *a = words(answer, &na), *r = words(reference, &nr);
    for (int64_t i = 0, j = 0; i < na && j < nr;) {
        int order = by_letters(&a[i], &r[j]);
        common += order == 0;
        i += order <= 0;
        j += order >= 0;
    }
    mem_free(a);
    mem_free(r);
    if (na == 0 || nr == 0)
        return err_set(ERR_INPUT, "the answer or the prompt has no words");
    *score = recall ? (double)common / (double)nr : 2 * (double)common / (double)(na + nr);
    return 0;
}

/* The answer without what a model thought aloud before it; NULL: there is none. */
static const char *answer_of(const struct json *choice)
{
    const struct json *content = child(child(choice, "message"), "content");
    const char *s = content == NULL ? NULL : json_text(content);
    const char *thought = s == NULL ? NULL : strstr(s, "</think>");
    if (thought != NULL)
        return thought + strlen("</think>");
    return s != NULL && strstr(s, "<think>") != NULL ? NULL : s;
}

int http_reply_chat(enum http_score kind, const char *body, int64_t len, double low,
                    double high, const char *reference, double *score)
{
    struct json *root = parse(body, len);
    if (root == NULL)
        return -1;
    const struct json *choice = json_item(list_of(root, "choices"), 0);
    const char *answer = answer_of(choice);
    int rc;
    if (choice == NULL || (answer == NULL && kind != HTTP_YES_NO))
        rc = err_set(ERR_INPUT, "the reply has no choices[0].message.content");
    else if (kind == HTTP_YES_NO)
        rc = yes_no(choice, score);
    else if (kind == HTTP_NUMBER)
        rc = first_number(answer, low, high, score);
    else
        rc = overlap(answer, reference, kind == HTTP_RECALL, score);
    json_free(root);
    return rc;
}

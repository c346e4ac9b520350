/* The two forms. A reply repeats the number of its request, which is never used twice, so
 * that an answer that came late, or twice, is not taken for another's. */
#include "stages/reward/exec_wire.h"

#include "io/json.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <endian.h>
#include <math.h>
#include <string.h>

enum {
    HELLO = 200,  /* most bytes of a first line */
    LINE = 4096,  /* most bytes of a JSON reply beside its samples */
    EACH = 96,    /* and of each sample */
    HEAD = 24,    /* bytes of a binary reply before its scores */
};

static void put_u32(struct text *t, uint32_t v)
{
    v = htole32(v);
    text_add_bytes(t, &v, sizeof v);
}

static void put_i64(struct text *t, int64_t v)
{
    uint64_t u = htole64((uint64_t)v);
    text_add_bytes(t, &u, sizeof u);
}

/* Sample i in the units that its user knows: the batch's own, or decoded into scratch. */
static const float *values(const struct exec_wire *w, const struct reward_batch *b, int64_t i,
                           float *scratch)
{
    const int64_t d = b->channels * b->height * b->width;
    const float *x = b->sample + i * d;
    if (w->coding == NULL || w->coding->kind != CODING_SERIES)
        return x;
    memcpy(scratch, x, (size_t)d * sizeof *x);
    coding_decode(w->coding, scratch, d);
    return scratch;
}

static void put_binary(const struct exec_wire *w, const struct reward_batch *b,
                       const int64_t *index, int64_t n, uint64_t id, struct text *t)
{
    const int64_t d = b->channels * b->height * b->width;
    float *scratch = mem_alloc(d, sizeof *scratch);
    text_add(t, "SLXQ");
    put_u32(t, EXEC_WIRE_VERSION);
    put_i64(t, (int64_t)id);
    put_i64(t, n);
    put_i64(t, b->channels);
    put_i64(t, b->height);
    put_i64(t, b->width);
    put_i64(t, b->iteration);
    put_i64(t, b->label != NULL);
    for (int64_t k = 0; k < n; k++) {
        const float *x = values(w, b, index[k], scratch);
        for (int64_t j = 0; j < d; j++) {
            uint32_t bits;
            memcpy(&bits, &x[j], sizeof bits);
            scratch[j] = x[j];
            bits = htole32(bits);
            memcpy(&scratch[j], &bits, sizeof bits);
        }
        text_add_bytes(t, scratch, d * (int64_t)sizeof *scratch);
    }
    for (int64_t k = 0; k < n; k++)
        put_i64(t, b->first + index[k]);
    for (int64_t k = 0; k < n && b->label != NULL; k++)
        put_i64(t, b->label[index[k]]);
    mem_free(scratch);
}

static void put_list(struct text *t, const char *name, const int64_t *of, int64_t add,
                     const int64_t *index, int64_t n)
{
    text_add(t, ",\"%s\":[", name);
    for (int64_t k = 0; k < n; k++)
        text_add(t, "%s%lld", k > 0 ? "," : "",
                 (long long)(of != NULL ? of[index[k]] : add + index[k]));
    text_add(t, "]");
}

/* Alphabets are printable ASCII. */
static void put_string(struct text *t, const char *s)
{
    text_add(t, "\"");
    for (; *s != '\0'; s++)
        text_add(t, *s == '"' || *s == '\\' ? "\\%c" : "%c", *s);
    text_add(t, "\"");
}

static void put_numbers(struct text *t, const float *x, int64_t d)
{
    text_add(t, "[");
    for (int64_t j = 0; j < d; j++)
        if (isfinite(x[j]))
            text_add(t, "%s%.9g", j > 0 ? "," : "", (double)x[j]);
        else
            text_add(t, "%snull", j > 0 ? "," : "");
    text_add(t, "]");
}

static void put_json(const struct exec_wire *w, const struct reward_batch *b,
                     const int64_t *index, int64_t n, uint64_t id, struct text *t)
{
    const int64_t d = b->channels * b->height * b->width;
    const bool text = w->coding != NULL && w->coding->kind == CODING_TEXT;
    float *scratch = mem_alloc(d, sizeof *scratch);
    char *s = mem_alloc(b->width + 1, 1);
    text_add(t, "{\"id\":%llu,\"iteration\":%lld", (unsigned long long)id,
             (long long)b->iteration);
    put_list(t, "numbers", NULL, b->first, index, n);
    if (b->label != NULL)
        put_list(t, "labels", b->label, 0, index, n);
    if (!text)
        text_add(t, ",\"shape\":[%lld,%lld,%lld]", (long long)b->channels,
                 (long long)b->height, (long long)b->width);
    text_add(t, ",\"samples\":[");
    for (int64_t k = 0; k < n; k++) {
        if (k > 0)
            text_add(t, ",");
        if (text) {
            coding_decode_text(w->coding, b->sample + index[k] * d, b->width, s);
            put_string(t, s);
        } else {
            put_numbers(t, values(w, b, index[k], scratch), d);
        }
    }
    text_add(t, "]}\n");
    mem_free(scratch);
    mem_free(s);
}

void exec_wire_request(const struct exec_wire *w, const struct reward_batch *b,
                       const int64_t *index, int64_t n, uint64_t id, struct text *out)
{
    (w->binary ? put_binary : put_json)(w, b, index, n, id, out);
}

static uint64_t get_u64(const char *p)
{
    uint64_t u;
    memcpy(&u, p, sizeof u);
    return le64toh(u);
}

static int64_t bad(const char **why, const char *what)
{
    *why = what;
    return -1;
}

/* One answer; false where the status is none that a program may give. */
static bool settle(double value, int64_t said, double *score, uint8_t *status)
{
    if (said < REWARD_OK || said > REWARD_NON_FINITE)
        return false;
    *status = (uint8_t)said;
    if (said == REWARD_OK && !isfinite(value))
        *status = REWARD_NON_FINITE;
    *score = *status == REWARD_OK ? value : (double)NAN;
    return true;
}

static int64_t reply_binary(const char *p, int64_t len, uint64_t id, int64_t n,
                            double *score, uint8_t *status, const char **why)
{
    static const char head[8] = {'S', 'L', 'X', 'R', EXEC_WIRE_VERSION, 0, 0, 0};
    if (len > 0 && memcmp(p, head, (size_t)(len < 8 ? len : 8)) != 0)
        return bad(why, "its reply does not begin with SLXR and version 1");
    if (len >= 16 && get_u64(p + 8) != id)
        return bad(why, "its reply has another request's id");
    if (len >= HEAD && get_u64(p + 16) != (uint64_t)n)
        return bad(why, "its reply is for another number of samples");
    if (len < HEAD + 9 * n)
        return 0;
    for (int64_t i = 0; i < n; i++) {
        const uint64_t bits = get_u64(p + HEAD + 8 * i);
        double v;
        memcpy(&v, &bits, sizeof v);
        if (!settle(v, (uint8_t)p[HEAD + 8 * n + i], &score[i], &status[i]))
            return bad(why, "its reply has an unknown status");
    }
    return HEAD + 9 * n;
}

/* JSON has no NaN and no Infinity, but Python writes them: an empty map stands for them. */
static void replace_words(char *p, int64_t len)
{
    static const char *const words[] = {"NaN", "-Infinity", "Infinity"};
    bool quoted = false;
    for (int64_t i = 0; i < len; i++) {
        if (p[i] == '"')
            quoted = !quoted;
        else if (quoted && p[i] == '\\')
            i++;
        for (int k = 0; k < 3 && !quoted; k++) {
            const int64_t m = (int64_t)strlen(words[k]);
            if (m > len - i || memcmp(p + i, words[k], (size_t)m) != 0)
                continue;
            memset(p + i, ' ', (size_t)m);
            memcpy(p + i, "{}", 2);
            break;
        }
    }
}

/* A status by number or by name; -1: unknown. */
static int64_t status_of(const struct json *v)
{
    int64_t said;
    if (json_to_i64(v, &said))
        return said;
    const char *name = json_text(v);
    for (int s = REWARD_OK; name != NULL && s <= REWARD_NON_FINITE; s++)
        if (strcmp(name, reward_status_name((enum reward_status)s)) == 0)
            return s;
    return -1;
}

static int64_t read_json(const struct json *j, uint64_t id, int64_t n, double *score,
                         uint8_t *status, const char **why)
{
    int64_t number;
    const struct json *v = json_get(j, "id"), *scores = json_get(j, "scores"),
                      *said = json_get(j, "status");
    if (v == NULL || !json_to_i64(v, &number) || number != (int64_t)id)
        return bad(why, "its reply does not repeat the request's id");
    if (scores == NULL || json_kind(scores) != JSON_LIST_T || json_count(scores) != n)
        return bad(why, "its reply's scores are no list with one entry per sample");
    if (said != NULL && (json_kind(said) != JSON_LIST_T || json_count(said) != n))
        return bad(why, "its reply's status is no list with one entry per sample");
    for (int64_t i = 0; i < n; i++) {
        const struct json *s = json_item(scores, i);
        double value = (double)NAN;
        int64_t kind = said == NULL ? REWARD_OK : status_of(json_item(said, i));
        if (json_kind(s) == JSON_NULL_T)
            kind = kind == REWARD_OK ? REWARD_FAILED : kind;
        else if (!json_to_f64(s, &value) &&
                 (json_kind(s) != JSON_MAP_T || json_count(s) > 0))
            return bad(why, "its reply has a score that is no number");
        if (!settle(value, kind, &score[i], &status[i]))
            return bad(why, "its reply has an unknown status");
    }
    return 0;
}

static int64_t reply_json(char *p, int64_t len, uint64_t id, int64_t n, double *score,
                          uint8_t *status, const char **why)
{
    const char *end = len > 0 ? memchr(p, '\n', (size_t)len) : NULL;
    const int64_t most = LINE + EACH * n;
    if (end == NULL)
        return len > most ? bad(why, "its reply's line does not end") : 0;
    const int64_t m = end - p;
    if (m > most)
        return bad(why, "its reply's line is too long");
    replace_words(p, m);
    struct json *j = json_parse(p, m, "reply");
    if (j == NULL || json_kind(j) != JSON_MAP_T) {
        err_clear();
        json_free(j);
        return bad(why, "its reply is no line of JSON with a map");
    }
    int64_t rc = read_json(j, id, n, score, status, why);
    json_free(j);
    return rc == 0 ? m + 1 : -1;
}

int64_t exec_wire_reply(const struct exec_wire *w, char *p, int64_t len, uint64_t id,
                        int64_t n, double *score, uint8_t *status, const char **why)
{
    return w->binary ? reply_binary(p, len, id, n, score, status, why)
                     : reply_json(p, len, id, n, score, status, why);
}

int64_t exec_wire_hello(const struct exec_wire *w, const char *p, int64_t len, char *name,
                        const char **why)
{
    const char *want = w->binary ? "sluice-exec 1 binary" : "sluice-exec 1 json";
    const int64_t m = (int64_t)strlen(want);
    const char *end = len > 0 ? memchr(p, '\n', (size_t)len) : NULL;
    if (end == NULL && len <= HELLO)
        return 0;
    if (end == NULL || end - p > HELLO || end - p < m ||
        memcmp(p, want, (size_t)m) != 0 || (p[m] != ' ' && p[m] != '\n' && p[m] != '\r'))
        return bad(why, w->binary ? "its first line is not \"sluice-exec 1 binary NAME\""
                                  : "its first line is not \"sluice-exec 1 json NAME\"");
    int64_t k = 0;
    for (const char *c = p + m; c < end && k < 127; c++)
        if (*c > ' ' && *c < 127)
            name[k++] = *c;
        else if (k > 0)
            name[k++] = ' ';
    name[k] = '\0';
    return end - p + 1;
}

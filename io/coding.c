/* Data to numbers and back. Moments are summed in double, in order. */
#include "io/coding.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <math.h>
#include <string.h>

static int check_keys(const struct json *v, const char *const *names, int n)
{
    for (int64_t i = 0; i < json_count(v); i++) {
        const char *key = NULL;
        int k = 0;
        json_entry(v, i, &key);
        while (k < n && strcmp(names[k], key) != 0)
            k++;
        if (k == n) {
            const char *near = text_nearest(key, names, n);
            return err_set(ERR_INPUT, "key '%s' is not known%s%s%s", key,
                           near != NULL ? ", did you mean '" : "",
                           near != NULL ? near : "", near != NULL ? "'?" : "");
        }
    }
    return 0;
}

static int read_series(const struct json *v, struct coding *c)
{
    static const char *const names[] = {"kind", "log", "mean", "std"};
    const struct json *log = json_get(v, "log"), *mean = json_get(v, "mean"),
                      *std = json_get(v, "std");
    c->kind = CODING_SERIES;
    if (check_keys(v, names, 4) != 0)
        return -1;
    if (log != NULL && !json_to_bool(log, &c->log))
        return err_set(ERR_INPUT, "log: must be true or false");
    if (mean == NULL || !json_to_f64(mean, &c->mean) || !(fabs(c->mean) <= 1e30))
        return err_set(ERR_INPUT, "mean: must be a number from -1e30 to 1e30");
    if (std == NULL || !json_to_f64(std, &c->std) || !(c->std >= 1e-30 && c->std <= 1e30))
        return err_set(ERR_INPUT, "std: must be a number from 1e-30 to 1e30");
    return 0;
}

static int read_text(const struct json *v, struct coding *c)
{
    static const char *const names[] = {"kind", "alphabet"};
    const char *letters = json_text(json_get(v, "alphabet"));
    if (check_keys(v, names, 2) != 0)
        return -1;
    if (letters == NULL)
        return err_set(ERR_INPUT, "alphabet: must be a text");
    return coding_set_alphabet(c, letters) != 0 ? err_set(ERR_INPUT, "%s", err_text()) : 0;
}

int coding_read(const struct json *config, const char *path, struct coding *c)
{
    const struct json *v = json_get(config, "data");
    int rc = -1;
    *c = (struct coding){0};
    if (v == NULL || json_kind(v) == JSON_NULL_T)
        return 0;
    const char *kind = json_kind(v) == JSON_MAP_T ? json_text(json_get(v, "kind")) : NULL;
    if (kind != NULL && strcmp(kind, "series") == 0)
        rc = read_series(v, c);
    else if (kind != NULL && strcmp(kind, "text") == 0)
        rc = read_text(v, c);
    else
        err_set(ERR_INPUT, "must be {\"kind\": \"series\" or \"text\", ...}");
    return rc == 0 ? 0 : err_add("%s: data", path);
}

int coding_set_alphabet(struct coding *c, const char *alphabet)
{
    size_t n = strlen(alphabet);
    if (n < 2 || n > CODING_LETTERS)
        return err_set(ERR_USAGE, "an alphabet has 2 to %d characters, not %zu",
                       CODING_LETTERS, n);
    for (size_t i = 0; i < n; i++) {
        if (alphabet[i] < ' ' || alphabet[i] > '~')
            return err_set(ERR_USAGE, "an alphabet has printable ASCII characters only");
        if (strchr(alphabet + i + 1, alphabet[i]) != NULL)
            return err_set(ERR_USAGE, "'%c' is twice in the alphabet", alphabet[i]);
    }
    c->kind = CODING_TEXT;
    memcpy(c->alphabet, alphabet, n + 1);
    return 0;
}

char *coding_insert(const struct coding *c, const char *config)
{
    struct text t = {0};
    struct json_out *o = json_out_create();
    const char *end = strrchr(config, '}');
    ERR_BUG_IF(end == NULL || c->kind == CODING_NONE);
    if (c->kind == CODING_TEXT) {
        json_out_text(o, "kind", "text");
        json_out_text(o, "alphabet", c->alphabet);
    } else {
        json_out_text(o, "kind", "series");
        if (c->log)
            json_out_bool(o, "log", true);
        json_out_f64(o, "mean", c->mean);
        json_out_f64(o, "std", c->std);
    }
    json_out_finish(o, 0, &t);
    while (end > config && strchr(" \t\r\n", end[-1]) != NULL)
        end--;
    char *all = text_new("%.*s%s\n  \"data\": %s\n}\n", (int)(end - config), config,
                         end[-1] == '{' ? "" : ",", t.s);
    text_free(&t);
    return all;
}

static int check_positive(const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(x[i] > 0))
            return err_set(ERR_INPUT, "value %lld is %g: logarithms need positive values",
                           (long long)i, (double)x[i]);
    return 0;
}

static double value(bool log_of, float x)
{
    return log_of ? log((double)x) : (double)x;
}

int coding_fit(struct coding *c, bool log, const float *x, int64_t n)
{
    double sum = 0, squares = 0;
    if (log && check_positive(x, n) != 0)
        return -1;
    *c = (struct coding){.kind = CODING_SERIES, .log = log};
    for (int64_t i = 0; i < n; i++)
        sum += value(log, x[i]);
    c->mean = sum / (double)n;
    for (int64_t i = 0; i < n; i++) {
        double e = value(log, x[i]) - c->mean;
        squares += e * e;
    }
    c->std = sqrt(squares / (double)n);
    if (!(c->std >= 1e-30))
        return err_set(ERR_INPUT, "all values are %g", (double)x[0]);
    return 0;
}

int coding_encode(const struct coding *c, float *x, int64_t n)
{
    if (c->log && check_positive(x, n) != 0)
        return -1;
    for (int64_t i = 0; i < n; i++)
        x[i] = (float)((value(c->log, x[i]) - c->mean) / c->std);
    return 0;
}

void coding_decode(const struct coding *c, float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        double v = c->mean + c->std * (double)x[i];
        x[i] = (float)(c->log ? exp(v) : v);
    }
}

int coding_encode_text(const struct coding *c, const char *s, int64_t length, float *x)
{
    const int64_t n = (int64_t)strlen(s), letters = (int64_t)strlen(c->alphabet);
    if (n > length)
        return err_set(ERR_INPUT, "'%.80s' has %lld characters, %lld are allowed", s,
                       (long long)n, (long long)length);
    for (int64_t i = 0; i < length; i++) {
        char letter = i < n ? s[i] : ' ';
        const char *at = strchr(c->alphabet, letter);
        if (letter == '\0' || at == NULL)
            return err_set(ERR_INPUT,
                           i < n ? "'%.80s': character %lld, '%c', is not in the alphabet"
                                 : "'%.80s' is too short: character %lld would be '%c', "
                                   "which is not in the alphabet",
                           s, (long long)i + 1, letter);
        for (int64_t a = 0; a < letters; a++)
            x[a * length + i] = a == at - c->alphabet ? 1 : -1;
    }
    return 0;
}

void coding_decode_text(const struct coding *c, const float *x, int64_t length, char *s)
{
    const int64_t letters = (int64_t)strlen(c->alphabet);
    for (int64_t i = 0; i < length; i++) {
        int64_t best = 0;
        for (int64_t a = 1; a < letters; a++)
            if (x[a * length + i] > x[best * length + i])
                best = a;
        s[i] = c->alphabet[best];
    }
    while (length > 0 && s[length - 1] == ' ')
        length--;
    s[length] = '\0';
}

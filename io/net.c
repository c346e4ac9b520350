/* libcurl's multi interface behind a queue. A request waits in `waiting` until its time has
 * come and an endpoint and a transfer are free; a transfer keeps its easy handle, and so its
 * connection, for the next request. All messages go through explain(), which masks the
 * token. */
#include "io/net.h"

#include "io/net_endpoint.h"
#include "io/net_token.h"
#include "io/net_url.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"

#include <curl/curl.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum {
    QUEUE_EXTRA = 16,          /* bodies ready beside those in flight */
    HEADER_MAX = 256 * 1024,   /* bytes of a reply's header lines */
    SNIPPET = 120,             /* of an error's body, in messages */
};

struct request {
    struct text body;
    int64_t tag, attempts, endpoint; /* endpoint: of the last attempt, or -1 */
    double ready;                    /* not before */
    bool timed_out;                  /* the last attempt */
};

struct transfer {
    CURL *easy;
    struct request *request; /* NULL: free */
    struct net *net;
    int64_t header;
    struct text body;
    bool too_large;
    char error[CURL_ERROR_SIZE];
};

struct net {
    struct net_options o; /* its texts are not kept */
    char *token, *token_file, *ca_file;
    struct net_endpoint *endpoint;
    int64_t endpoints;
    CURLM *multi; /* NULL until the first request */
    struct curl_slist *header;
    struct transfer *transfer; /* [o.in_flight] */
    struct request **waiting;  /* [waiting_cap] in order of submission */
    struct net_reply *done;    /* [done_cap], taken from done_first on */
    int64_t active, waits, waiting_cap, dones, done_first, done_cap;
    double down_since; /* all endpoints out of use; < 0: not so */
    bool draining;
    uint64_t key;      /* of the jitter */
    int64_t draws;
    char last[320]; /* what went wrong last */
};

/* Opening. */

int net_open(const struct net_options *o, struct net **out)
{
    struct net *n = mem_alloc(1, sizeof *n);
    n->o = *o;
    n->down_since = -1;
    n->key = rng_mix64(o->seed ^ (uint64_t)getpid() << 32 ^ (uint64_t)time(NULL));
    int rc = net_url_parse(o->url, &n->endpoint, &n->endpoints);
    if (rc == 0 && o->ca_file[0] != '\0') {
        n->ca_file = mem_text(o->ca_file);
        if (!file_exists(o->ca_file))
            rc = err_set(ERR_INPUT, "http.ca_file: %s is not there", o->ca_file);
    }
    if (o->token_file[0] != '\0')
        n->token_file = mem_text(o->token_file);
    if (rc == 0)
        rc = net_token_read(o->token_env, o->token_file, &n->token);
    if (rc != 0) {
        net_close(n);
        return -1;
    }
    *out = n;
    return 0;
}

static size_t on_header(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    (void)p;
    t->header += (int64_t)(size * count);
    t->too_large |= t->header > HEADER_MAX;
    return t->too_large ? 0 : size * count;
}

static size_t on_body(char *p, size_t size, size_t count, void *ctx)
{
    struct transfer *t = ctx;
    int64_t bytes = (int64_t)(size * count);
    t->too_large |= bytes > t->net->o.max_response - t->body.len;
    if (t->too_large)
        return bytes == 0 ? 1 : 0; /* anything but what came: ends the transfer */
    text_add_bytes(&t->body, p, bytes);
    return size * count;
}

static long milliseconds(double s)
{
    double ms = ceil(s * 1000);
    return ms < 1 ? 1 : ms > 2e9 ? 2000000000 : (long)ms;
}

static void set_up(struct net *n, struct transfer *t)
{
    CURL *e = t->easy;
    t->net = n;
    curl_easy_setopt(e, CURLOPT_PRIVATE, (char *)t);
    curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(e, CURLOPT_ERRORBUFFER, t->error);
    curl_easy_setopt(e, CURLOPT_POST, 1L);
    curl_easy_setopt(e, CURLOPT_HTTPHEADER, n->header);
    curl_easy_setopt(e, CURLOPT_HEADEROPT, (long)CURLHEADER_SEPARATE); /* none to proxies */
    curl_easy_setopt(e, CURLOPT_USERAGENT, "sluice");
    curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(e, CURLOPT_WRITEDATA, t);
    curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(e, CURLOPT_HEADERDATA, t);
    curl_easy_setopt(e, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(e, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, milliseconds(n->o.connect_timeout));
    curl_easy_setopt(e, CURLOPT_TIMEOUT_MS, milliseconds(n->o.timeout));
    if (n->o.silence > 0) {
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(e, CURLOPT_LOW_SPEED_TIME,
                         (milliseconds(n->o.silence) + 999) / 1000);
    }
    curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, n->o.insecure ? 0L : 1L);
    curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, n->o.insecure ? 0L : 2L);
    if (n->ca_file != NULL)
        curl_easy_setopt(e, CURLOPT_CAINFO, n->ca_file);
#if LIBCURL_VERSION_NUM >= 0x075500
    curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, "http,https");
#else
    curl_easy_setopt(e, CURLOPT_PROTOCOLS, (long)(CURLPROTO_HTTP | CURLPROTO_HTTPS));
#endif
}

/* When the first request goes, so that only ranks that send any say it. */
static void warn(const struct net *n)
{
    bool tls = false;
    for (int64_t i = 0; i < n->endpoints; i++) {
        tls |= n->endpoint[i].tls;
        if (n->token != NULL && !n->endpoint[i].tls && !n->endpoint[i].loopback)
            log_warn("http.url: %s: the token travels in the clear; use https",
                     n->endpoint[i].shown);
    }
    if (net_token_exposed(n->token_file))
        log_warn("http.token_file: %s can be read by others; chmod 600 it", n->token_file);
    if (tls && n->o.insecure)
        log_warn("http.insecure: certificates are not checked; anybody between here and the "
                 "service can read the token and write the scores");
}

static void add_header(struct net *n, const char *line)
{
    n->header = curl_slist_append(n->header, line);
    ERR_BUG_IF(n->header == NULL);
}

static int start(struct net *n)
{
    struct sigaction pipe_action;
    if (n->multi != NULL)
        return 0;
    if (curl_global_init(CURL_GLOBAL_ALL) != CURLE_OK)
        return err_set(ERR_ENV, "libcurl does not start");
    /* Without signals libcurl leaves SIGPIPE to us. */
    if (sigaction(SIGPIPE, NULL, &pipe_action) == 0 && pipe_action.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
    n->multi = curl_multi_init();
    if (n->multi == NULL) {
        curl_global_cleanup();
        return err_set(ERR_ENV, "libcurl does not start");
    }
    curl_multi_setopt(n->multi, CURLMOPT_MAXCONNECTS, (long)n->o.in_flight + 4);
    add_header(n, "Content-Type: application/json");
    add_header(n, "Accept: application/json");
    add_header(n, "Expect:");
    if (n->token != NULL) {
        char *line = text_new("Authorization: Bearer %s", n->token);
        add_header(n, line);
        net_token_free(line);
    }
    n->transfer = mem_alloc(n->o.in_flight, sizeof *n->transfer);
    for (int64_t i = 0; i < n->o.in_flight; i++) {
        n->transfer[i].easy = curl_easy_init();
        if (n->transfer[i].easy == NULL)
            return err_set(ERR_ENV, "libcurl gives no more handles; lower http.in_flight");
        set_up(n, &n->transfer[i]);
    }
    warn(n);
    return 0;
}

void net_close(struct net *n)
{
    if (n == NULL)
        return;
    net_cancel(n);
    for (int64_t i = 0; n->transfer != NULL && i < n->o.in_flight; i++) {
        curl_easy_cleanup(n->transfer[i].easy);
        text_free(&n->transfer[i].body);
    }
    for (struct curl_slist *h = n->header; h != NULL; h = h->next)
        explicit_bzero(h->data, strlen(h->data));
    curl_slist_free_all(n->header);
    if (n->multi != NULL) {
        curl_multi_cleanup(n->multi);
        curl_global_cleanup();
    }
    net_url_free(n->endpoint, n->endpoints);
    mem_free(n->transfer);
    mem_free(n->waiting);
    mem_free(n->done);
    mem_free(n->ca_file);
    mem_free(n->token_file);
    net_token_free(n->token);
    mem_free(n);
}

/* Requests. */

static void drop(struct request *r)
{
    text_free(&r->body);
    mem_free(r);
}

void net_cancel(struct net *n)
{
    for (int64_t i = 0; n->transfer != NULL && i < n->o.in_flight; i++) {
        struct transfer *t = &n->transfer[i];
        if (t->request == NULL)
            continue;
        curl_multi_remove_handle(n->multi, t->easy);
        n->endpoint[t->request->endpoint].in_flight--;
        n->endpoint[t->request->endpoint].probing = false;
        drop(t->request);
        t->request = NULL;
    }
    for (int64_t i = 0; i < n->waits; i++)
        drop(n->waiting[i]);
    for (int64_t i = n->done_first; i < n->dones; i++)
        text_free(&n->done[i].body);
    n->active = n->waits = n->dones = n->done_first = 0;
    n->draining = false;
}

void net_drain(struct net *n)
{
    for (int64_t i = 0; i < n->waits; i++)
        drop(n->waiting[i]);
    n->waits = 0;
    n->draining = true;
}

int64_t net_pending(const struct net *n)
{
    return n->waits + n->active + n->dones - n->done_first;
}

int64_t net_room(const struct net *n)
{
    return 2 * n->o.in_flight + QUEUE_EXTRA - net_pending(n);
}

static void wait_turn(struct net *n, struct request *r)
{
    if (n->waits == n->waiting_cap) {
        int64_t cap = 2 * n->waiting_cap + 16;
        n->waiting =
            mem_resize(n->waiting, n->waiting_cap, cap, sizeof(struct request *));
        n->waiting_cap = cap;
    }
    n->waiting[n->waits++] = r;
}

int net_submit(struct net *n, struct text *body, int64_t tag)
{
    if (start(n) != 0)
        return -1;
    struct request *r = mem_alloc(1, sizeof *r);
    r->body = *body;
    r->tag = tag;
    r->endpoint = -1;
    *body = (struct text){0};
    wait_turn(n, r);
    return 0;
}

void net_mask(const struct net *n, char *s)
{
    for (char *p = s; *p != '\0'; p++)
        if (*p < ' ' || *p > '~')
            *p = *p == '\n' || *p == '\r' || *p == '\t' ? ' ' : '?';
    net_token_mask(n->token, s);
}

/* "WHERE: what" into out, printable and without the token. */
static void explain(const struct net *n, int64_t endpoint, char *out, size_t size,
                    const char *fmt, ...) __attribute__((format(printf, 5, 6)));
static void explain(const struct net *n, int64_t endpoint, char *out, size_t size,
                    const char *fmt, ...)
{
    va_list ap;
    int at = snprintf(out, size, "%s: ", n->endpoint[endpoint].shown);
    va_start(ap, fmt);
    vsnprintf(out + at, size - (size_t)at, fmt, ap);
    va_end(ap);
    net_mask(n, out);
}

/* Takes over r and, where it is not NULL, the body. */
static void complete(struct net *n, struct request *r, enum net_kind kind, long code,
                     struct text *body, const char *why)
{
    if (n->dones == n->done_cap) {
        int64_t cap = 2 * n->done_cap + 16;
        n->done = mem_resize(n->done, n->done_cap, cap, sizeof *n->done);
        n->done_cap = cap;
    }
    struct net_reply *d = &n->done[n->dones++];
    *d = (struct net_reply){.tag = r->tag, .kind = kind, .code = code};
    if (body != NULL) {
        d->body = *body;
        *body = (struct text){0};
    }
    snprintf(d->why, sizeof d->why, "%s", why);
    drop(r);
}

bool net_take(struct net *n, struct net_reply *r)
{
    if (n->done_first == n->dones)
        return false;
    *r = n->done[n->done_first++];
    if (n->done_first == n->dones)
        n->done_first = n->dones = 0;
    return true;
}

static void send_one(struct net *n, struct request *r)
{
    struct transfer *t = n->transfer;
    while (t->request != NULL)
        t++;
    t->request = r;
    t->body.len = t->header = 0;
    t->too_large = false;
    t->error[0] = '\0';
    r->attempts++;
    curl_easy_setopt(t->easy, CURLOPT_URL, n->endpoint[r->endpoint].url);
    /* Many requests share a connection once the first has found out that it is HTTP/2. */
    curl_easy_setopt(t->easy, CURLOPT_PIPEWAIT, n->endpoint[r->endpoint].tls ? 1L : 0L);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDS, r->body.s);
    curl_easy_setopt(t->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body.len);
    if (curl_multi_add_handle(n->multi, t->easy) != CURLM_OK)
        ERR_BUG("libcurl refuses a transfer");
    n->active++;
}

/* Sends what may go now. Without any endpoint in use for too long, what waits fails. */
static void dispatch(struct net *n, double now)
{
    int64_t kept = 0;
    bool none = false;
    for (int64_t i = 0; i < n->waits; i++) {
        struct request *r = n->waiting[i];
        int64_t e = -1;
        if (r->ready <= now && n->active < n->o.in_flight && !none) {
            e = net_endpoint_pick(n->endpoint, n->endpoints, r->endpoint, now);
            none = e < 0;
        }
        if (e >= 0) {
            r->endpoint = e;
            send_one(n, r);
        } else if (n->down_since >= 0 && now - n->down_since >= n->o.patience &&
                   (none || net_endpoint_all_open(n->endpoint, n->endpoints))) {
            complete(n, r, r->timed_out ? NET_TIMED_OUT : NET_DOWN, 0, NULL, n->last);
        } else {
            n->waiting[kept++] = r;
        }
    }
    n->waits = kept;
}

/* Completions. */

static bool bad_certificate(CURLcode rc)
{
    return rc == CURLE_PEER_FAILED_VERIFICATION || rc == CURLE_SSL_CACERT_BADFILE ||
           rc == CURLE_SSL_ISSUER_ERROR || rc == CURLE_SSL_CERTPROBLEM;
}

/* What came of a transfer, and whether it pays to try again. */
static enum net_kind judge(const struct net *n, const struct transfer *t, CURLcode rc,
                           long code, bool *again)
{
    *again = false;
    if (t->too_large)
        return NET_TOO_LARGE;
    if (rc == CURLE_OK) {
        if (code >= 200 && code < 300)
            return NET_OK;
        *again = code == 408 || code == 425 || code == 429 || (code >= 500 && code < 600);
        return *again ? NET_BUSY : NET_REFUSED;
    }
    if (bad_certificate(rc)) /* another endpoint may have a good one */
        *again = n->endpoints > 1;
    else
        *again = rc != CURLE_UNSUPPORTED_PROTOCOL && rc != CURLE_BAD_CONTENT_ENCODING &&
                 rc != CURLE_URL_MALFORMAT && rc != CURLE_WEIRD_SERVER_REPLY &&
                 rc != CURLE_WRITE_ERROR;
    return rc == CURLE_OPERATION_TIMEDOUT ? NET_TIMED_OUT : NET_TRANSPORT;
}

static void say(const struct net *n, const struct transfer *t, CURLcode rc, long code,
                enum net_kind kind, char *why, size_t size)
{
    if (t->body.len > 0) /* before it is cut, which could cut a token */
        net_token_mask(n->token, t->body.s);
    int64_t e = t->request->endpoint;
    const char *to = NULL;
    if (kind == NET_TOO_LARGE)
        explain(n, e, why, size, "a reply of more than %lld bytes (http.max_response)",
                (long long)n->o.max_response);
    else if (rc != CURLE_OK)
        explain(n, e, why, size, "%s",
                t->error[0] != '\0' ? t->error : curl_easy_strerror(rc));
    else if (code >= 300 && code < 400 &&
             curl_easy_getinfo(t->easy, CURLINFO_REDIRECT_URL, &to) == CURLE_OK)
        explain(n, e, why, size, "HTTP %ld, a redirect, which is not followed: put the "
                                 "final address into http.url",
                code);
    else
        explain(n, e, why, size, "HTTP %ld: %.*s", code, SNIPPET,
                t->body.len == 0 ? "" : t->body.s);
}

/* Full jitter, and not before the service asks for it. */
static double delay(struct net *n, const struct transfer *t)
{
    curl_off_t after = 0;
    double top = n->o.backoff * pow(2, (double)(t->request->attempts - 1));
    if (top > n->o.backoff_cap)
        top = n->o.backoff_cap;
    double d = top * rng_uniform(n->key, n->draws++);
    if (curl_easy_getinfo(t->easy, CURLINFO_RETRY_AFTER, &after) == CURLE_OK && after > 0)
        d += (double)after < n->o.retry_after_cap ? (double)after : n->o.retry_after_cap;
    return d;
}

static void health(struct net *n, int64_t e, bool well, double now)
{
    struct net_endpoint *p = &n->endpoint[e];
    int turn = net_endpoint_done(p, well, n->o.breaker, n->o.cooldown, now);
    if (turn > 0)
        log_warn("%s: out of use after %lld failures in a row; one request tries it again "
                 "every %g s",
                 p->shown, (long long)p->failures, n->o.cooldown);
    if (turn < 0)
        log_info("%s: in use again", p->shown);
    if (!net_endpoint_all_open(n->endpoint, n->endpoints))
        n->down_since = -1;
    else if (n->down_since < 0)
        n->down_since = now;
}

static void finish(struct net *n, struct transfer *t, CURLcode rc, double now)
{
    struct request *r = t->request;
    long code = 0;
    bool again;
    char why[320] = "";
    curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &code);
    enum net_kind kind = judge(n, t, rc, code, &again);
    if (kind != NET_OK) {
        say(n, t, rc, code, kind, why, sizeof why);
        snprintf(n->last, sizeof n->last, "%s", why);
    }
    /* An endpoint that answers is well, whatever it says, unless it says 5xx. */
    health(n, r->endpoint, !again || (kind == NET_BUSY && code < 500), now);
    double pause = again ? delay(n, t) : 0;
    curl_multi_remove_handle(n->multi, t->easy);
    t->request = NULL;
    n->active--;
    r->timed_out = kind == NET_TIMED_OUT;
    const bool left = again && r->attempts < n->o.attempts;
    if (left && n->draining) {
        drop(r);
    } else if (left) {
        r->ready = now + pause;
        wait_turn(n, r);
    } else {
        complete(n, r, kind, code, kind == NET_OK ? &t->body : NULL, why);
    }
}

static int collect(struct net *n)
{
    CURLMsg *m;
    int left, running;
    CURLMcode rc = curl_multi_perform(n->multi, &running);
    if (rc != CURLM_OK)
        return err_set(ERR_ENV, "libcurl: %s", curl_multi_strerror(rc));
    while ((m = curl_multi_info_read(n->multi, &left)) != NULL) {
        char *t = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &t);
        finish(n, (struct transfer *)(void *)t, result, clock_s());
    }
    return 0;
}

int net_step(struct net *n, int timeout_ms)
{
    if (n->multi == NULL)
        return 0;
    dispatch(n, clock_s());
    if (collect(n) != 0)
        return -1;
    dispatch(n, clock_s());
    if (n->dones > n->done_first || timeout_ms <= 0)
        return 0;
    CURLMcode rc = curl_multi_poll(n->multi, NULL, 0, timeout_ms, NULL);
    return rc == CURLM_OK ? 0 : err_set(ERR_ENV, "libcurl: %s", curl_multi_strerror(rc));
}

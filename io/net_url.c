/* Addresses through libcurl's own parser, so that what is checked here is what it connects
 * to. */
#include "io/net_url.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <curl/curl.h>
#include <stdio.h>
#include <string.h>

enum { ENDPOINTS_MAX = 1024 };

static int part_of(CURLU *u, CURLUPart what, char *out, size_t size)
{
    char *s = NULL;
    out[0] = '\0';
    if (curl_url_get(u, what, &s, 0) != CURLUE_OK)
        return -1;
    snprintf(out, size, "%s", s);
    curl_free(s);
    return 0;
}

/* Messages name the entry and not its text, which may hold a password. */
static int parse_url(struct net_endpoint *e, int64_t number, const char *url)
{
    char s[512], scheme[16], host[256];
    CURLU *u = curl_url();
    if (u == NULL)
        return err_set(ERR_ENV, "http.url: libcurl has no memory");
    int rc = 0;
    if (curl_url_set(u, CURLUPART_URL, url, 0) != CURLUE_OK ||
        part_of(u, CURLUPART_SCHEME, scheme, sizeof scheme) != 0 ||
        part_of(u, CURLUPART_HOST, host, sizeof host) != 0 ||
        (strcmp(scheme, "http") != 0 && strcmp(scheme, "https") != 0))
        rc = err_set(ERR_USAGE, "http.url: entry %lld is no address like "
                                "https://host:port/path (http or https)",
                     (long long)number);
    else if (part_of(u, CURLUPART_USER, s, sizeof s) == 0 ||
             part_of(u, CURLUPART_PASSWORD, s, sizeof s) == 0)
        rc = err_set(ERR_USAGE, "http.url: entry %lld has a user or password in it; put a "
                                "token into an environment variable and name that in "
                                "http.token_env",
                     (long long)number);
    if (rc == 0) {
        e->tls = strcmp(scheme, "https") == 0;
        e->loopback = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
                      strcmp(host, "[::1]") == 0;
        curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0);
        e->url = mem_text(url);
        curl_url_set(u, CURLUPART_QUERY, NULL, 0);
        part_of(u, CURLUPART_URL, s, sizeof s);
        e->shown = text_new("%.150s", s);
    }
    explicit_bzero(s, sizeof s);
    curl_url_cleanup(u);
    return rc;
}

int net_url_parse(const char *urls, struct net_endpoint **out, int64_t *n)
{
    int rc = 0;
    while (rc == 0 && *urls != '\0') {
        size_t len = strcspn(urls, ","), from = strspn(urls, " ");
        if (*n == ENDPOINTS_MAX)
            return err_set(ERR_USAGE, "http.url: more than %d addresses", ENDPOINTS_MAX);
        *out = mem_resize(*out, *n, *n + 1, sizeof **out);
        char *one = text_new("%.*s", (int)(from < len ? len - from : 0), urls + from);
        for (size_t end = strlen(one); end > 0 && one[end - 1] == ' ';)
            one[--end] = '\0';
        ++*n;
        rc = parse_url(&(*out)[*n - 1], *n, one);
        mem_free(one);
        urls += len + (urls[len] == ',');
    }
    if (rc == 0 && *n == 0)
        rc = err_set(ERR_USAGE, "http.url: set the address of the service");
    return rc;
}

void net_url_free(struct net_endpoint *e, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        mem_free(e[i].url);
        mem_free(e[i].shown);
    }
    mem_free(e);
}

/* Which endpoint takes a request, and when one is left out; tokens and addresses. */
#include "io/net_endpoint.h"

#include "io/net.h"
#include "io/net_token.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <sys/stat.h>
#include <unistd.h>

static void balance(void)
{
    struct net_endpoint e[3] = {0};
    int64_t n[3] = {0};
    for (int i = 0; i < 9; i++)
        n[net_endpoint_pick(e, 3, -1, 0)]++;
    tap_ok(n[0] == 3 && n[1] == 3 && n[2] == 3, "nine requests, three each");
    net_endpoint_done(&e[1], true, 2, 5, 0);
    tap_ok(net_endpoint_pick(e, 3, -1, 0) == 1, "the least in flight");
    net_endpoint_done(&e[1], true, 2, 5, 0);
    tap_ok(net_endpoint_pick(e, 3, 1, 0) != 1, "another one after a failure");
    struct net_endpoint one = {0};
    tap_ok(net_endpoint_pick(&one, 1, 0, 0) == 0, "or the same where there is no other");
}

static void breaker(void)
{
    struct net_endpoint e[2] = {0};
    for (int i = 0; i < 4; i++)
        net_endpoint_pick(e, 1, -1, 0);
    tap_ok(net_endpoint_done(e, false, 3, 5, 1) == 0 &&
               net_endpoint_done(e, false, 3, 5, 1) == 0 &&
               net_endpoint_done(e, false, 3, 5, 1) == 1 && e->open,
           "opens at the third failure in a row");
    tap_ok(net_endpoint_done(e, false, 3, 5, 2) == 0 && e->retry_at == 6,
           "a late failure changes nothing");
    tap_ok(net_endpoint_pick(e, 1, -1, 5.9) == -1 && net_endpoint_all_open(e, 1),
           "takes nothing before the cool-down is over");
    tap_ok(net_endpoint_pick(e, 2, -1, 5.9) == 1, "the other one does");
    tap_ok(net_endpoint_pick(e, 1, -1, 6) == 0 && net_endpoint_pick(e, 1, -1, 7) == -1,
           "then one probe, and no second");
    tap_ok(net_endpoint_done(e, false, 3, 5, 8) == 0 && e->open && e->retry_at == 13,
           "a failed probe waits again");
    tap_ok(net_endpoint_pick(e, 1, -1, 13) == 0 &&
               net_endpoint_done(e, true, 3, 5, 14) == -1 && !e->open && e->in_flight == 0,
           "a good one closes the breaker");
    net_endpoint_pick(e, 1, -1, 15);
    net_endpoint_pick(e, 1, -1, 15);
    tap_ok(net_endpoint_done(e, false, 3, 5, 15) == 0 && e->failures == 1 &&
               net_endpoint_done(e, true, 3, 5, 15) == 0 && e->failures == 0,
           "successes clear the count");
}

/* Is the address refused with these words, and without the secret? */
static void url(const char *text, const char *words)
{
    const struct net_options o = {.url = text, .token_env = "", .token_file = "",
                                  .ca_file = "", .in_flight = 1, .max_response = 64};
    struct net *n = NULL;
    int rc = net_open(&o, &n);
    net_close(n);
    tap_ok(words == NULL ? rc == 0
                         : rc != 0 && strstr(err_text(), words) != NULL &&
                               strstr(err_text(), "hunter2") == NULL,
           "%s: %s", text, rc == 0 ? "taken" : err_text());
    err_clear();
}

static void tokens(void)
{
    char path[] = "/tmp/sluice-token.XXXXXX", *token;
    int fd = mkstemp(path);
    if (fd < 0 || write(fd, " sesame-1 \n", 11) != 11)
        ERR_BUG("no temporary file");
    close(fd);
    setenv("SLUICE_TEST_TOKEN", "sesame-2", 1);
    tap_ok(net_token_read("", path, &token) == 0 && strcmp(token, "sesame-1") == 0,
           "a file's token, without blanks");
    net_token_free(token);
    tap_ok(!net_token_exposed(path) && chmod(path, 0640) == 0 && net_token_exposed(path) &&
               !net_token_exposed(NULL),
           "who can read it");
    tap_ok(net_token_read("SLUICE_TEST_TOKEN", "", &token) == 0 &&
               strcmp(token, "sesame-2") == 0,
           "a variable's token");
    char s[] = "x sesame-2 y sesame-2", t[] = "nothing";
    net_token_mask(token, s);
    net_token_mask(token, t);
    net_token_mask(NULL, t);
    tap_ok(strcmp(s, "x ******** y ********") == 0 && strcmp(t, "nothing") == 0, "masked");
    net_token_free(token);
    tap_ok(net_token_read("", "", &token) == 0 && token == NULL, "no token");
    tap_ok(net_token_read("sk-sesame", "", &token) != 0 &&
               strstr(err_text(), "sesame") == NULL,
           "the token in place of a name is not repeated: %s", err_text());
    tap_ok(net_token_read("SKSESAME", "", &token) != 0 &&
               strstr(err_text(), "SESAME") == NULL,
           "nor one that looks like a name: %s", err_text());
    setenv("SLUICE_TEST_TOKEN", "a\r\nX-Header: 1", 1);
    tap_ok(net_token_read("SLUICE_TEST_TOKEN", "", &token) != 0 && token == NULL,
           "a token with a line end is refused");
    err_clear();
    unlink(path);
}

int main(void)
{
    log_set_level(LOG_QUIET);
    balance();
    breaker();
    url("http://127.0.0.1:1/a, https://host/b?key=1,http://[::1]:80/", NULL);
    url("", "set the address");
    url("host:80/a", "entry 1");
    url("http://a/,ftp://b/", "entry 2");
    url("http://joe:hunter2@a/", "http.token_env");
    url("http://hunter2@a/", "http.token_env");
    url("http://ok/,http://joe:hun,hunter2@a/", "entry 2");
    url("file:///etc/hunter2", "entry 1");
    tokens();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

/* Lines, verdict and watchdog. The alarm's handler only writes and leaves: whatever
 * hangs is inside a library. */
#include "pipeline/selftest/selftest.h"

#include "io/sys/err.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const words[] = {"ok", "slow", "FAILED"};

static void put(struct selftest *t, const struct selftest_line *l)
{
    if (t->all != NULL && t->all->rank != 0)
        return;
    if (t->lines < SELFTEST_LINES)
        t->line[t->lines++] = *l;
    if (!t->json) {
        printf("%-7s %-11s %s\n", words[l->status], l->name, l->text);
        fflush(stdout);
    }
}

void selftest_say(struct selftest *t, enum selftest_status status, const char *name,
                  const char *fmt, ...)
{
    struct selftest_line l = {.status = status, .code = ERR_ENV};
    va_list ap;
    snprintf(l.name, sizeof l.name, "%s", name);
    va_start(ap, fmt);
    vsnprintf(l.text, sizeof l.text, fmt, ap);
    va_end(ap);
    put(t, &l);
}

void selftest_fail(struct selftest *t, const char *name, const char *remedy)
{
    struct selftest_line l = {.status = SELFTEST_FAILED};
    l.code = err_code() == ERR_NONE ? ERR_ENV : (int)err_code();
    snprintf(l.name, sizeof l.name, "%s", name);
    snprintf(l.text, sizeof l.text, "%.600s; %s", err_text(), remedy);
    err_clear();
    put(t, &l);
}

static const char *volatile watched; /* for the handler, which gets no argument */

static void on_alarm(int sig)
{
    static const char head[] = "sluice selftest: FAILED: no end of the check ",
                      tail[] =
                          "; see whether all ranks run, and what this one waits for\n";
    const char *name = watched;
    (void)sig;
    if (write(2, head, sizeof head - 1) < 0 || write(2, name, strlen(name)) < 0 ||
        write(2, tail, sizeof tail - 1) < 0)
        _exit(ERR_IO);
    _exit(ERR_STALL);
}

void selftest_watch(const char *name, int seconds)
{
    watched = name;
    signal(SIGALRM, on_alarm);
    alarm((unsigned)seconds);
}

int selftest_code(const struct selftest *t)
{
    for (int i = 0; i < t->lines; i++)
        if (t->line[i].status == SELFTEST_FAILED)
            return t->line[i].code;
    return 0;
}

static void verdict_json(const struct selftest *t, const char *verdict)
{
    struct json_out *o = json_out_create();
    json_out_text(o, "verdict", verdict);
    json_out_list(o, "checks");
    for (int i = 0; i < t->lines; i++) {
        json_out_map(o, NULL);
        json_out_text(o, "name", t->line[i].name);
        json_out_text(o, "status", words[t->line[i].status]);
        json_out_text(o, "text", t->line[i].text);
        json_out_end(o);
    }
    json_out_end(o);
    json_out_print(o);
}

void selftest_verdict(const struct selftest *t)
{
    int count[3] = {0};
    for (int i = 0; i < t->lines; i++)
        count[t->line[i].status]++;
    const char *verdict = words[count[SELFTEST_FAILED] > 0 ? SELFTEST_FAILED
                                : count[SELFTEST_SLOW] > 0 ? SELFTEST_SLOW
                                                           : SELFTEST_OK];
    if (t->json)
        verdict_json(t, verdict);
    else if (count[SELFTEST_FAILED] > 0)
        printf("verdict: FAILED: %d of %d checks; mend these before you run anything "
               "here\n",
               count[SELFTEST_FAILED], t->lines);
    else if (count[SELFTEST_SLOW] > 0)
        printf("verdict: ok, but slow: %d of %d checks\n", count[SELFTEST_SLOW],
               t->lines);
    else
        printf("verdict: ok: %d checks\n", t->lines);
}

struct model *selftest_network(int width, int size)
{
    struct text s = {0};
    text_add(
        &s,
        "{\"_class_name\": \"UNet2DModel\", \"in_channels\": 3, \"out_channels\": 3, "
        "\"sample_size\": %d, \"block_out_channels\": [%d, %d], "
        "\"layers_per_block\": 1, \"norm_num_groups\": 4, \"attention_head_dim\": 8, "
        "\"down_block_types\": [\"DownBlock2D\", \"AttnDownBlock2D\"], "
        "\"up_block_types\": [\"AttnUpBlock2D\", \"UpBlock2D\"]}",
        size, width, 2 * width);
    struct model *m = model_new_text(s.s, "the self-test's network", 1);
    text_free(&s);
    return m;
}

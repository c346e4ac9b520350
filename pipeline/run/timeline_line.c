/* What a line of log/timeline.jsonl has, as JSON. */
#include "pipeline/run/timeline_line.h"

#include <math.h>

int64_t timeline_us(double s)
{
    return isfinite(s) && fabs(s) < 1e12 ? (int64_t)llround(1e6 * s) : 0;
}

static void put_pair(struct json_out *o, double from, double to)
{
    json_out_i64(o, NULL, timeline_us(from));
    json_out_i64(o, NULL, timeline_us(to));
}

static void put_spans(struct json_out *o, const struct task_spans *s, enum task_time k,
                      const char *name)
{
    bool open = false;
    for (int i = 0; i < (int)s->n && i < TASK_SPANS; i++) {
        if (s->span[i].kind != k)
            continue;
        if (!open)
            json_out_list(o, name);
        open = true;
        put_pair(o, s->span[i].from, s->span[i].to);
    }
    if (open)
        json_out_end(o);
}

void timeline_put_waits(struct json_out *o, const struct timeline_wait *wait, int waits)
{
    json_out_list(o, "waited");
    for (int i = 0; i < waits; i++) {
        json_out_map(o, NULL);
        json_out_text(o, "for", record_wait_name(wait[i].on));
        json_out_i64(o, "from_us", timeline_us(wait[i].from));
        json_out_i64(o, "to_us", timeline_us(wait[i].to));
        json_out_end(o);
    }
    json_out_end(o);
}

void timeline_put_lease(struct json_out *o, int rank, const struct lease *l,
                        const struct record_account *a, const struct timeline_lease *w)
{
    json_out_map(o, NULL);
    json_out_i64(o, "rank", rank);
    json_out_text(o, "group", group_name(l->group));
    if (l->shard >= 0)
        json_out_i64(o, "shard", l->shard);
    json_out_i64(o, "from_us", timeline_us(w->from_s));
    json_out_i64(o, "to_us", timeline_us(w->to_s));
    if (w->aside == 1) {
        json_out_bool(o, "aside", true);
        json_out_i64(o, "working_us", timeline_us(a->working_s));
    }
    put_spans(o, &w->spans, TIME_IO, "io_us");
    put_spans(o, &w->spans, TIME_COMMUNICATION, "communication_us");
    put_spans(o, &w->spans, TIME_WAITING, "vote_us");
}

void timeline_put_groups(struct json_out *o, const struct layout *l,
                         const double working[GROUPS],
                         const struct record_waits waited[GROUPS])
{
    json_out_map(o, "groups");
    for (int g = 0; g < GROUPS; g++) {
        if (l->size[g] == 0)
            continue;
        json_out_map(o, group_name((enum group)g));
        json_out_i64(o, "first", l->start[g]);
        json_out_i64(o, "ranks", l->size[g]);
        json_out_i64(o, "working_us", timeline_us(working[g]));
        json_out_map(o, "waited_us");
        for (int k = 0; k < RECORD_WAITS; k++)
            json_out_i64(o, record_wait_name(k), timeline_us(waited[g].on_s[k]));
        json_out_end(o);
        json_out_end(o);
    }
    json_out_end(o);
}

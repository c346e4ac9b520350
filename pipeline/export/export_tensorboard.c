/* A TensorBoard event file. A record is its length (u64), the masked CRC-32C of these
 * eight bytes, the data, and their masked CRC-32C, all little-endian. The data is an
 * Event:
 *
 *   Event          1 wall_time f64, 2 step i64, 3 file_version text, 5 Summary
 *   Summary        1 Value, repeated
 *   Summary.Value  1 tag text, 2 simple_value f32 */
#include "pipeline/export/export.h"

#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/metrics_log.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* CRC-32C (Castagnoli, reflected), bit by bit: the file is small. */
static uint32_t crc32c(const void *p, int64_t n)
{
    const unsigned char *b = p;
    uint32_t c = ~0u;
    for (int64_t i = 0; i < n; i++) {
        c ^= b[i];
        for (int k = 0; k < 8; k++)
            c = c >> 1 ^ (c & 1 ? 0x82f63b78u : 0);
    }
    return ~c;
}

/* TensorFlow masks, because a CRC of data that hold CRCs is weak. */
static uint32_t masked(uint32_t crc)
{
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

static void add_little(struct text *t, uint64_t v, int bytes)
{
    for (int i = 0; i < bytes; i++)
        text_add_bytes(t, &(unsigned char){(unsigned char)(v >> (8 * i))}, 1);
}

static void add_varint(struct text *t, uint64_t v)
{
    for (; v >= 128; v >>= 7)
        add_little(t, (v & 127) | 128, 1);
    add_little(t, v, 1);
}

enum wire { VARINT = 0, FIXED64 = 1, BYTES = 2, FIXED32 = 5 };

static void add_key(struct text *t, unsigned field, enum wire wire)
{
    add_varint(t, field << 3 | wire);
}

static void add_bytes(struct text *t, unsigned field, const char *p, int64_t n)
{
    add_key(t, field, BYTES);
    add_varint(t, (uint64_t)n);
    text_add_bytes(t, p, n);
}

static void add_record(struct text *file, const struct text *data)
{
    int64_t at = file->len;
    add_little(file, (uint64_t)data->len, 8);
    add_little(file, masked(crc32c(file->s + at, 8)), 4);
    text_add_bytes(file, data->s, data->len);
    add_little(file, masked(crc32c(data->s, data->len)), 4);
}

static void begin_event(struct text *event, double wall_time)
{
    uint64_t bits;
    memcpy(&bits, &wall_time, sizeof bits);
    event->len = 0;
    add_key(event, 1, FIXED64);
    add_little(event, bits, 8);
}

static void add_value(struct text *summary, const char *name, double v)
{
    struct text value = {0};
    float single = (float)v;
    uint32_t bits;
    char *tag = mem_text(name);
    for (char *p = tag; *p != '\0'; p++)
        *p = *p == '.' ? '/' : *p; /* TensorBoard groups by what is before a slash */
    memcpy(&bits, &single, sizeof bits);
    add_bytes(&value, 1, tag, (int64_t)strlen(tag));
    add_key(&value, 2, FIXED32);
    add_little(&value, bits, 4);
    add_bytes(summary, 1, value.s, value.len);
    text_free(&value);
    mem_free(tag);
}

/* "2026-11-22T14:44:42Z" to seconds since 1970, 0 where it is no such text. */
static double seconds_of(const char *time)
{
    struct tm t = {0};
    if (sscanf(time, "%d-%d-%dT%d:%d:%d", &t.tm_year, &t.tm_mon, &t.tm_mday, &t.tm_hour,
               &t.tm_min, &t.tm_sec) != 6 ||
        t.tm_year < 1970 || t.tm_year > 9999)
        return 0;
    t.tm_year -= 1900;
    t.tm_mon -= 1;
    return (double)timegm(&t);
}

static void make_file(const struct metrics_log *m, struct text *file)
{
    struct text event = {0}, summary = {0};
    begin_event(&event, seconds_of(m->time[0]));
    add_bytes(&event, 3, "brain.Event:2", 13);
    add_record(file, &event);
    for (int64_t i = 0; i < m->rows; i++) {
        summary.len = 0;
        for (int64_t k = 0; k < m->names; k++)
            if (isfinite(metrics_log_at(m, i, k)))
                add_value(&summary, m->name[k], metrics_log_at(m, i, k));
        begin_event(&event, seconds_of(m->time[i]));
        add_key(&event, 2, VARINT);
        add_varint(&event, (uint64_t)m->iteration[i]);
        add_bytes(&event, 5, summary.s, summary.len);
        add_record(file, &event);
    }
    text_free(&summary);
    text_free(&event);
}

int export_tensorboard(const char *run, const char *dir)
{
    struct metrics_log m;
    struct text file = {0};
    char *from = rundir_path(run, "metrics.jsonl"), *path = NULL;
    int rc = metrics_log_read(&m, from);
    if (rc == 0 && m.rows == 0)
        rc = err_set(ERR_INPUT, "%s: has no iteration; is %s a run directory?", from,
                     run);
    if (rc == 0)
        rc = file_make_dirs(dir);
    if (rc == 0) {
        /* one name per run: a later export takes the place of an earlier one */
        path = text_new("%s/events.out.tfevents.%lld.sluice", dir,
                        (long long)seconds_of(m.time[0]));
        make_file(&m, &file);
        rc = file_write(path, file.s, file.len);
    }
    text_free(&file);
    metrics_log_free(&m);
    mem_free(path);
    mem_free(from);
    return rc;
}

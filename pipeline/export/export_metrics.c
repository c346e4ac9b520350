/* Metrics as CSV. */
#include "pipeline/export/export.h"

#include "io/csv.h"
#include "io/rundir.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/metrics_log.h"

#include <math.h>
#include <string.h>

int export_csv(const char *run, const char *path)
{
    struct metrics_log m;
    struct text t = {0};
    char *from = rundir_path(run, "metrics.jsonl");
    int rc = metrics_log_read(&m, from);
    if (rc == 0 && m.rows == 0)
        rc = err_set(ERR_INPUT, "%s: has no iteration; is %s a run directory?", from,
                     run);
    if (rc == 0) {
        text_add(&t, "iteration,time");
        for (int64_t k = 0; k < m.names; k++) {
            text_add(&t, ",");
            csv_put(&t, m.name[k]);
        }
        text_add(&t, "\n");
    }
    for (int64_t i = 0; i < m.rows && rc == 0; i++) {
        text_add(&t, "%lld,", (long long)m.iteration[i]);
        csv_put(&t, m.time[i]);
        for (int64_t k = 0; k < m.names; k++)
            if (isfinite(metrics_log_at(&m, i, k)))
                text_add(&t, ",%.17g", metrics_log_at(&m, i, k));
            else
                text_add(&t, ",");
        text_add(&t, "\n");
    }
    if (rc == 0)
        rc = file_write(path, t.s, t.len);
    text_free(&t);
    metrics_log_free(&m);
    mem_free(from);
    return rc;
}

/* sluice verify: is what lies on disk whole, and does it belong together? */
#include "io/json.h"
#include "io/sys/err.h"
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"
#include "pipeline/verify.h"

#include <stdio.h>
#include <string.h>

static const char help[] =
    "usage: sluice verify RUNDIR|FILE|MODEL_FOLDER [--json]\n\n"
    "Reads every file, recomputes checksums and content digests, and, for a run\n"
    "directory, checks that each file's parents are the ones it was made from, that "
    "all\n"
    "belong to one run and configuration, that no shard is missing, and that the "
    "sources\n"
    "of index.h5 are there. Leftovers of killed writers are reported, not counted.\n"
    "Nothing is changed. Exit status 0: all is well; 3: at least one file is "
    "damaged.\n";

static void print_text(const struct verify_report *r)
{
    for (int64_t i = 0; i < r->findings; i++)
        printf("%s %s: %s\n", r->finding[i].damage ? "DAMAGED" : "note",
               r->finding[i].path, r->finding[i].what);
    printf("%lld file%s, %lld damaged\n", (long long)r->files, r->files == 1 ? "" : "s",
           (long long)r->damaged);
}

static void print_json(const char *path, const struct verify_report *r)
{
    struct json_out *o = json_out_create();
    json_out_text(o, "path", path);
    json_out_i64(o, "files", r->files);
    json_out_i64(o, "damaged", r->damaged);
    for (int damage = 1; damage >= 0; damage--) {
        json_out_list(o, damage ? "damage" : "notes");
        for (int64_t i = 0; i < r->findings; i++) {
            if (r->finding[i].damage != (damage == 1))
                continue;
            json_out_map(o, NULL);
            json_out_text(o, "path", r->finding[i].path);
            json_out_text(o, "what", r->finding[i].what);
            json_out_end(o);
        }
        json_out_end(o);
    }
    json_out_print(o);
}

int cmd_verify(int argc, char **argv)
{
    int rc;
    const char *path = arguments_path("verify", help, argc, argv, &rc);
    const bool json = arguments_json(argc, argv);
    if (path == NULL)
        return rc;
    struct verify_report report = {0};
    if (verify_path(path, &report) != 0)
        rc = cmd_fail("verify");
    else if (json)
        print_json(path, &report);
    else
        print_text(&report);
    if (rc == 0 && report.damaged > 0)
        rc = ERR_INPUT;
    verify_free(&report);
    return rc;
}

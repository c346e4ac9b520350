/* make_model CONFIG_JSON SCHEDULER_JSON FOLDER [SEED]: a model folder with fresh weights,
 * so that tests need no data from outside the repository. */
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "stages/model/model.h"

#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    char *scheduler = NULL;
    int64_t len;
    if (argc < 4) {
        fputs("usage: make_model CONFIG_JSON SCHEDULER_JSON FOLDER [SEED]\n", stderr);
        return ERR_USAGE;
    }
    struct model *m = model_new(argv[1], argc > 4 ? strtoull(argv[4], NULL, 10) : 1);
    if (m == NULL || file_read(argv[2], 1 << 20, &scheduler, &len) != 0 ||
        model_export(m, NULL, scheduler, argv[3]) != 0)
        fprintf(stderr, "make_model: %s\n", err_text());
    model_destroy(m);
    mem_free(scheduler);
    return (int)err_code();
}

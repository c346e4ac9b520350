/* What ran, from what, and where. */
#include "pipeline/run/provenance.h"

#include "io/shard.h"
#include "io/sys/log.h"
#include "pipeline/run/record_scores.h"
#include "pipeline/version.h"

#include <mpi.h>
#include <stdlib.h>
#include <unistd.h>

static void put_environment(struct json_out *o)
{
    static const char *const names[] = {
        "SLURM_JOB_ID",       "SLURM_ARRAY_JOB_ID", "SLURM_ARRAY_TASK_ID",
        "SLURM_RESTART_COUNT", "SLURM_JOB_END_TIME", "SLURM_NTASKS",
        "SLURM_CPUS_PER_TASK", "SLURM_JOB_NODELIST", "OMP_NUM_THREADS",
        "OMP_WAIT_POLICY",    "OMPI_MCA_pml"};
    json_out_map(o, "environment");
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (getenv(names[i]) != NULL)
            json_out_text(o, names[i], getenv(names[i]));
    json_out_end(o);
}

static void put_libraries(struct json_out *o, const struct backend *backend)
{
    char mpi[MPI_MAX_LIBRARY_VERSION_STRING] = "", buf[128];
    int n = 0;
    MPI_Get_library_version(mpi, &n);
    json_out_map(o, "libraries");
    json_out_text(o, "mpi", mpi);
    shard_library(buf, sizeof buf);
    json_out_text(o, "hdf5", buf);
    backend_describe(backend, buf, sizeof buf);
    json_out_text(o, "kernels", buf);
    json_out_end(o);
}

struct json_out *provenance_of(const struct task *t, const struct config *c, int argc,
                               char **argv, const struct record_where *where)
{
    char now[32], cwd[4096] = "";
    struct json_out *o = json_out_create();
    json_out_text(o, "run_id", t->run_id);
    json_out_text(o, "config_digest", t->config_digest);
    json_out_text(o, "software", "sluice");
    json_out_text(o, "version", version_number());
    json_out_text(o, "commit", version_commit());
    json_out_text(o, "build", version_build());
    json_out_text(o, "started", log_now(now));
    if (getcwd(cwd, sizeof cwd) != NULL)
        json_out_text(o, "directory", cwd);
    json_out_list(o, "command");
    for (int i = 0; i < argc; i++)
        json_out_text(o, NULL, argv[i]);
    json_out_end(o);
    char weights[DIGEST_HEX];
    model_digest(t->model, param_values(model_params(t->model)), weights);
    json_out_text(o, "model_path", config_text(c, "model.path"));
    json_out_text(o, "weights_sha256_at_start", weights);
    json_out_i64(o, "seed", (int64_t)t->seed);
    record_scorers(t, o);
    json_out_i64(o, "ranks", where->ranks);
    json_out_text(o, "hosts", where->hosts);
    json_out_text(o, "placement", where->placement);
    put_libraries(o, t->backend);
    put_environment(o);
    return o;
}

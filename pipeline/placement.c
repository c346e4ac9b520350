/* Core binding through sched_setaffinity: launchers differ too much to rely on theirs. */
#include "pipeline/placement.h"

#include "io/sys/log.h"

#include <mpi.h>
#include <sched.h>
#include <string.h>

/* All cores this process may use at all (the cgroup's), whatever the launcher bound. */
static void widest(cpu_set_t *set)
{
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    sched_getaffinity(0, sizeof *set, set);
}

static void describe(const char *how)
{
    cpu_set_t set;
    sched_getaffinity(0, sizeof set, &set);
    int first = -1, last = -1;
    for (int i = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &set)) {
            first = first < 0 ? i : first;
            last = i;
        }
    log_info("cores: %d of this node (%d..%d), %s", CPU_COUNT(&set), first, last, how);
}

void placement_apply(const struct config *c, const struct layout *l, int rank)
{
    int threads = (int)config_int(c, "groups.threads"), local = 0, locals = 1;
    bool split = config_is(c, "groups.placement", "split");
    cpu_set_t mine, all, want;
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    MPI_Comm_rank(node, &local);
    MPI_Comm_size(node, &locals);
    MPI_Comm_free(&node);
    sched_getaffinity(0, sizeof mine, &mine);
    if (!split || l->world == 1) {
        if (CPU_COUNT(&mine) < threads)
            widest(&mine);
        describe("shared");
        return;
    }
    widest(&all);
    if (locals * threads > CPU_COUNT(&all)) {
        if (local == 0)
            log_warn("groups.placement=split: %d ranks x %d threads on a node with %d "
                     "cores; cores are shared after all",
                     locals, threads, CPU_COUNT(&all));
        describe("split did not fit");
        return;
    }
    CPU_ZERO(&want);
    for (int i = 0, k = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, &all)) {
            if (k >= local * threads && k < (local + 1) * threads)
                CPU_SET(i, &want);
            k++;
        }
    sched_setaffinity(0, sizeof want, &want);
    describe("split");
}

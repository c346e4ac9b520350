/* Core binding through sched_setaffinity: launchers differ too much to rely on theirs. */
#include "pipeline/placement.h"

#include "io/sys/log.h"
#include "io/sys/mem.h"

#include <mpi.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* All cores this process may use at all (the cgroup's), whatever the launcher bound. */
static void widest(cpu_set_t *set)
{
    cpu_set_t all;
    memset(&all, 0xff, sizeof all);
    sched_setaffinity(0, sizeof all, &all);
    sched_getaffinity(0, sizeof *set, set);
}

/* The same without changing anything. */
static void widest_now(cpu_set_t *set)
{
    cpu_set_t mine;
    sched_getaffinity(0, sizeof mine, &mine);
    widest(set);
    sched_setaffinity(0, sizeof mine, &mine);
}

/* "0-3,8" */
static void list_cpus(const cpu_set_t *set, char *buf, size_t size)
{
    size_t n = 0;
    buf[0] = '\0';
    for (int i = 0; i < CPU_SETSIZE && n + 24 < size; i++) {
        int last = i;
        if (!CPU_ISSET(i, set))
            continue;
        while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
            last++;
        n += (size_t)snprintf(buf + n, size - n, last > i ? "%s%d-%d" : "%s%d",
                              n > 0 ? "," : "", i, last);
        i = last;
    }
}

static int number_in(const char *name)
{
    const char *v = getenv(name);
    return v == NULL ? 0 : atoi(v); /* "4(x2)" gives 4 */
}

void placement_quiet_threads(const struct config *c, char **argv)
{
    cpu_set_t all;
    int ranks = number_in("OMPI_COMM_WORLD_LOCAL_SIZE");
    if (ranks == 0)
        ranks = number_in("MPI_LOCALNRANKS");
    if (ranks == 0)
        ranks = number_in("SLURM_TASKS_PER_NODE");
    if (getenv("OMP_WAIT_POLICY") != NULL || getenv("GOMP_SPINCOUNT") != NULL ||
        ranks < 2 || config_is(c, "groups.threads", "auto"))
        return;
    int64_t threads = config_int(c, "groups.threads");
    widest_now(&all);
    if (threads < 2 || ranks * threads <= CPU_COUNT(&all) ||
        setenv("OMP_WAIT_POLICY", "passive", 1) != 0)
        return;
    execv("/proc/self/exe", argv);
    unsetenv("OMP_WAIT_POLICY"); /* it goes on without */
}

static MPI_Comm node_comm(int rank)
{
    MPI_Comm node;
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    return node;
}

/* My share of the cores: those of all ranks whose masks meet mine, over their number.
 * *bound: cores that the launcher gave to any rank of the node. */
static int share(MPI_Comm node, int *bound)
{
    int size, ranks = 0;
    cpu_set_t mine, sum, both, any;
    MPI_Comm_size(node, &size);
    cpu_set_t *all = mem_alloc(size, sizeof *all);
    sched_getaffinity(0, sizeof mine, &mine);
    MPI_Allgather(&mine, sizeof mine, MPI_BYTE, all, sizeof mine, MPI_BYTE, node);
    CPU_ZERO(&sum);
    CPU_ZERO(&any);
    for (int r = 0; r < size; r++) {
        CPU_OR(&any, &any, &all[r]);
        CPU_AND(&both, &mine, &all[r]);
        if (CPU_COUNT(&both) == 0)
            continue;
        CPU_OR(&sum, &sum, &all[r]);
        ranks++;
    }
    mem_free(all);
    *bound = CPU_COUNT(&any);
    int n = CPU_COUNT(&sum) / (ranks > 0 ? ranks : 1);
    return n > 0 ? n : 1;
}

int placement_threads(struct config *c, int rank)
{
    char text[64];
    if (!config_is(c, "groups.threads", "auto"))
        return 0;
    cpu_set_t all;
    int bound;
    MPI_Comm node = node_comm(rank);
    int n = share(node, &bound);
    MPI_Comm_free(&node);
    widest_now(&all);
    if (rank == 0 && bound < CPU_COUNT(&all))
        log_warn("groups.threads=auto: the launcher bound the ranks of this node to %d of "
                 "%d cores; mpirun --bind-to none (srun --cpu-bind=none) lets them use all",
                 bound, CPU_COUNT(&all));
    MPI_Allreduce(MPI_IN_PLACE, &n, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    snprintf(text, sizeof text, "groups.threads=%d", n > 256 ? 256 : n);
    return config_override(c, text);
}

/* Cores of this rank's own, where the node has enough for all. */
static void bind_split(const cpu_set_t *all, int local, int threads)
{
    cpu_set_t want;
    CPU_ZERO(&want);
    for (int i = 0, k = 0; i < CPU_SETSIZE; i++)
        if (CPU_ISSET(i, all)) {
            if (k >= local * threads && k < (local + 1) * threads)
                CPU_SET(i, &want);
            k++;
        }
    sched_setaffinity(0, sizeof want, &want);
}

void placement_apply(const struct config *c, bool split, int rank, struct place *place)
{
    int threads = (int)config_int(c, "groups.threads"), local = 0, locals = 1;
    int first = rank;
    cpu_set_t mine, all;
    MPI_Comm node = node_comm(rank);
    MPI_Comm_rank(node, &local);
    MPI_Comm_size(node, &locals);
    MPI_Bcast(&first, 1, MPI_INT, 0, node);
    MPI_Comm_free(&node);
    sched_getaffinity(0, sizeof mine, &mine);
    widest_now(&all);
    if (split && locals > 1 && locals * threads <= CPU_COUNT(&all))
        bind_split(&all, local, threads);
    else if (split || CPU_COUNT(&mine) < threads)
        sched_setaffinity(0, sizeof all, &all);
    sched_getaffinity(0, sizeof mine, &mine);
    *place = (struct place){.node_first = first,
                            .node_ranks = locals,
                            .node_cpus = CPU_COUNT(&all),
                            .threads = threads,
                            .cpu_count = CPU_COUNT(&mine)};
    list_cpus(&mine, place->cpus, sizeof place->cpus);
    log_info("cpus %s of a node with %d, %d threads", place->cpus, place->node_cpus,
             threads);
}

void placement_describe(const struct place *p, int world, struct text *out)
{
    for (int r = 0, last; r < world; r = last + 1) {
        for (last = r; last + 1 < world && p[last + 1].node_first == p[r].node_first &&
                       strcmp(p[last + 1].cpus, p[r].cpus) == 0;)
            last++;
        text_add(out, "%sranks %d-%d: cpus %s of %d, %d thread%s each", r > 0 ? "; " : "",
                 r, last, p[r].cpus, p[r].node_cpus, p[r].threads,
                 p[r].threads > 1 ? "s" : "");
    }
}

/* The most ranks of one group on the node whose lowest rank is `first`. */
static int busy_together(const struct place *p, const struct layout *l, int first)
{
    int most = 0;
    for (int g = 0; g < GROUPS; g++) {
        int n = 0;
        for (int r = l->start[g]; r < l->start[g] + l->size[g]; r++)
            n += p[r].node_first == first;
        most = n > most ? n : most;
    }
    return most;
}

void placement_advice(const struct place *p, const struct layout *l, struct text *out)
{
    for (int r = 0; r < l->world && out->len == 0; r++) {
        int fit = p[r].node_cpus / p[r].threads, n = busy_together(p, l, p[r].node_first);
        if (p[r].cpu_count < p[r].threads)
            text_add(out,
                     "rank %d may run on cpus %s only, but groups.threads=%d: start with "
                     "mpirun --bind-to none or --map-by slot:PE=%d, srun "
                     "--cpus-per-task=%d, or set groups.threads=%d",
                     r, p[r].cpus, p[r].threads, p[r].threads, p[r].threads,
                     p[r].cpu_count);
        else if (n * p[r].threads > p[r].node_cpus)
            text_add(out,
                     "%d ranks of one group x groups.threads=%d on a node with %d cores "
                     "(ranks from %d on): they slow each other; start at most %d such "
                     "ranks per node, or set groups.threads=%d",
                     n, p[r].threads, p[r].node_cpus, p[r].node_first, fit > 0 ? fit : 1,
                     p[r].node_cpus / n > 0 ? p[r].node_cpus / n : 1);
    }
}

int placement_at_once(const struct place *p, const struct layout *l, bool split)
{
    int sum = 0;
    for (int r = 0; r < l->world; r++) {
        int fit = p[r].node_cpus / p[r].threads, group = busy_together(p, l, r);
        int most = fit > group ? fit : group;
        if (p[r].node_first == r) /* once per node */
            sum += split || p[r].node_ranks < most ? p[r].node_ranks : most;
    }
    return sum;
}

int placement_cores(const struct place *p, int world)
{
    int sum = 0;
    for (int r = 0; r < world; r++)
        sum += p[r].node_first == r ? p[r].node_cpus : 0; /* once per node */
    return sum;
}

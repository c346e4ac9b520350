/* The session. Between two collectives every rank votes (comm_agree), so all ranks leave
 * together, with the code and the text of the first that failed. */
#include "pipeline/run/session.h"

#include "io/index.h"
#include "io/rundir.h"
#include "io/spawn.h"
#include "io/sys/clock.h"
#include "io/sys/err.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "pipeline/compute.h"
#include "pipeline/openmpi.h"
#include "pipeline/placement.h"
#include "pipeline/run/prepare.h"
#include "pipeline/report/report.h"
#include "pipeline/settings.h"
#include "pipeline/spawner.h"
#include "pipeline/run/start_limit.h"
#include "pipeline/version.h"
#include "pipeline/run/worker.h"
#include "stages/linalg/petsc.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

enum { HOST = 64 };

struct session {
    const struct session_options *o;
    struct comm world, group[GROUPS];
    struct layout layout;
    int coordinator_rank;
    struct task task;
    struct prepared prepared;
    struct mailbox *mailbox;
    struct handover *handover;
    struct coordinator *coordinator;
    char *hosts; /* [world, HOST] */
    struct place *place; /* [world] */
    double zero_s;       /* this rank's clock when all began */
};

static int group_idle(void *ctx)
{
    struct task *t = ctx;
    return t->idle == NULL ? 0 : t->idle(t->idle_ctx);
}

static int make_layout(struct session *s)
{
    if (!s->o->single)
        return settings_layout(&s->layout, s->o->config, s->world.size);
    layout_single(&s->layout, s->o->group, s->world.size);
    return 0;
}

/* The groups' communicators and everybody's host name. Collective. */
static int make_groups(struct session *s)
{
    char name[MPI_MAX_PROCESSOR_NAME] = "";
    int n = 0;
    s->coordinator_rank = layout_coordinator(&s->layout);
    for (int g = 0; g < GROUPS; g++) {
        bool in = layout_has(&s->layout, (enum group)g, s->world.rank);
        MPI_Comm made = MPI_COMM_NULL;
        MPI_Comm_split(MPI_COMM_WORLD, in ? 0 : MPI_UNDEFINED, s->world.rank, &made);
        s->group[g] = (struct comm){.mpi = made};
        if (!in)
            continue;
        MPI_Comm_set_errhandler(made, MPI_ERRORS_RETURN);
        MPI_Comm_rank(made, &s->group[g].rank);
        MPI_Comm_size(made, &s->group[g].size);
        s->group[g].idle = group_idle;
        s->group[g].idle_ctx = &s->task;
    }
    s->hosts = mem_alloc((int64_t)s->world.size * HOST, 1);
    MPI_Get_processor_name(name, &n);
    name[HOST - 1] = '\0';
    s->place = mem_alloc(s->world.size, sizeof *s->place);
    int64_t *one = mem_alloc(s->world.size, sizeof *one);
    for (int r = 0; r < s->world.size; r++)
        one[r] = 1;
    memcpy(s->hosts + (size_t)s->world.rank * HOST, name, HOST);
    int rc = comm_gather_all(&s->world, s->hosts + (size_t)s->world.rank * HOST, one, HOST,
                             s->hosts);
    mem_free(one);
    return rc;
}

static void open_log(struct session *s)
{
    static const enum log_level levels[] = {LOG_QUIET, LOG_WARN, LOG_INFO, LOG_DEBUG};
    struct text tag = {0};
    log_set_level(levels[config_choice(s->o->config, "run.log_level")]);
    layout_tag(&s->layout, s->world.rank, &tag);
    text_add(&tag, " %.30s", s->hosts + (size_t)s->world.rank * HOST);
    log_set_tag(tag.s);
    text_free(&tag);
    bool leader = s->world.rank == s->coordinator_rank;
    for (int g = 0; g < GROUPS; g++)
        leader |= s->group[g].size > 0 && s->group[g].rank == 0;
    if (!leader)
        return;
    char path[4096];
    snprintf(path, sizeof path, "%s/log/rank%05d.log", s->task.dir, s->world.rank);
    if (log_open(path) != 0) {
        log_warn("%s", err_text());
        err_clear();
    }
}

static bool is_split(const struct session *s)
{
    return config_is(s->o->config, "groups.placement", "split") && s->world.size > 1;
}

/* Binds this rank and tells all where everybody runs. Collective. */
static int place_ranks(struct session *s)
{
    int64_t *one = mem_alloc(s->world.size, sizeof *one);
    for (int r = 0; r < s->world.size; r++)
        one[r] = 1;
    struct place *mine = &s->place[s->world.rank];
    placement_apply(s->o->config, is_split(s), s->world.rank, mine);
    int rc = comm_gather_all(&s->world, mine, one, sizeof *mine, s->place);
    mem_free(one);
    return rc;
}

/* "node1*64,node2*64": hosts in the order of the ranks, each with how many in a row. */
static void describe_hosts(const struct session *s, struct text *out)
{
    for (int r = 0, end; r < s->world.size; r = end) {
        const char *host = s->hosts + (size_t)r * HOST;
        for (end = r + 1; end < s->world.size; end++)
            if (strcmp(host, s->hosts + (size_t)end * HOST) != 0)
                break;
        text_add(out, "%s%s", r > 0 ? "," : "", host);
        if (end > r + 1)
            text_add(out, "*%d", end - r);
    }
}

static void print_places(const struct session *s)
{
    struct text places = {0}, advice = {0};
    placement_describe(s->place, s->world.size, &places);
    placement_advice(s->place, &s->layout, &advice);
    if (!config_bool(s->o->config, "run.quiet"))
        printf("placement        %.600s\n", places.s);
    log_info("placement: %s", places.s);
    if (advice.len > 0)
        log_warn("%s", advice.s);
    text_free(&places);
    text_free(&advice);
}

static void print_table(const struct session *s)
{
    char line[320];
    const struct config *c = s->o->config;
    const bool quiet = config_bool(c, "run.quiet");
    snprintf(line, sizeof line, "sluice %s (%s)  run %s  %s  policy %lld of %lld",
             version_number(), version_commit(), s->task.dir, s->prepared.run_id,
             (long long)s->prepared.version, (long long)settings_iterations(c));
    if (!quiet)
        printf("%s\n", line);
    log_info("%s", line);
    for (int g = 0; g < GROUPS; g++) {
        int first = s->layout.start[g], last = first + s->layout.size[g] - 1;
        if (s->layout.size[g] == 0)
            continue;
        const char *host = s->hosts + (size_t)first * HOST,
                   *last_host = s->hosts + (size_t)last * HOST;
        bool one_host = strncmp(host, last_host, HOST) == 0;
        snprintf(line, sizeof line,
                 "group %-9s  ranks %d-%d  hosts %.60s%s%.60s  threads/rank %lld  %s%s",
                 group_name((enum group)g), first, last, host, one_host ? "" : " .. ",
                 one_host ? "" : last_host,
                 (long long)config_int(c, "groups.threads"),
                 config_text(c, "groups.placement"),
                 s->layout.overlap ? ", roles share ranks" : "");
        if (!quiet)
            printf("%s\n", line);
        log_info("%s", line);
    }
    print_places(s);
    fflush(stdout);
}

/* On the coordinator's rank: ledger, records, coordinator. */
static int make_coordinator(struct session *s)
{
    const struct task *t = &s->task;
    struct ledger_options lo = {
        .iterations = settings_iterations(s->o->config),
        .shards = t->shards,
        .max_staleness = t->max_staleness,
        .version = s->prepared.version,
        .stored = s->prepared.replay,
    };
    struct text hosts = {0}, places = {0};
    placement_describe(s->place, s->world.size, &places);
    for (int g = 0; g < GROUPS; g++)
        lo.only[g] = s->layout.size[g] > 0;
    struct ledger *ledger = ledger_create(&lo);
    struct record *record = NULL;
    describe_hosts(s, &hosts);
    int rc = prepare_ledger(t, s->prepared.version,
                            lo.only[GROUP_REWARD] && lo.only[GROUP_ADVANTAGE] &&
                                !s->prepared.replay,
                            ledger);
    if (rc == 0)
        record = record_open(t, s->o->config, s->prepared.version);
    if (record == NULL ||
        record_provenance(record, s->o->argc, s->o->argv,
                          &(struct record_where){s->world.size, hosts.s, places.s}) != 0 ||
        record_event(record, s->prepared.resumed ? "resumed" : "started", hosts.s) != 0 ||
        record_status(record, "running", 0, "", s->prepared.version) != 0) {
        rc = -1;
        record_close(record);
        ledger_destroy(ledger);
    } else {
        struct coordinator_options co = {.task = t,
                                         .config = s->o->config,
                                         .layout = &s->layout,
                                         .mailbox = s->mailbox,
                                         .ledger = ledger,
                                         .record = record,
                                         .hosts = s->hosts,
                                         .on = {placement_at_once(s->place, &s->layout,
                                                                  is_split(s)),
                                                placement_cores(s->place, s->world.size)}};
        s->coordinator = coordinator_create(&co);
    }
    text_free(&hosts);
    text_free(&places);
    return rc;
}

/* One moment on everybody's clock: a node has one clock; of other nodes' ranks it is the
 * moment at which they hear of it. Collective. */
static int set_zero(struct session *s)
{
    double common = clock_s();
    if (comm_bcast(&s->world, &common, sizeof common, s->coordinator_rank) != 0)
        return -1;
    s->zero_s = clock_s();
    if (strncmp(s->hosts + (size_t)s->world.rank * HOST,
                s->hosts + (size_t)s->coordinator_rank * HOST, HOST) == 0)
        s->zero_s = common;
    if (s->coordinator != NULL)
        coordinator_begin(s->coordinator, s->zero_s);
    return 0;
}

/* Run directory, network, coordinator. Collective: votes after each local part. */
static int make_run(struct session *s)
{
    bool only[GROUPS];
    const bool here = s->world.rank == s->coordinator_rank;
    for (int g = 0; g < GROUPS; g++)
        only[g] = s->layout.size[g] > 0;
    int rc = settings_read(&s->task, s->o->config);
    if (rc == 0 && here)
        rc = prepare_run(&s->task, s->o->config, only, &s->prepared);
    if (comm_agree(&s->world, rc) != 0 ||
        comm_bcast(&s->world, &s->prepared, sizeof s->prepared, s->coordinator_rank) != 0)
        return -1;
    memcpy(s->task.run_id, s->prepared.run_id, sizeof s->task.run_id);
    s->task.replay = s->prepared.replay;
    s->task.scorers = s->layout.size[GROUP_REWARD];
    open_log(s);
    if (place_ranks(s) != 0)
        return -1;
    rc = settings_open_network(&s->task, s->o->config, s->prepared.version,
                               s->group[GROUP_UPDATE].size > 0);
    if (comm_agree(&s->world, rc) != 0)
        return -1;
    s->mailbox = mailbox_create(MPI_COMM_WORLD);
    s->handover = handover_create(&s->task, &s->layout, s->mailbox, s->world.rank,
                                  settings_iterations(s->o->config));
    if (comm_agree(&s->world, here ? make_coordinator(s) : 0) != 0 || set_zero(s) != 0)
        return -1;
    if (here)
        print_table(s);
    return 0;
}

static int work(struct session *s)
{
    char text[640] = "";
    struct worker_options wo = {
        .task = &s->task,
        .group = s->group,
        .mailbox = s->mailbox,
        .handover = s->handover,
        .coordinator = s->coordinator,
        .rank = s->world.rank,
        .coordinator_rank = s->coordinator_rank,
        .layout = &s->layout,
        .hosts = s->hosts,
        .stall_s = config_real(s->o->config, "run.stall_timeout"),
        .grace_s = config_real(s->o->config, "reward.grace"),
        .zero_s = s->zero_s,
    };
    int code = worker_run(&wo, text);
    if (s->coordinator == NULL)
        return code;
    if (code == ERR_STOPPED)
        printf("stopped early (%s); the same command continues this run\n", text);
    else if (code != 0)
        fprintf(stderr, "sluice: %s\n", text);
    fflush(stdout);
    return code;
}

/* Plots come from a child process, which must not be forked while MPI is up. */
static void write_report(const char *dir)
{
    if (report_write(dir, NULL) == 0) {
        printf("report: %s/report.html\n", dir);
    } else {
        log_warn("report: %s", err_text());
        err_clear();
    }
}

static int start_mpi(struct session *s)
{
    int provided = 0;
    worker_catch_signals();
    if (spawner_begin(s->o->config) != 0) {
        fprintf(stderr, "sluice: %s\n", err_text());
        return -1;
    }
    openmpi_lone_rank();
    start_limit_begin(s->o->config);
    if (MPI_Init_thread(NULL, NULL, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS) {
        fprintf(stderr, "sluice: MPI_Init failed; under Slurm start with srun --mpi=pmix or "
                        "mpirun\n");
        return -1;
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    s->world = (struct comm){.mpi = MPI_COMM_WORLD};
    MPI_Comm_rank(MPI_COMM_WORLD, &s->world.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &s->world.size);
    return 0;
}

/* What one rank decides about the run directory, for all. Collective. */
static int begin(struct session *s)
{
    struct {
        char dir[4096];
        int64_t iterations;
    } d = {.dir = ""};
    const struct session_options *o = s->o;
    if (o->begin == NULL)
        return 0;
    if (comm_agree(&s->world,
                   s->world.rank == 0 ? o->begin(o->ctx, d.dir, &d.iterations) : 0) != 0 ||
        comm_bcast(&s->world, &d, sizeof d, 0) != 0)
        return -1;
    char *dir = text_new("run.dir=%s", d.dir);
    char *number = text_new("run.iterations=%lld", (long long)d.iterations);
    int rc = config_override(o->config, dir);
    if (rc == 0)
        rc = config_override(o->config, number);
    mem_free(dir);
    mem_free(number);
    return rc;
}

int session_run(const struct session_options *o)
{
    struct session s = {.o = o};
    int code;
    if (start_mpi(&s) != 0)
        return ERR_ENV;
    const bool met = begin(&s) == 0 && placement_threads(o->config, s.world.rank) == 0 &&
                     compute_settle(o->config, &s.world) == 0;
    start_limit_end(); /* MPI_Init alone does not connect the ranks */
    if (!met || make_layout(&s) != 0 || make_groups(&s) != 0 || make_run(&s) != 0) {
        code = err_code() != ERR_NONE ? (int)err_code() : ERR_ENV;
        if (s.world.rank == 0)
            fprintf(stderr, "sluice: %s\n", err_text());
    } else {
        code = work(&s);
    }
    /* One rank speaks for the job: a launcher that sees a non-zero code kills the ranks
     * that are still there, and this one has a report to write. */
    if (s.mailbox != NULL && s.world.rank != s.coordinator_rank)
        code = 0;
    bool report = s.coordinator != NULL && !o->single && (code == 0 || code == ERR_STOPPED);
    if (report && index_write(s.task.dir) != 0) {
        log_warn("index.h5: %s", err_text()); /* derived: losing it loses nothing */
        err_clear();
    }
    coordinator_destroy(s.coordinator);
    mailbox_destroy(s.mailbox);
    handover_destroy(s.handover);
    settings_close(&s.task);
    spawn_end();
    for (int g = 0; g < GROUPS; g++)
        if (s.group[g].mpi != MPI_COMM_NULL && s.group[g].size > 0)
            MPI_Comm_free(&s.group[g].mpi);
    mem_free(s.hosts);
    mem_free(s.place);
    log_close();
    petsc_end();
    MPI_Finalize();
    if (report)
        write_report(config_text(o->config, "run.dir"));
    return code;
}

/* The subcommands. Each is one file pipeline/cmd_NAME.c with one line in main.c's table.
 * argv[0] is the subcommand's name, argv[-1] the program's. They return a process exit code (io/sys/err.h). Only
 * those marked mpi in main.c's table may touch MPI. */
#ifndef SLUICE_PIPELINE_CMD_H
#define SLUICE_PIPELINE_CMD_H

int cmd_run(int argc, char **argv);
int cmd_stage(int argc, char **argv);
int cmd_submit(int argc, char **argv);
int cmd_replay(int argc, char **argv);
int cmd_evaluate(int argc, char **argv);
int cmd_score(int argc, char **argv);
int cmd_reward_check(int argc, char **argv);
int cmd_front(int argc, char **argv);
int cmd_sweep(int argc, char **argv);
int cmd_pretrain(int argc, char **argv);
int cmd_classifier(int argc, char **argv);
int cmd_graft(int argc, char **argv);
int cmd_sample(int argc, char **argv);
int cmd_forward(int argc, char **argv);
int cmd_plan(int argc, char **argv);
int cmd_inspect(int argc, char **argv);
int cmd_verify(int argc, char **argv);
int cmd_watch(int argc, char **argv);
int cmd_stats(int argc, char **argv);
int cmd_merge(int argc, char **argv);
int cmd_prune(int argc, char **argv);
int cmd_report(int argc, char **argv);
int cmd_export(int argc, char **argv);
int cmd_config(int argc, char **argv);
int cmd_selftest(int argc, char **argv);

/* Prints "sluice NAME: TEXT" of the pending error to stderr and returns its code. */
int cmd_fail(const char *name);

#endif

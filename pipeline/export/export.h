/* A run in other programs' formats. Every file appears complete. */
#ifndef SLUICE_PIPELINE_EXPORT_H
#define SLUICE_PIPELINE_EXPORT_H

#include <stdint.h>

/* The final samples of an iteration (-1: the newest) as sample_files_write takes them:
 * FILE.png, .npy, .csv, .txt, .svg, .safetensors, or a folder, which for samples that
 * are no pictures gets samples.npy and, of texts, samples.txt; a folder also gets
 * rewards.csv, a line for each sample. ERR_INPUT, ERR_USAGE, ERR_IO. */
int export_samples(const char *run, int64_t iteration, const char *path);

/* metrics.jsonl as a table: a line of names, then one per iteration; empty where
 * unknown. ERR_INPUT: there is none. */
int export_csv(const char *run, const char *path);

/* The same for TensorBoard: one event file of scalars in `dir`, made where it is
 * missing. Framing after TensorFlow's record_writer.h, messages after event.proto and
 * summary.proto. */
int export_tensorboard(const char *run, const char *dir);

/* RUN/ro-crate-metadata.json after RO-Crate 1.1 and the profile Process Run Crate 0.5:
 * the run directory as a crate, each job as an action with its software, input and
 * results. ERR_INPUT: no provenance. */
int export_ro_crate(const char *run);

#endif

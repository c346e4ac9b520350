/* The data of pretraining and of classifiers and how they are coded, by the configuration
 * and the network. */
#ifndef SLUICE_PIPELINE_PRETRAIN_DATA_H
#define SLUICE_PIPELINE_PRETRAIN_DATA_H

#include "io/config.h"
#include "io/dataset.h"

/* The text of the config.json that pretrain.network names, and its coding; NULL with
 * ERR_INPUT. Free with mem_free. */
char *pretrain_data_network(const char *path, struct coding *coding);

/* Reads SECTION.data as the section's keys say ("pretrain", "classifier"), coded. coding:
 * the network's, by which the data are then coded too; of kind none, it receives what the
 * data and the keys give. 0, or -1 with ERR_USAGE or ERR_INPUT. */
int pretrain_data_read(const struct config *c, const char *section, struct dataset *d,
                       struct coding *coding);

#endif

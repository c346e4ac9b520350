/* Rewards for texts that are SMILES strings of molecules (smiles.h). */
#ifndef SLUICE_STAGES_REWARD_MOLECULE_H
#define SLUICE_STAGES_REWARD_MOLECULE_H

#include "stages/reward/reward.h"

/* molecule_valid: 1 where the text is a molecule, else 0, both with status ok.
 * molecule_property: a linear model's (property.h) value of the molecule, fitted on
 * reward.fit_rows rows of reward.table = FILE.csv:SMILES:VALUE; a text that is no
 * molecule is infeasible. */
extern const struct reward molecule_valid, molecule_property;

#endif

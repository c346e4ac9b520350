/* What a set of strings is worth as molecules. */
#ifndef SLUICE_STAGES_REWARD_MOLECULE_SET_H
#define SLUICE_STAGES_REWARD_MOLECULE_SET_H

#include <stdint.h>

/* Molecules by their keys (smiles.h), so that two strings of one are one. */
struct molecule_set;

struct molecule_set *molecule_set_create(void);
void molecule_set_destroy(struct molecule_set *s);
int64_t molecule_set_count(const struct molecule_set *s);
/* 1: it is new, 0: it was there, -1: it is no molecule. */
int molecule_set_add(struct molecule_set *s, const char *smiles);
/* 1: it is there, 0: it is not, -1: it is no molecule. */
int molecule_set_has(const struct molecule_set *s, const char *smiles);

/* Of n texts: molecules, different ones among them, and those of the different ones
 * that are not in `known` (NULL: all). */
struct molecule_counts {
    int64_t n, valid, unique, novel;
};
struct molecule_counts molecule_count(const char *const *text, int64_t n,
                                      const struct molecule_set *known);

#endif

/* Molecules from SMILES strings (Weininger 1988; grammar of OpenSMILES) of the kind
 * that tables of small neutral molecules use: atoms C, N, O and F without brackets,
 * bonds - = #, rings 1 to 9, branches, hydrogens by valence, rings in Kekule form.
 * Anything else is not valid: aromatic letters, brackets, charges, dots, stereo marks.
 */
#ifndef SLUICE_STAGES_REWARD_SMILES_H
#define SLUICE_STAGES_REWARD_SMILES_H

#include <stdbool.h>
#include <stdint.h>

enum {
    MOLECULE_ATOMS = 64,
    MOLECULE_DEGREE = 4,
    MOLECULE_KEY = 384,
    MOLECULE_FORMULA = 32
};

struct molecule { /* plain data; one connected graph */
    int atoms, bonds;
    char element[MOLECULE_ATOMS];      /* C N O F */
    uint8_t hydrogens[MOLECULE_ATOMS]; /* implicit */
    uint8_t degree[MOLECULE_ATOMS];    /* heavy neighbours */
    uint8_t to[MOLECULE_ATOMS][MOLECULE_DEGREE];
    uint8_t order[MOLECULE_ATOMS][MOLECULE_DEGREE]; /* 1 to 3 */
};

/* NULL and *m, or why s is no molecule (a constant text; *m is then undefined). */
const char *smiles_parse(const char *s, struct molecule *m);

/* Independent rings: bonds - atoms + 1. */
int molecule_rings(const struct molecule *m);
/* Heavy atoms other than carbon. */
int molecule_heteroatoms(const struct molecule *m);
/* In Hill's order, such as "C2H6O". */
void molecule_formula(const struct molecule *m, char out[MOLECULE_FORMULA]);
/* A text that is the same for all strings of one molecule and differs between
 * molecules: atoms in canonical order with the bonds to earlier ones. Six-membered
 * rings of alternating bonds count as one molecule with both Kekule forms; other
 * tautomers and resonance forms count as different, and stereo isomers are not told
 * apart. Exact unless more than 5000 orders of equivalent atoms would have to be
 * compared; then strings of one molecule may get two keys, but never two molecules one.
 */
void molecule_key(const struct molecule *m, char out[MOLECULE_KEY]);

#endif

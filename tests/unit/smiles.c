/* SMILES: strings that are molecules and strings that are not, properties known by heart,
 * keys that are the same for all strings of a molecule, and all of QM9. */
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "stages/reward/lookup.h"
#include "stages/reward/smiles.h"
#include "tests/tap.h"

static void known(const char *s, const char *formula, int rings, int hetero)
{
    struct molecule m;
    char f[MOLECULE_FORMULA];
    const char *why = smiles_parse(s, &m);
    if (why == NULL)
        molecule_formula(&m, f);
    tap_ok(why == NULL && strcmp(f, formula) == 0 && molecule_rings(&m) == rings &&
               molecule_heteroatoms(&m) == hetero,
           "%s is %s: %s", s, formula, why == NULL ? f : why);
}

static void broken(const char *s)
{
    struct molecule m;
    const char *why = smiles_parse(s, &m);
    tap_ok(why != NULL, "'%s': %s", s, why != NULL ? why : "(accepted)");
}

static void same(const char *a, const char *b, int want)
{
    struct molecule m, k;
    char x[MOLECULE_KEY], y[MOLECULE_KEY];
    if (smiles_parse(a, &m) != NULL || smiles_parse(b, &k) != NULL)
        ERR_BUG("%s %s", a, b);
    molecule_key(&m, x);
    molecule_key(&k, y);
    tap_ok((strcmp(x, y) == 0) == want, "%s and %s are %s", a, b,
           want ? "the same" : "different");
}

/* The same graph with its atoms in another order. */
static void shuffle(const struct molecule *m, uint64_t key, struct molecule *out)
{
    int64_t place[MOLECULE_ATOMS];
    rng_permutation(key, place, m->atoms);
    *out = *m;
    for (int a = 0; a < m->atoms; a++) {
        int64_t b = place[a];
        out->element[b] = m->element[a];
        out->hydrogens[b] = m->hydrogens[a];
        out->degree[b] = m->degree[a];
        for (int k = 0; k < m->degree[a]; k++) {
            out->to[b][k] = (uint8_t)place[m->to[a][k]];
            out->order[b][k] = m->order[a][k];
        }
    }
}

static void all_of_qm9(void)
{
    const char *file = tap_shared("data/molecules/qm9.csv");
    if (file == NULL) {
        tap_skip("qm9.csv", "the data sets are not here");
        return;
    }
    char *spec = text_new("%s:smiles:heavy_atoms:qed", file);
    struct lookup *l = lookup_open("reward.table", spec, 2);
    int64_t unparsed = 0, atoms = 0, moved = 0, longest = 0;
    if (l == NULL)
        ERR_BUG("%s", err_text());
    for (int64_t i = 0; i < lookup_rows(l); i++) {
        struct molecule m, other;
        char x[MOLECULE_KEY], y[MOLECULE_KEY];
        const char *why = smiles_parse(lookup_text(l, i), &m);
        if (why != NULL && unparsed++ < 5)
            printf("# %s: %s\n", lookup_text(l, i), why);
        if (why != NULL)
            continue;
        atoms += m.atoms == (int)lookup_values(l, i)[0];
        if (i % 40 != 0)
            continue;
        shuffle(&m, (uint64_t)i, &other);
        molecule_key(&m, x);
        molecule_key(&other, y);
        moved += strcmp(x, y) != 0;
        longest = (int64_t)strlen(x) > longest ? (int64_t)strlen(x) : longest;
    }
    tap_ok(lookup_rows(l) == 132040 && unparsed == 0, "%lld strings, %lld not parsed",
           (long long)lookup_rows(l), (long long)unparsed);
    tap_ok(atoms == lookup_rows(l), "all have the heavy atoms that RDKit counted");
    tap_ok(moved == 0, "the key does not depend on the order of atoms (longest %lld)",
           (long long)longest);
    lookup_close(l);
    mem_free(spec);
}

int main(void)
{
    static const char *const bad[] = {
        "",     "c1ccccc1", "C(",    "C)",      "C()",     "(C)C",    "C(C",    "C1CC",
        "C=",   "=C",       "C==C",  "C=#C",    "CC(C)(C)(C)C", "FC(F)F(C)", "O=O=O",
        "C#N#C", "N(C)(C)(C)C", "C1C1", "C11",  "C=1CC#1", "C(=)C",   "C((C))", "1CC1",
        "C(1CC1)", "C%10CC%10", "[CH4]", "C.C", "CX",      "C(C)1CC1", "C=(C)C", "F=C",
        "C#C=C", "C0CC0",   " C",    "C C",
    };
    known("C", "CH4", 0, 0);
    known("O", "H2O", 0, 1);
    known("CCO", "C2H6O", 0, 1);
    known("C1=CC=CC=C1", "C6H6", 1, 0);
    known("O=C(N)C(F)(F)F", "C2H2F3NO", 0, 5);
    known("C12C3C4C1C5C4C3C25", "C8H8", 5, 0);
    known("C=1CC=1", "C3H4", 1, 0);
    known("C1CC=1", "C3H4", 1, 0);
    known("C-C#N", "C2H3N", 0, 1);
    known("N1C=CC=C1", "C4H5N", 1, 1);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        broken(bad[i]);
    same("CCO", "OCC", 1);
    same("CCO", "COC", 0);
    same("CC1=CC=CC=C1O", "CC1=C(O)C=CC=C1", 1);
    same("C1=CC=CC=C1", "C1CCCCC1", 0);
    same("C1CCCCC1", "C1CCCC1C", 0);
    same("N1C=CC2=C1C=CC=C2", "C1=CC2=CC=CC=C2N1", 1);
    same("CC(C)(C)C(C)(C)C", "C(C)(C)(C)C(C)(C)C", 1);
    /* Every atom has the same neighbours, but there are two triangles or one hexagon. */
    same("C1CCC1CC1CCC1", "C1CC1CCC1CCC1", 0);
    same("C12C3C4C1C5C4C3C25", "C12C3C4C5C1C2C3C45", 0);
    all_of_qm9();
    tap_ok(mem_live() == 0, "all memory is freed");
    return tap_done();
}

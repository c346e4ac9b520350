/* Canonical order of atoms: ranks are refined by the neighbours' ranks until they no
 * longer split (Morgan 1965), then atoms that are still equal are told apart one by
 * one, and of all orders that this gives the one with the smallest text wins. Of atoms
 * with the very same neighbours one is enough: exchanging them changes nothing. */
#include "stages/reward/smiles.h"

#include <string.h>

enum { AROMATIC = 4, RING = 6, MOST_ORDERS = 5000 };

struct search {
    const struct molecule *m;
    uint8_t bond[MOLECULE_ATOMS][MOLECULE_ATOMS]; /* 0 none, 1 to 3, AROMATIC */
    char best[MOLECULE_KEY];
    int orders;
};

struct ranks { /* of atoms: how many have a smaller one */
    uint8_t of[MOLECULE_ATOMS];
};

static int bond_of(const struct molecule *m, int a, int b)
{
    for (int k = 0; k < m->degree[a]; k++)
        if (m->to[a][k] == b)
            return m->order[a][k];
    return 0;
}

/* Goes on from path[n - 1] by bonds that are double and single in turn; marks each ring
 * of six that it closes. */
static void find_rings(struct search *s, int path[RING], int n)
{
    const struct molecule *m = s->m;
    const int a = path[n - 1], want = n % 2 == 1 ? 2 : 1;
    if (n == RING) {
        if (bond_of(m, a, path[0]) != 1)
            return;
        for (int k = 0; k < RING; k++) {
            int x = path[k], y = path[(k + 1) % RING];
            s->bond[x][y] = s->bond[y][x] = AROMATIC;
        }
        return;
    }
    for (int k = 0; k < m->degree[a]; k++) {
        bool seen = false;
        for (int i = 0; i < n; i++)
            seen = seen || path[i] == m->to[a][k];
        if (seen || m->order[a][k] != want)
            continue;
        path[n] = m->to[a][k];
        find_rings(s, path, n + 1);
    }
}

/* Ranks from what is compared; the number of different ones. */
static int rank(int n, const uint64_t *what, struct ranks *r)
{
    int different = 0;
    for (int a = 0; a < n; a++) {
        int smaller = 0;
        bool first = true;
        for (int b = 0; b < n; b++) {
            smaller += what[b] < what[a];
            first = first && !(b < a && what[b] == what[a]);
        }
        r->of[a] = (uint8_t)smaller;
        different += first;
    }
    return different;
}

/* Own rank, then bond and rank of each neighbour, largest first, nine bits each. */
static uint64_t signature(const struct search *s, const struct ranks *r, int a)
{
    const struct molecule *m = s->m;
    unsigned near[MOLECULE_DEGREE] = {0};
    for (int k = 0; k < m->degree[a]; k++) {
        unsigned v = (unsigned)s->bond[a][m->to[a][k]] << 6 | r->of[m->to[a][k]];
        int i = k;
        for (; i > 0 && near[i - 1] < v; i--)
            near[i] = near[i - 1];
        near[i] = v;
    }
    uint64_t all = r->of[a];
    for (int k = 0; k < MOLECULE_DEGREE; k++)
        all = all << 9 | near[k];
    return all;
}

static int refine(const struct search *s, struct ranks *r)
{
    uint64_t what[MOLECULE_ATOMS];
    int before = 0;
    for (;;) {
        for (int a = 0; a < s->m->atoms; a++)
            what[a] = signature(s, r, a);
        int now = rank(s->m->atoms, what, r);
        if (now == before)
            return now;
        before = now;
    }
}

/* All atoms have ranks of their own: the text in that order. */
static void compare(struct search *s, const struct ranks *r)
{
    const int n = s->m->atoms;
    int at[MOLECULE_ATOMS], len = 0;
    char text[MOLECULE_KEY];
    for (int a = 0; a < n; a++)
        at[r->of[a]] = a;
    for (int i = 0; i < n; i++) {
        text[len++] = s->m->element[at[i]];
        for (int j = 0; j < i; j++)
            if (s->bond[at[i]][at[j]] != 0) {
                text[len++] = "?-=#:"[s->bond[at[i]][at[j]]];
                text[len++] = (char)('0' + j);
            }
    }
    text[len] = '\0';
    if (s->orders++ == 0 || strcmp(text, s->best) < 0)
        memcpy(s->best, text, (size_t)len + 1);
}

static bool twins(const struct search *s, int a, int b)
{
    for (int c = 0; c < s->m->atoms; c++)
        if (c != a && c != b && s->bond[a][c] != s->bond[b][c])
            return false;
    return true;
}

static void explore(struct search *s, const struct ranks *r)
{
    const int n = s->m->atoms;
    int tried[MOLECULE_ATOMS], tries = 0, cell = n;
    for (int a = 0; a < n; a++)
        for (int b = 0; b < a; b++)
            if (r->of[a] == r->of[b] && r->of[a] < cell)
                cell = r->of[a];
    if (cell == n) {
        compare(s, r);
        return;
    }
    for (int a = 0; a < n && s->orders < MOST_ORDERS; a++) {
        bool known = r->of[a] != cell;
        for (int k = 0; k < tries && !known; k++)
            known = twins(s, a, tried[k]);
        if (known)
            continue;
        tried[tries++] = a;
        struct ranks next = *r;
        for (int b = 0; b < n; b++)
            next.of[b] += (uint8_t)(b != a && r->of[b] == cell);
        refine(s, &next);
        explore(s, &next);
    }
}

void molecule_key(const struct molecule *m, char out[MOLECULE_KEY])
{
    struct search s = {.m = m};
    struct ranks r = {{0}};
    uint64_t what[MOLECULE_ATOMS];
    for (int a = 0; a < m->atoms; a++) {
        for (int k = 0; k < m->degree[a]; k++)
            s.bond[a][m->to[a][k]] = m->order[a][k];
        what[a] = (uint64_t)m->element[a] << 8 | m->hydrogens[a];
    }
    for (int a = 0; a < m->atoms; a++) {
        int path[RING] = {a};
        find_rings(&s, path, 1);
    }
    rank(m->atoms, what, &r);
    refine(&s, &r);
    explore(&s, &r);
    memcpy(out, s.best, MOLECULE_KEY);
}

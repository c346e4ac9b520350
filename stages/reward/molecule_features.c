/* Each path is walked from both ends and counted from one: the end with the smaller
 * number. */
#include "stages/reward/molecule_features.h"

#include "io/sys/rng.h"

#include <string.h>

enum { LONGEST = 3 };

struct walk {
    const struct molecule *m;
    bool ring[MOLECULE_ATOMS];
    int atom[LONGEST + 1], order[LONGEST],
        n; /* atoms of the path, and bonds between them */
    double *bucket;
};

/* Is b reached from a without their bond? */
static bool in_ring(const struct molecule *m, int a, int b)
{
    int queue[MOLECULE_ATOMS], head = 0, tail = 0;
    bool seen[MOLECULE_ATOMS] = {false};
    seen[a] = true;
    queue[tail++] = a;
    while (head < tail) {
        int x = queue[head++];
        for (int k = 0; k < m->degree[x]; k++) {
            int y = m->to[x][k];
            if (seen[y] || (x == a && y == b))
                continue;
            if (y == b)
                return true;
            seen[y] = true;
            queue[tail++] = y;
        }
    }
    return false;
}

static uint64_t name_atom(const struct walk *w, int a)
{
    uint64_t name = (uint64_t)w->m->element[a];
    if (w->n <= 2)
        name |= (uint64_t)w->m->hydrogens[a] << 8 | (uint64_t)w->m->degree[a] << 12 |
                (uint64_t)w->ring[a] << 16;
    else if (w->n == 3)
        name |= (uint64_t)w->ring[a] << 16;
    return name;
}

static uint64_t name_path(const struct walk *w, bool backwards)
{
    uint64_t name = (uint64_t)w->n;
    for (int i = 0; i < w->n; i++) {
        int at = backwards ? w->n - 1 - i : i;
        name = rng_mix64(name + name_atom(w, w->atom[at]));
        if (i + 1 < w->n)
            name = rng_mix64(name + (uint64_t)w->order[backwards ? at - 1 : at]);
    }
    return name;
}

static void extend(struct walk *w)
{
    const struct molecule *m = w->m;
    const int last = w->atom[w->n - 1];
    if (w->n == 1 || w->atom[0] < last) {
        uint64_t a = name_path(w, false), b = name_path(w, true);
        w->bucket[(a < b ? a : b) % FEATURE_BUCKETS]++;
    }
    if (w->n > LONGEST)
        return;
    for (int k = 0; k < m->degree[last]; k++) {
        bool seen = false;
        for (int i = 0; i < w->n; i++)
            seen = seen || w->atom[i] == m->to[last][k];
        if (seen)
            continue;
        w->order[w->n - 1] = m->order[last][k];
        w->atom[w->n++] = m->to[last][k];
        extend(w);
        w->n--;
    }
}

static void count(const struct molecule *m, double *out)
{
    double hydrogens = 0, of[128] = {0}, bonds[4] = {0}, donors[2] = {0};
    for (int a = 0; a < m->atoms; a++) {
        of[(int)m->element[a]]++;
        hydrogens += m->hydrogens[a];
        donors[0] += m->element[a] == 'N' && m->hydrogens[a] > 0;
        donors[1] += m->element[a] == 'O' && m->hydrogens[a] > 0;
        for (int k = 0; k < m->degree[a]; k++)
            bonds[m->order[a][k]] += 0.5;
    }
    const double all[FEATURE_COUNTS] = {1,
                                        m->atoms,
                                        of['C'],
                                        of['N'],
                                        of['O'],
                                        of['F'],
                                        hydrogens,
                                        molecule_rings(m),
                                        bonds[2],
                                        bonds[3],
                                        donors[0],
                                        donors[1],
                                        (double)m->atoms * m->atoms};
    memcpy(out, all, sizeof all);
}

void molecule_features(const struct molecule *m, double out[FEATURES])
{
    struct walk w = {.m = m, .bucket = out + FEATURE_COUNTS};
    memset(out, 0, FEATURES * sizeof *out);
    count(m, out);
    for (int a = 0; a < m->atoms; a++)
        for (int k = 0; k < m->degree[a]; k++)
            w.ring[a] = w.ring[a] || in_ring(m, a, m->to[a][k]);
    for (int a = 0; a < m->atoms; a++) {
        w.atom[0] = a;
        w.n = 1;
        extend(&w);
    }
}

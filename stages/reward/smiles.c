/* The parser walks the string once with a stack of branch points; valences are checked
 * at the end, when all ring bonds are known. */
#include "stages/reward/smiles.h"

#include <stdio.h>
#include <string.h>

enum { RINGS = 10 };

struct parser {
    struct molecule *m;
    int last; /* atom that the next one binds to, -1: none */
    int bond; /* order said before the next atom or ring digit, 0: none */
    int stack[MOLECULE_ATOMS], depth;
    int ring_atom[RINGS], ring_bond[RINGS]; /* atom -1: not open */
    bool fresh; /* the last thing was an atom with its ring digits */
    bool empty; /* right after a parenthesis opened */
};

static int valence(char element)
{
    switch (element) {
    case 'C':
        return 4;
    case 'N':
        return 3;
    case 'O':
        return 2;
    case 'F':
        return 1;
    }
    return 0;
}

static const char *connect(struct molecule *m, int a, int b, int order)
{
    if (a == b)
        return "a ring bond from an atom to itself";
    for (int k = 0; k < m->degree[a]; k++)
        if (m->to[a][k] == b)
            return "two bonds between the same atoms";
    if (m->degree[a] == MOLECULE_DEGREE || m->degree[b] == MOLECULE_DEGREE)
        return "too many bonds at an atom";
    m->to[a][m->degree[a]] = (uint8_t)b;
    m->order[a][m->degree[a]++] = (uint8_t)order;
    m->to[b][m->degree[b]] = (uint8_t)a;
    m->order[b][m->degree[b]++] = (uint8_t)order;
    m->bonds++;
    return NULL;
}

static const char *add_atom(struct parser *p, char element)
{
    struct molecule *m = p->m;
    if (m->atoms == MOLECULE_ATOMS)
        return "more than 64 atoms";
    int a = m->atoms++;
    m->element[a] = element;
    const char *why =
        p->last < 0 ? NULL : connect(m, p->last, a, p->bond == 0 ? 1 : p->bond);
    p->last = a;
    p->bond = 0;
    p->fresh = true;
    p->empty = false;
    return why;
}

static const char *add_ring(struct parser *p, int digit)
{
    if (!p->fresh)
        return "a ring digit that follows no atom";
    int other = p->ring_atom[digit], said = p->ring_bond[digit];
    if (other < 0) {
        p->ring_atom[digit] = p->last;
        p->ring_bond[digit] = p->bond;
        p->bond = 0;
        return NULL;
    }
    if (said != 0 && p->bond != 0 && said != p->bond)
        return "a ring bond of two orders";
    int order = said != 0 ? said : p->bond != 0 ? p->bond : 1;
    p->ring_atom[digit] = -1;
    p->bond = 0;
    return connect(p->m, other, p->last, order);
}

static const char *open_branch(struct parser *p)
{
    if (p->last < 0 || p->empty || p->bond != 0)
        return "a branch that follows no atom";
    if (p->depth == MOLECULE_ATOMS)
        return "branches too deep";
    p->stack[p->depth++] = p->last;
    p->empty = true;
    p->fresh = false;
    return NULL;
}

static const char *close_branch(struct parser *p)
{
    if (p->depth == 0)
        return "a branch that ends and never began";
    if (p->empty || p->bond != 0)
        return p->empty ? "an empty branch" : "a bond without an atom";
    p->last = p->stack[--p->depth];
    p->fresh = false;
    return NULL;
}

static const char *add_bond(struct parser *p, int order)
{
    if (p->last < 0 || p->bond != 0)
        return "a bond without an atom";
    p->bond = order;
    return NULL;
}

static const char *add_character(struct parser *p, char c)
{
    if (valence(c) > 0)
        return add_atom(p, c);
    if (c >= '1' && c <= '9')
        return add_ring(p, c - '0');
    switch (c) {
    case '-':
        return add_bond(p, 1);
    case '=':
        return add_bond(p, 2);
    case '#':
        return add_bond(p, 3);
    case '(':
        return open_branch(p);
    case ')':
        return close_branch(p);
    }
    return "a character that is not read";
}

static const char *finish(struct parser *p)
{
    struct molecule *m = p->m;
    if (m->atoms == 0)
        return "no atoms";
    if (p->bond != 0)
        return "a bond without an atom";
    if (p->depth > 0)
        return "a branch that does not end";
    for (int k = 0; k < RINGS; k++)
        if (p->ring_atom[k] >= 0)
            return "a ring that does not close";
    for (int a = 0; a < m->atoms; a++) {
        int left = valence(m->element[a]);
        for (int k = 0; k < m->degree[a]; k++)
            left -= m->order[a][k];
        if (left < 0)
            return "an atom with too many bonds";
        m->hydrogens[a] = (uint8_t)left;
    }
    return NULL;
}

const char *smiles_parse(const char *s, struct molecule *m)
{
    struct parser p = {.m = m, .last = -1};
    const char *why = NULL;
    memset(m, 0, sizeof *m);
    for (int k = 0; k < RINGS; k++)
        p.ring_atom[k] = -1;
    for (; *s != '\0' && why == NULL; s++)
        why = add_character(&p, *s);
    return why != NULL ? why : finish(&p);
}

int molecule_rings(const struct molecule *m)
{
    return m->bonds - m->atoms + 1;
}

int molecule_heteroatoms(const struct molecule *m)
{
    int n = 0;
    for (int a = 0; a < m->atoms; a++)
        n += m->element[a] != 'C';
    return n;
}

void molecule_formula(const struct molecule *m, char out[MOLECULE_FORMULA])
{
    static const char hill[] = "CHFNO", plain[] = "FHNO";
    int count[128] = {0}, len = 0;
    for (int a = 0; a < m->atoms; a++) {
        count[(int)m->element[a]]++;
        count['H'] += m->hydrogens[a];
    }
    out[0] = '\0';
    for (const char *e = count['C'] > 0 ? hill : plain; *e != '\0'; e++) {
        int n = count[(int)*e];
        if (n == 1)
            len += snprintf(out + len, (size_t)(MOLECULE_FORMULA - len), "%c", *e);
        else if (n > 1)
            len += snprintf(out + len, (size_t)(MOLECULE_FORMULA - len), "%c%d", *e, n);
    }
}

/* Keys one after the other, found through a table of places, at most half full. */
#include "stages/reward/molecule_set.h"

#include "io/sys/mem.h"
#include "io/sys/rng.h"
#include "io/sys/text.h"
#include "stages/reward/smiles.h"

#include <string.h>

struct molecule_set {
    struct text keys; /* each NUL-terminated */
    int64_t *slot;    /* [slots] 1 + place in keys, 0: empty */
    int64_t slots, n; /* slots: a power of two */
};

struct molecule_set *molecule_set_create(void)
{
    struct molecule_set *s = mem_alloc(1, sizeof *s);
    s->slots = 1024;
    s->slot = mem_alloc(s->slots, sizeof *s->slot);
    return s;
}

void molecule_set_destroy(struct molecule_set *s)
{
    if (s == NULL)
        return;
    text_free(&s->keys);
    mem_free(s->slot);
    mem_free(s);
}

int64_t molecule_set_count(const struct molecule_set *s)
{
    return s->n;
}

static int64_t find(const struct molecule_set *s, const char *key)
{
    int64_t k = (int64_t)(rng_mix64(rng_fnv1a64(key)) & (uint64_t)(s->slots - 1));
    while (s->slot[k] != 0 && strcmp(s->keys.s + s->slot[k] - 1, key) != 0)
        k = (k + 1) & (s->slots - 1);
    return k;
}

static void grow(struct molecule_set *s)
{
    int64_t *old = s->slot, slots = s->slots;
    s->slots *= 2;
    s->slot = mem_alloc(s->slots, sizeof *s->slot);
    for (int64_t i = 0; i < slots; i++)
        if (old[i] != 0)
            s->slot[find(s, s->keys.s + old[i] - 1)] = old[i];
    mem_free(old);
}

int molecule_set_add(struct molecule_set *s, const char *smiles)
{
    struct molecule m;
    char key[MOLECULE_KEY];
    if (smiles_parse(smiles, &m) != NULL)
        return -1;
    molecule_key(&m, key);
    int64_t *slot = &s->slot[find(s, key)];
    if (*slot != 0)
        return 0;
    *slot = s->keys.len + 1;
    text_add_bytes(&s->keys, key, (int64_t)strlen(key) + 1);
    if (2 * ++s->n > s->slots)
        grow(s);
    return 1;
}

int molecule_set_has(const struct molecule_set *s, const char *smiles)
{
    struct molecule m;
    char key[MOLECULE_KEY];
    if (smiles_parse(smiles, &m) != NULL)
        return -1;
    molecule_key(&m, key);
    return s->slot[find(s, key)] != 0;
}

struct molecule_counts molecule_count(const char *const *text, int64_t n,
                                      const struct molecule_set *known)
{
    struct molecule_set *mine = molecule_set_create();
    struct molecule_counts c = {.n = n};
    for (int64_t i = 0; i < n; i++) {
        int added = molecule_set_add(mine, text[i]);
        c.valid += added >= 0;
        c.unique += added > 0;
        c.novel +=
            added > 0 && (known == NULL || molecule_set_has(known, text[i]) == 0);
    }
    molecule_set_destroy(mine);
    return c;
}

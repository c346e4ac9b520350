/* Which ranks belong to which group: small cases by hand, then all combinations of
 * sizes for 1 to 40 ranks against what the header promises. */
#include "scheduler/layout.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#define AUTO LAYOUT_AUTO

static bool is(const struct layout *l, const int start[GROUPS], const int size[GROUPS])
{
    return memcmp(l->start, start, sizeof l->start) == 0 &&
           memcmp(l->size, size, sizeof l->size) == 0;
}

#define FOUR(a, b, c, d) ((const int[GROUPS]){(a), (b), (c), (d)})

static void test_by_hand(void)
{
    struct layout l;
    tap_ok(layout_make(&l, FOUR(8, 2, 1, 4), true, 1) == 0 && l.overlap &&
               is(&l, FOUR(0, 0, 0, 0), FOUR(1, 1, 1, 1)),
           "one rank has all roles, whatever was asked for");
    tap_ok(layout_make(&l, FOUR(8, 2, 1, 4), true, 15) == 0 && !l.overlap &&
               is(&l, FOUR(0, 8, 10, 11), FOUR(8, 2, 1, 4)),
           "sizes that add up: one group after another");
    tap_ok(layout_coordinator(&l) == 10, "the coordinator is the first advantage rank");
    tap_ok(layout_make(&l, FOUR(8, 2, 1, 4), false, 15) == 0 && !l.overlap,
           "also with placement shared");
    tap_ok(layout_make(&l, FOUR(5, 2, 1, 3), false, 6) == 0 && l.overlap &&
               is(&l, FOUR(0, 0, 0, 0), FOUR(5, 2, 1, 3)),
           "shared, fewer ranks than the sum: overlap from rank 0");
    tap_ok(layout_make(&l, FOUR(AUTO, AUTO, AUTO, AUTO), false, 3) == 0 && l.overlap &&
               is(&l, FOUR(0, 0, 0, 0), FOUR(3, 3, 3, 3)),
           "shared, automatic: all ranks do everything");
    int rc = layout_make(&l, FOUR(AUTO, AUTO, AUTO, AUTO), true, 64);
    tap_ok(rc == 0 && !l.overlap && l.size[GROUP_ADVANTAGE] == 1 &&
               l.size[GROUP_REWARD] == 3 && l.size[GROUP_UPDATE] == 30 &&
               l.size[GROUP_ROLLOUT] == 30,
           "split, automatic, 64 ranks: %d rollout, %d reward, %d advantage, %d update",
           l.size[0], l.size[1], l.size[2], l.size[3]);
    tap_ok(layout_make(&l, FOUR(AUTO, 2, 1, 4), true, 20) == 0 &&
               is(&l, FOUR(0, 13, 15, 16), FOUR(13, 2, 1, 4)),
           "split, one automatic size takes what is left");
}

static void fails(const int want[GROUPS], bool split, int world, const char *word)
{
    struct layout l;
    err_clear();
    int rc = layout_make(&l, want, split, world);
    tap_ok(rc == -1 && err_code() == ERR_ENV && strstr(err_text(), word) != NULL,
           "%d,%d,%d,%d %s on %d ranks is refused: %.60s...", want[0], want[1], want[2],
           want[3], split ? "split" : "shared", world, err_text());
    err_clear();
}

static void test_errors(void)
{
    fails(FOUR(8, 2, 1, 4), true, 14, "mpirun -np 15");
    fails(FOUR(8, 2, 1, 4), true, 16, "15");
    fails(FOUR(8, 2, 1, 4), false, 7, "change groups");
    fails(FOUR(1, 1, 1, 1), false, 9, "4");
    fails(FOUR(AUTO, AUTO, AUTO, AUTO), true, 3, "3 ranks");
    fails(FOUR(AUTO, 2, 1, 4), true, 7, "add up to 7");
    fails(FOUR(9, AUTO, AUTO, AUTO), false, 8, "change groups");
}

/* What every layout must be; NULL or what is wrong. */
static const char *check(const struct layout *l, const int want[GROUPS], bool split)
{
    int roles[64] = {0};
    for (int g = 0; g < GROUPS; g++) {
        if (l->size[g] < 1 || l->start[g] < 0 || l->start[g] + l->size[g] > l->world)
            return "a group is empty or outside of the world";
        if (l->world > 1 && want[g] != AUTO && l->size[g] != want[g])
            return "a group has another size than asked for";
        for (int r = 0; r < l->world; r++)
            roles[r] += layout_has(l, (enum group)g, r);
    }
    if (split && l->overlap && l->world > 1)
        return "split groups overlap";
    for (int r = 0; r < l->world; r++)
        if (!l->overlap && roles[r] != 1)
            return "a rank without exactly one role";
    if (!layout_has(l, GROUP_ADVANTAGE, layout_coordinator(l)))
        return "the coordinator is not an advantage rank";
    return NULL;
}

/* 1: these sizes fit, 0: they do not, -1: the header leaves it open. */
static int fits(const int want[GROUPS], bool split, int world)
{
    int sum = 0, most = 0, open = 0;
    for (int g = 0; g < GROUPS; g++) {
        open += want[g] == AUTO;
        sum += want[g] == AUTO ? 0 : want[g];
        most = want[g] > most ? want[g] : most;
    }
    if (world == 1 || (open == 0 && sum == world))
        return 1;
    if (split && (open == 0 || sum + open > world))
        return 0;
    if (split)
        return want[GROUP_ROLLOUT] == AUTO || want[GROUP_UPDATE] == AUTO ? 1 : -1;
    return most <= world && (open > 0 || sum >= world);
}

static void test_all(void)
{
    static const int sizes[] = {AUTO, 1, 2, 3, 8, 21};
    enum { N = 6 };
    int good = 0, refused = 0, bad = 0;
    for (int world = 1; world <= 40; world++)
        for (int k = 0; k < 2 * N * N * N * N; k++) {
            int want[GROUPS], x = k / 2;
            bool split = k % 2;
            for (int g = 0; g < GROUPS; g++, x /= N)
                want[g] = sizes[x % N];
            struct layout l;
            int rc = layout_make(&l, want, split, world);
            int should = fits(want, split, world);
            const char *wrong = rc == 0 ? check(&l, want, split) : NULL;
            if (rc == 0 ? should == 0 : should == 1)
                wrong = rc == 0 ? "accepted" : "refused";
            if (rc != 0 && err_code() != ERR_ENV)
                wrong = "refused with another code than ERR_ENV";
            if (wrong != NULL && bad++ < 5)
                tap_ok(0, "%d,%d,%d,%d %s on %d ranks: %s", want[0], want[1], want[2],
                       want[3], split ? "split" : "shared", world, wrong);
            good += rc == 0;
            refused += rc != 0;
            err_clear();
        }
    tap_ok(bad == 0 && good > 1000 && refused > 1000,
           "all combinations on 1..40 ranks: %d layouts, %d refusals, %d wrong", good,
           refused, bad);
}

static void test_names(void)
{
    struct layout l;
    enum group g;
    struct text t = {0};
    int found = 0;
    for (int i = 0; i < GROUPS; i++)
        found += group_from_name(group_name((enum group)i), &g) && (int)g == i;
    tap_ok(found == GROUPS && !group_from_name("rollouts", &g), "names of groups");
    layout_make(&l, FOUR(3, 1, 1, 2), false, 7);
    layout_tag(&l, 1, &t);
    tap_ok(strcmp(t.s, "rollout/1") == 0, "a rank's name: %s", t.s);
    t.len = 0;
    layout_make(&l, FOUR(2, 1, 1, 1), false, 2);
    layout_tag(&l, 0, &t);
    tap_ok(strcmp(t.s, "rollout/0+reward/0+advantage/0+update/0") == 0,
           "of a rank with several roles: %s", t.s);
    text_free(&t);
    layout_single(&l, GROUP_REWARD, 5);
    int has = 0;
    for (int r = 0; r < 5; r++)
        has += layout_has(&l, GROUP_REWARD, r) && !layout_has(&l, GROUP_UPDATE, r);
    tap_ok(has == 5 && layout_coordinator(&l) == 0, "one stage as its own job");
}

int main(void)
{
    test_by_hand();
    test_errors();
    test_all();
    test_names();
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

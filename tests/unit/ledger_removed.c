/* A shard that was removed although its iteration's advantage is sealed is made again
 * before the update may start. Ranks: 1. */
#include "scheduler/ledger.h"

#include "tests/tap.h"

int main(void)
{
    const struct ledger_options o = {
        .iterations = 5, .shards = 2, .version = 1, .only = {true, true, true, true}};
    struct ledger *l = ledger_create(&o);
    struct lease a, b;
    for (int64_t s = 0; s < 2; s++)
        ledger_found(l, GROUP_REWARD, 1, s);
    ledger_found(l, GROUP_ROLLOUT, 1, 0);
    ledger_found(l, GROUP_ADVANTAGE, 1, -1);
    tap_ok(!ledger_next(l, GROUP_UPDATE, &a), "the update waits for the missing rollout");
    tap_ok(!ledger_finished(l), "and is not all that there is");
    tap_ok(ledger_next(l, GROUP_ROLLOUT, &b) && b.shard == 1 && b.iteration == 1,
           "which is leased again");
    ledger_done(l, &b);
    tap_ok(ledger_next(l, GROUP_UPDATE, &a) && a.version == 1, "then it starts");
    ledger_done(l, &a);
    tap_ok(ledger_version(l) == 2, "and makes version 2");
    ledger_destroy(l);
    return tap_done();
}

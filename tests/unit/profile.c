/* The profile: nothing while it is off, sums by kind while it is on, zero at each start. */
#include "stages/nn/profile.h"

#include "tests/tap.h"

int main(void)
{
    struct profile_sums s;
    profile_end(PROFILE_CONV, profile_begin(), 5);
    profile_read(&s);
    tap_ok(s.kind[PROFILE_CONV].calls == 0, "off: a bracket counts nothing");

    profile_start(true);
    double begun = profile_begin();
    profile_end(PROFILE_CONV, begun, 5);
    profile_end(PROFILE_CONV, begun, 7);
    profile_add(PROFILE_LAYOUT, 0.25, 0);
    profile_read(&s);
    tap_ok(s.kind[PROFILE_CONV].calls == 2, "on: two brackets");
    tap_near(s.kind[PROFILE_CONV].flops, 12, 0, "their operations");
    tap_ok(begun > 0 && s.kind[PROFILE_CONV].seconds >= 0, "time goes forward");
    tap_near(s.kind[PROFILE_LAYOUT].seconds, 0.25, 0, "seconds that were added");
    tap_ok(s.kind[PROFILE_NORM].calls == 0, "the other kinds stay zero");

    profile_start(false);
    profile_end(PROFILE_CONV, profile_begin(), 5);
    profile_read(&s);
    tap_ok(s.kind[PROFILE_CONV].calls == 0, "a start clears the sums");
    for (int k = 0; k < PROFILE_KINDS; k++)
        tap_ok(profile_name((enum profile_kind)k) != NULL, "kind %d has a name", k);
    return tap_done();
}

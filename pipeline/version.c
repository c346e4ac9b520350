/* Version strings from the build. */
#include "pipeline/version.h"

const char *version_number(void)
{
    return SLUICE_VERSION;
}

const char *version_commit(void)
{
    return SLUICE_COMMIT;
}

const char *version_build(void)
{
    return SLUICE_CC " " __VERSION__ " " SLUICE_CFLAGS;
}

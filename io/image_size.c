/* How large a picture may be. */
#include "io/image_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

enum { SIDE_MAX = 65500 }; /* JPEG's own limit */

int image_check_size(int64_t height, int64_t width)
{
    if (height < 1 || width < 1 || height > SIDE_MAX || width > SIDE_MAX)
        return err_set(ERR_INPUT, "a picture of %lld x %lld: sides must be 1 to %d",
                       (long long)height, (long long)width, SIDE_MAX);
    return 0;
}

uint8_t *image_room(int64_t height, int64_t width)
{
    if (image_check_size(height, width) != 0)
        return NULL;
    if (mem_fits(height * width, 4))
        return mem_alloc(height * width, 4);
    err_set(ERR_INPUT, "a picture of %lld x %lld does not fit into memory",
            (long long)height, (long long)width);
    return NULL;
}

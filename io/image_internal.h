/* What the files of io/image share. */
#ifndef SLUICE_IO_IMAGE_INTERNAL_H
#define SLUICE_IO_IMAGE_INTERNAL_H

#include "io/image.h"

/* ERR_INPUT for sides that no picture of either format may have. */
int image_check_size(int64_t height, int64_t width);

/* Space for a picture that a header promises, also for a fourth channel; freed with mem_free.
 * NULL: ERR_INPUT, no such sides, or larger than memory. */
uint8_t *image_room(int64_t height, int64_t width);

/* The bytes of a file as RGB [height, width, 3], freed with mem_free. NULL: ERR_INPUT. */
uint8_t *image_read_png(const char *data, int64_t len, int64_t *height, int64_t *width);
uint8_t *image_read_jpeg(const char *data, int64_t len, int64_t *height, int64_t *width);

#endif

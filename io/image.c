/* Files of either format, and the grid. */
#include "io/image_internal.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <string.h>

enum { FILE_MAX = 1 << 30 };

int image_read(const char *path, uint8_t **rgb, int64_t *height, int64_t *width)
{
    static const char png[] = "\x89PNG", jpeg[] = "\xff\xd8\xff";
    char *data = NULL;
    int64_t len;
    *rgb = NULL;
    if (file_read(path, FILE_MAX, &data, &len) != 0)
        return -1;
    if (len > 4 && memcmp(data, png, 4) == 0)
        *rgb = image_read_png(data, len, height, width);
    else if (len > 3 && memcmp(data, jpeg, 3) == 0)
        *rgb = image_read_jpeg(data, len, height, width);
    else
        err_set(ERR_INPUT, "is neither a PNG nor a JPEG file");
    mem_free(data);
    return *rgb != NULL ? 0 : err_add("%s", path);
}

uint8_t *image_grid(const uint8_t *rgb, int64_t n, int64_t height, int64_t width,
                    int64_t columns, int64_t zoom, int64_t *out_h, int64_t *out_w)
{
    ERR_BUG_IF(n < 0 || height < 1 || width < 1 || columns < 1 || zoom < 1);
    const int64_t margin = 2;
    int64_t across = n < columns ? n : columns, down = (n + columns - 1) / columns;
    *out_w = margin + across * (width * zoom + margin);
    *out_h = margin + down * (height * zoom + margin);
    uint8_t *out = mem_alloc(*out_h * *out_w, 3);
    memset(out, 255, (size_t)(*out_h * *out_w * 3));
    for (int64_t i = 0; i < n; i++) {
        int64_t left = margin + i % columns * (width * zoom + margin);
        int64_t top = margin + i / columns * (height * zoom + margin);
        for (int64_t y = 0; y < height * zoom; y++)
            for (int64_t x = 0; x < width * zoom; x++)
                memcpy(out + ((top + y) * *out_w + left + x) * 3,
                       rgb + ((i * height + y / zoom) * width + x / zoom) * 3, 3);
    }
    return out;
}

/* PNG in memory and on disk, the picture grid, refused pictures. */
#include "io/image.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <png.h>
#include <unistd.h>

static void png(void)
{
    uint8_t rgb[5 * 7 * 3], back[sizeof rgb];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(i * 37);
    struct text t = {0};
    png_image image = {.version = PNG_IMAGE_VERSION};
    tap_ok(image_png(rgb, 5, 7, &t) == 0, "PNG into memory");
    tap_ok(png_image_begin_read_from_memory(&image, t.s, (size_t)t.len) != 0 &&
               image.width == 7 && image.height == 5,
           "7 x 5 pixels");
    image.format = PNG_FORMAT_RGB;
    tap_ok(png_image_finish_read(&image, NULL, back, 0, NULL) != 0 &&
               memcmp(rgb, back, sizeof rgb) == 0,
           "the same pixels");
    char path[64];
    snprintf(path, sizeof path, "/tmp/image-%ld.png", (long)getpid());
    tap_ok(image_png_file(rgb, 5, 7, path) == 0 && file_size(path) == t.len,
           "PNG into a file");
    remove(path);
    tap_ok(image_png_file(rgb, 5, 7, "/nonexistent/x.png") == -1, "%s", err_text());
    text_free(&t);
    tap_ok(image_png(rgb, 0, 7, &t) == -1 && err_code() == ERR_INPUT, "%s", err_text());
    text_free(&t);
}

static void jpeg(void)
{
    uint8_t rgb[3] = {1, 2, 3};
    unsigned char *bytes = NULL;
    int64_t len = 0;
    tap_ok(image_jpeg(rgb, 1, 1, 95, &bytes, &len) == 0 && bytes[0] == 0xff &&
               bytes[1] == 0xd8,
           "a JPEG of one pixel");
    mem_free(bytes);
    tap_ok(image_jpeg(rgb, 1, 70000, 95, &bytes, &len) == -1 && err_code() == ERR_INPUT,
           "%s", err_text());
}

static void grid(void)
{
    uint8_t rgb[3 * 2 * 1 * 3];
    int64_t h, w;
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)i;
    uint8_t *out = image_grid(rgb, 3, 2, 1, 2, 3, &h, &w);
    tap_ok(h == 2 + 2 * 8 && w == 2 + 2 * 5, "3 pictures in 2 columns: %lld x %lld",
           (long long)h, (long long)w);
    tap_ok(out[0] == 255 && out[(2 * w + 2) * 3] == 0 && out[(5 * w + 4) * 3] == 3 &&
               out[(10 * w + 2) * 3 + 2] == 14,
           "pixels of the grid");
    mem_free(out);
}

int main(void)
{
    png();
    jpeg();
    grid();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

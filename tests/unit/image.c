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

static void put(const char *path, const void *p, int64_t n)
{
    if (file_write(path, p, n) != 0)
        ERR_BUG("%s", err_text());
}

/* What was written comes back; halves, headers that lie and other files are refused. */
static void reading(void)
{
    uint8_t rgb[9 * 5 * 3], *back = NULL;
    int64_t h = 0, w = 0, len = 0, worst = 0;
    unsigned char *bytes = NULL;
    struct text t = {0};
    char path[64];
    for (size_t i = 0; i < sizeof rgb; i++)
        rgb[i] = (uint8_t)(100 + i / 3);
    snprintf(path, sizeof path, "/tmp/image-%ld.in", (long)getpid());
    tap_ok(image_png_file(rgb, 9, 5, path) == 0 && image_read(path, &back, &h, &w) == 0 &&
               h == 9 && w == 5 && memcmp(rgb, back, sizeof rgb) == 0,
           "a PNG is read");
    mem_free(back);
    image_png(rgb, 9, 5, &t);
    for (int64_t cut = 0; cut < t.len - 12; cut += 7) { /* 12: its end has no pixels */
        put(path, t.s, cut);
        worst += image_read(path, &back, &h, &w) == 0;
    }
    tap_ok(worst == 0 && back == NULL, "cut PNGs are refused: %s", err_text());
    memset(t.s + 16, 0x7f, 4); /* its width */
    put(path, t.s, t.len);
    tap_ok(image_read(path, &back, &h, &w) == -1 && err_code() == ERR_INPUT, "a header: %s",
           err_text());
    text_free(&t);
    image_jpeg(rgb, 9, 5, 95, &bytes, &len);
    put(path, bytes, len);
    tap_ok(image_read(path, &back, &h, &w) == 0 && h == 9 && w == 5, "a JPEG is read");
    for (size_t i = 0; i < sizeof rgb && back != NULL; i++)
        worst = llabs(back[i] - rgb[i]) > worst ? llabs(back[i] - rgb[i]) : worst;
    tap_ok(worst <= 3, "its pixels are within %lld", (long long)worst);
    mem_free(back);
    put(path, bytes, len - 20);
    tap_ok(image_read(path, &back, &h, &w) == -1, "a cut JPEG: %s", err_text());
    put(path, "GIF89a, says it", 15);
    tap_ok(image_read(path, &back, &h, &w) == -1 && err_code() == ERR_INPUT, "%s",
           err_text());
    mem_free(bytes);
    remove(path);
    tap_ok(image_read(path, &back, &h, &w) == -1 && err_code() == ERR_INPUT, "%s",
           err_text());
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
    reading();
    grid();
    tap_ok(mem_live() == 0, "no memory is left");
    return tap_done();
}

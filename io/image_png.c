/* PNG through libpng. The writer reports errors by a callback that must not return; ours jumps
 * back here, so the library never ends the process. What a jump skips lives in a struct, not
 * in registers. */
#include "io/image_internal.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <png.h>

struct png_job {
    png_structp png;
    png_infop info;
    jmp_buf back;
    struct text *out;
};

static void png_fail(png_structp png, png_const_charp text)
{
    struct png_job *job = png_get_error_ptr(png);
    err_set(ERR_INPUT, "PNG: %s", text);
    longjmp(job->back, 1);
}

static void png_quiet(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void png_take(png_structp png, png_bytep data, size_t n)
{
    struct png_job *job = png_get_io_ptr(png);
    text_add_bytes(job->out, data, (int64_t)n);
}

static void png_no_flush(png_structp png)
{
    (void)png;
}

static int png_run(struct png_job *job, const uint8_t *rgb, int64_t height,
                   int64_t width)
{
    if (setjmp(job->back) != 0)
        return -1;
    job->png = png_create_write_struct(PNG_LIBPNG_VER_STRING, job, png_fail, png_quiet);
    if (job->png != NULL)
        job->info = png_create_info_struct(job->png);
    if (job->info == NULL)
        return err_set(ERR_ENV, "libpng cannot be used (header version %s)",
                       PNG_LIBPNG_VER_STRING);
    png_set_write_fn(job->png, job, png_take, png_no_flush);
    png_set_IHDR(job->png, job->info, (png_uint_32)width, (png_uint_32)height, 8,
                 PNG_COLOR_TYPE_RGB, PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT,
                 PNG_FILTER_TYPE_DEFAULT);
    png_write_info(job->png, job->info);
    for (int64_t y = 0; y < height; y++)
        png_write_row(job->png, rgb + y * width * 3);
    png_write_end(job->png, job->info);
    return 0;
}

int image_png(const uint8_t *rgb, int64_t height, int64_t width, struct text *out)
{
    if (image_check_size(height, width) != 0)
        return -1;
    struct png_job *job = mem_alloc(1, sizeof *job);
    job->out = out;
    int rc = png_run(job, rgb, height, width);
    png_destroy_write_struct(&job->png, &job->info);
    mem_free(job);
    return rc;
}

int image_png_file(const uint8_t *rgb, int64_t height, int64_t width, const char *path)
{
    struct text t = {0};
    int rc = image_png(rgb, height, width, &t);
    if (rc == 0)
        rc = file_write(path, t.s, t.len);
    text_free(&t);
    return rc;
}

uint8_t *image_read_png(const char *data, int64_t len, int64_t *height, int64_t *width)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgba = NULL;
    bool good = png_image_begin_read_from_memory(&image, data, (size_t)len) != 0;
    image.format = PNG_FORMAT_RGBA; /* opacity is dropped afterwards, as Pillow does */
    *height = image.height;
    *width = image.width;
    if (good) {
        rgba = image_room(*height, *width);
        good = rgba != NULL && png_image_finish_read(&image, NULL, rgba, 0, NULL) != 0;
    }
    if (!good && image.message[0] != '\0')
        err_set(ERR_INPUT, "PNG: %s", image.message);
    png_image_free(&image);
    if (!good) {
        mem_free(rgba);
        return NULL;
    }
    for (int64_t i = 0; i < *height * *width; i++)
        memmove(rgba + 3 * i, rgba + 4 * i, 3);
    return rgba;
}

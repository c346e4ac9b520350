/* Reading pictures, with the same guard as in image.c: a library's error jumps back
 * here. A header says how large a picture is before memory is taken for it. */
#include "io/image.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

enum { SIDE_MAX = 65500, FILE_MAX = 1 << 30 };

/* Space for a picture that a header promises, also for a fourth channel. */
static uint8_t *room(int64_t height, int64_t width)
{
    if (height >= 1 && width >= 1 && height <= SIDE_MAX && width <= SIDE_MAX &&
        mem_fits(height * width, 4))
        return mem_alloc(height * width, 4);
    err_set(ERR_INPUT,
            "a picture of %lld x %lld: sides must be 1 to %d, and it must fit "
            "into memory",
            (long long)height, (long long)width, SIDE_MAX);
    return NULL;
}

static uint8_t *read_png(const char *data, int64_t len, int64_t *height, int64_t *width)
{
    png_image image = {.version = PNG_IMAGE_VERSION};
    uint8_t *rgba = NULL;
    bool good = png_image_begin_read_from_memory(&image, data, (size_t)len) != 0;
    image.format = PNG_FORMAT_RGBA; /* opacity is dropped afterwards, as Pillow does */
    *height = image.height;
    *width = image.width;
    if (good) {
        rgba = room(*height, *width);
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

struct jpeg_job {
    struct jpeg_decompress_struct c;
    struct jpeg_error_mgr errors;
    jmp_buf back;
    uint8_t *rgb;
};

static void jpeg_fail(j_common_ptr c)
{
    struct jpeg_job *job = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    err_set(ERR_INPUT, "JPEG: %s", text);
    longjmp(job->back, 1);
}

/* Warnings are data that are damaged. */
static void jpeg_warn(j_common_ptr c, int level)
{
    if (level < 0)
        jpeg_fail(c);
}

static int run_jpeg(struct jpeg_job *job, const char *data, int64_t len)
{
    if (setjmp(job->back) != 0)
        return -1;
    job->c.err = jpeg_std_error(&job->errors);
    job->c.client_data = job;
    job->errors.error_exit = jpeg_fail;
    job->errors.emit_message = jpeg_warn;
    jpeg_create_decompress(&job->c);
    jpeg_mem_src(&job->c, (const unsigned char *)data, (unsigned long)len);
    jpeg_read_header(&job->c, TRUE);
    job->c.out_color_space = JCS_RGB;
    jpeg_start_decompress(&job->c);
    job->rgb = room(job->c.output_height, job->c.output_width);
    while (job->rgb != NULL && job->c.output_scanline < job->c.output_height) {
        JSAMPROW row =
            job->rgb + (int64_t)job->c.output_scanline * job->c.output_width * 3;
        jpeg_read_scanlines(&job->c, &row, 1);
    }
    if (job->rgb != NULL)
        jpeg_finish_decompress(&job->c);
    return job->rgb != NULL ? 0 : -1;
}

static uint8_t *read_jpeg(const char *data, int64_t len, int64_t *height,
                          int64_t *width)
{
    struct jpeg_job *job = mem_alloc(1, sizeof *job);
    uint8_t *rgb = NULL;
    if (run_jpeg(job, data, len) == 0) {
        rgb = job->rgb;
        *height = job->c.output_height;
        *width = job->c.output_width;
    } else {
        mem_free(job->rgb);
    }
    jpeg_destroy_decompress(&job->c);
    mem_free(job);
    return rgb;
}

int image_read(const char *path, uint8_t **rgb, int64_t *height, int64_t *width)
{
    static const char png[] = "\x89PNG", jpeg[] = "\xff\xd8\xff";
    char *data = NULL;
    int64_t len;
    *rgb = NULL;
    if (file_read(path, FILE_MAX, &data, &len) != 0)
        return -1;
    if (len > 4 && memcmp(data, png, 4) == 0)
        *rgb = read_png(data, len, height, width);
    else if (len > 3 && memcmp(data, jpeg, 3) == 0)
        *rgb = read_jpeg(data, len, height, width);
    else
        err_set(ERR_INPUT, "is neither a PNG nor a JPEG file");
    mem_free(data);
    return *rgb != NULL ? 0 : err_add("%s", path);
}

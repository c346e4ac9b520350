/* Pictures through libpng and libjpeg. Both report errors by a callback that must not
 * return; ours jumps back here, so a library never ends the process. What a jump skips
 * lives in a struct, not in registers. */
#include "io/image.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#define SIDE_MAX 65500 /* JPEG's own limit */

static int check_size(int64_t height, int64_t width)
{
    if (height < 1 || width < 1 || height > SIDE_MAX || width > SIDE_MAX)
        return err_set(ERR_INPUT, "a picture of %lld x %lld: sides must be 1 to %d",
                       (long long)height, (long long)width, SIDE_MAX);
    return 0;
}

struct jpeg_job {
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct jpeg_destination_mgr to;
    jmp_buf back;
    JOCTET piece[4096];
    struct text out;
};

static void jpeg_fail(j_common_ptr c)
{
    struct jpeg_job *job = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    err_set(ERR_INPUT, "JPEG: %s", text);
    longjmp(job->back, 1);
}

static void jpeg_quiet(j_common_ptr c)
{
    (void)c;
}

static void jpeg_to_start(j_compress_ptr c)
{
    struct jpeg_job *job = c->client_data;
    job->to.next_output_byte = job->piece;
    job->to.free_in_buffer = sizeof job->piece;
}

/* Called with a full piece, whatever the counters say. */
static boolean jpeg_to_more(j_compress_ptr c)
{
    struct jpeg_job *job = c->client_data;
    text_add_bytes(&job->out, job->piece, sizeof job->piece);
    jpeg_to_start(c);
    return TRUE;
}

static void jpeg_to_end(j_compress_ptr c)
{
    struct jpeg_job *job = c->client_data;
    text_add_bytes(&job->out, job->piece,
                   (int64_t)(sizeof job->piece - job->to.free_in_buffer));
}

static int jpeg_run(struct jpeg_job *job, const uint8_t *rgb, int64_t height,
                    int64_t width, int quality)
{
    if (setjmp(job->back) != 0)
        return -1;
    job->c.err = jpeg_std_error(&job->errors);
    job->c.client_data = job;
    job->errors.error_exit = jpeg_fail;
    job->errors.output_message = jpeg_quiet;
    jpeg_create_compress(&job->c);
    job->to.init_destination = jpeg_to_start;
    job->to.empty_output_buffer = jpeg_to_more;
    job->to.term_destination = jpeg_to_end;
    job->c.dest = &job->to;
    job->c.image_width = (JDIMENSION)width;
    job->c.image_height = (JDIMENSION)height;
    job->c.input_components = 3;
    job->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&job->c);
    jpeg_set_quality(&job->c, quality, TRUE);
    jpeg_start_compress(&job->c, TRUE);
    while (job->c.next_scanline < job->c.image_height) {
        JSAMPROW row = (JSAMPROW)(uintptr_t)(rgb + job->c.next_scanline * width * 3);
        jpeg_write_scanlines(&job->c, &row, 1);
    }
    jpeg_finish_compress(&job->c);
    return 0;
}

int image_jpeg(const uint8_t *rgb, int64_t height, int64_t width, int quality,
               unsigned char **bytes, int64_t *len)
{
    if (check_size(height, width) != 0)
        return -1;
    struct jpeg_job *job = mem_alloc(1, sizeof *job);
    int rc = jpeg_run(job, rgb, height, width, quality);
    if (rc == 0) {
        *len = job->out.len;
        *bytes = (unsigned char *)job->out.s; /* text is mem_alloc'ed */
    } else {
        text_free(&job->out);
    }
    jpeg_destroy_compress(&job->c);
    mem_free(job);
    return rc;
}

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
    if (check_size(height, width) != 0)
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

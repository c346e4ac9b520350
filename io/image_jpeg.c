/* JPEG through libjpeg. The library reports errors by a callback that must not return; ours
 * jumps back here, so the library never ends the process. What a jump skips lives in a struct,
 * not in registers. */
#include "io/image_internal.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

/* What a job of either kind begins with; the job is the client_data of its library struct. */
struct jpeg_guard {
    struct jpeg_error_mgr errors;
    jmp_buf back;
};

static void jpeg_fail(j_common_ptr c)
{
    struct jpeg_guard *guard = c->client_data;
    char text[JMSG_LENGTH_MAX];
    c->err->format_message(c, text);
    err_set(ERR_INPUT, "JPEG: %s", text);
    longjmp(guard->back, 1);
}

/* Warnings are data that are damaged. Nothing is printed. */
static void jpeg_warn(j_common_ptr c, int level)
{
    if (level < 0)
        jpeg_fail(c);
}

static struct jpeg_error_mgr *jpeg_errors(struct jpeg_guard *guard)
{
    jpeg_std_error(&guard->errors);
    guard->errors.error_exit = jpeg_fail;
    guard->errors.emit_message = jpeg_warn;
    return &guard->errors;
}

struct jpeg_writer {
    struct jpeg_guard guard;
    struct jpeg_compress_struct c;
    struct jpeg_destination_mgr to;
    JOCTET piece[4096];
    struct text out;
};

static void jpeg_to_start(j_compress_ptr c)
{
    struct jpeg_writer *job = c->client_data;
    job->to.next_output_byte = job->piece;
    job->to.free_in_buffer = sizeof job->piece;
}

/* Called with a full piece, whatever the counters say. */
static boolean jpeg_to_more(j_compress_ptr c)
{
    struct jpeg_writer *job = c->client_data;
    text_add_bytes(&job->out, job->piece, sizeof job->piece);
    jpeg_to_start(c);
    return TRUE;
}

static void jpeg_to_end(j_compress_ptr c)
{
    struct jpeg_writer *job = c->client_data;
    text_add_bytes(&job->out, job->piece,
                   (int64_t)(sizeof job->piece - job->to.free_in_buffer));
}

static int write_jpeg(struct jpeg_writer *job, const uint8_t *rgb, int64_t height,
                      int64_t width, int quality)
{
    if (setjmp(job->guard.back) != 0)
        return -1;
    job->c.err = jpeg_errors(&job->guard);
    job->c.client_data = job;
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
    if (image_check_size(height, width) != 0)
        return -1;
    struct jpeg_writer *job = mem_alloc(1, sizeof *job);
    int rc = write_jpeg(job, rgb, height, width, quality);
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

struct jpeg_reader {
    struct jpeg_guard guard;
    struct jpeg_decompress_struct c;
    uint8_t *rgb;
};

static int read_jpeg(struct jpeg_reader *job, const char *data, int64_t len)
{
    if (setjmp(job->guard.back) != 0)
        return -1;
    job->c.err = jpeg_errors(&job->guard);
    job->c.client_data = job;
    jpeg_create_decompress(&job->c);
    jpeg_mem_src(&job->c, (const unsigned char *)data, (unsigned long)len);
    jpeg_read_header(&job->c, TRUE);
    job->c.out_color_space = JCS_RGB;
    jpeg_start_decompress(&job->c);
    job->rgb = image_room(job->c.output_height, job->c.output_width);
    while (job->rgb != NULL && job->c.output_scanline < job->c.output_height) {
        JSAMPROW row =
            job->rgb + (int64_t)job->c.output_scanline * job->c.output_width * 3;
        jpeg_read_scanlines(&job->c, &row, 1);
    }
    if (job->rgb != NULL)
        jpeg_finish_decompress(&job->c);
    return job->rgb != NULL ? 0 : -1;
}

uint8_t *image_read_jpeg(const char *data, int64_t len, int64_t *height, int64_t *width)
{
    struct jpeg_reader *job = mem_alloc(1, sizeof *job);
    uint8_t *rgb = NULL;
    if (read_jpeg(job, data, len) == 0) {
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

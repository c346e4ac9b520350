/* Pictures: the only user of libpng and libjpeg. RGB, 8 bit. */
#ifndef SLUICE_IO_IMAGE_H
#define SLUICE_IO_IMAGE_H

#include "io/sys/text.h"

#include <stdint.h>

/* JPEG bytes of rgb [height, width, 3] as Pillow writes them: libjpeg-turbo, quality 95,
 * 4:2:0, standard Huffman tables, JFIF header. *bytes is freed with mem_free. ERR_INPUT
 * when the library refuses the picture. */
int image_jpeg(const uint8_t *rgb, int64_t height, int64_t width, int quality,
               unsigned char **bytes, int64_t *len);

/* PNG into memory, or atomically into a file. */
int image_png(const uint8_t *rgb, int64_t height, int64_t width, struct text *out);
int image_png_file(const uint8_t *rgb, int64_t height, int64_t width, const char *path);

/* A PNG or JPEG file, by its first bytes, as 8-bit RGB [height, width, 3]: more bits are
 * rounded, grey is repeated, opacity is dropped. *rgb is freed with mem_free. ERR_INPUT names
 * the file: no such one, no picture, damaged, larger than memory. */
int image_read(const char *path, uint8_t **rgb, int64_t *height, int64_t *width);

/* Lays n pictures out in a grid of `columns` with a margin, each enlarged `zoom` times
 * (nearest neighbour). rgb: [n, height, width, 3]. The result is freed with mem_free. */
uint8_t *image_grid(const uint8_t *rgb, int64_t n, int64_t height, int64_t width,
                    int64_t columns, int64_t zoom, int64_t *out_h, int64_t *out_w);

#endif

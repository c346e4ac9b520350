/* Sample files. Nothing is written before the last sample is done. */
#include "pipeline/sample_files.h"

#include "io/image.h"
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/sample_curves.h"
#include "stages/reward/pixels.h"

#include <math.h>
#include <string.h>

enum { GRID_MOST = 256, SIDE_MAX = 65000, GOOD_WIDTH = 64 };

enum form {
    FORM_PNG,
    FORM_NPY,
    FORM_SAFETENSORS,
    FORM_CSV,
    FORM_TXT,
    FORM_SVG,
    FORM_FOLDER
};

static enum form form_of(const char *path)
{
    static const char *const suffix[] = {".png", ".npy", ".safetensors",
                                         ".csv", ".txt", ".svg"};
    size_t len = strlen(path);
    for (int i = 0; i < FORM_FOLDER; i++) {
        size_t k = strlen(suffix[i]);
        if (len > k && strcmp(path + len - k, suffix[i]) == 0)
            return (enum form)i;
    }
    return FORM_FOLDER;
}

/* The number of samples in the grid; sets its columns and zoom. */
static int64_t plan_grid(const struct samples *s, enum form form, int64_t *columns,
                         int64_t *zoom)
{
    int64_t n = form == FORM_FOLDER && s->n > GRID_MOST ? GRID_MOST : s->n;
    *columns = s->columns > 0 ? s->columns : (int64_t)ceil(sqrt((double)n));
    *zoom = s->zoom > 0 ? s->zoom : (GOOD_WIDTH + s->width - 1) / s->width;
    return n;
}

static int check_pictures(const struct samples *s, enum form form, const char *path)
{
    int64_t columns, zoom, n = plan_grid(s, form, &columns, &zoom);
    int64_t across = n < columns ? n : columns, down = (n + columns - 1) / columns;
    if (s->coding.kind != CODING_NONE)
        return err_set(ERR_USAGE, "--out: %s: samples of %s are no pictures; name a file %s",
                       path, s->coding.kind == CODING_TEXT ? "text" : "a series",
                       s->coding.kind == CODING_TEXT ? "*.txt" : "*.svg, *.npy or *.csv");
    if (s->channels != 1 && s->channels != 3)
        return err_set(
            ERR_USAGE,
            "--out: %s: samples of %lld channels are no pictures; name a file "
            "*.npy or *.safetensors",
            path, (long long)s->channels);
    if (across * (s->width * zoom + 2) > SIDE_MAX ||
        down * (s->height * zoom + 2) > SIDE_MAX)
        return err_set(
            ERR_USAGE,
            "--out: %s: a grid of %lld x %lld pictures enlarged %lld times has "
            "a side of more than %d pixels; use a smaller --zoom, other "
            "--columns, or a file *.npy",
            path, (long long)across, (long long)down, (long long)zoom, SIDE_MAX);
    return 0;
}

/* The folder of a file to be written must be there. */
static int check_parent(const char *path)
{
    const char *slash = strrchr(path, '/');
    char *dir =
        slash == NULL ? mem_text(".") : text_new("%.*s/", (int)(slash - path), path);
    int rc = 0;
    if (file_is_dir(path))
        rc = err_set(ERR_USAGE, "--out: %s: is a folder", path);
    else if (!file_is_dir(dir))
        rc = err_set(ERR_USAGE, "--out: %s: its folder %s does not exist", path, dir);
    mem_free(dir);
    return rc;
}

static char *sample_path(const char *dir, int64_t i)
{
    return text_new("%s/sample_%05lld.png", dir, (long long)i);
}

/* A name that looks like a file of a kind that is not written here. */
static bool foreign_form(const char *path)
{
    static const char *const suffix[] = {".jpg", ".jpeg", ".gif", ".webp", ".npz", ".h5"};
    size_t len = strlen(path);
    for (size_t i = 0; i < sizeof suffix / sizeof *suffix; i++) {
        size_t k = strlen(suffix[i]);
        if (len > k && strcmp(path + len - k, suffix[i]) == 0)
            return true;
    }
    return false;
}

/* Samples of an earlier, larger call would stand among the new ones. */
static int check_folder(const struct samples *s, const char *dir)
{
    int rc = 0;
    char *next = sample_path(dir, s->n);
    if (file_exists(dir) && !file_is_dir(dir))
        rc = err_set(ERR_USAGE,
                     "--out: %s: is a file, and ends in none of .png, .svg, .npy, .csv, .txt, "
                     ".safetensors",
                     dir);
    else if (!file_exists(dir) && foreign_form(dir))
        rc = err_set(ERR_USAGE,
                     "--out: %s: takes .png, .svg, .npy, .csv, .txt, .safetensors or a folder",
                     dir);
    else if (file_exists(next))
        rc = err_set(
            ERR_USAGE,
            "--out: %s: holds more than %lld samples of an earlier call; choose "
            "another folder or remove them",
            dir, (long long)s->n);
    mem_free(next);
    return rc;
}

int sample_files_check(const struct samples *s, const char *path)
{
    enum form form = form_of(path);
    if (form == FORM_TXT && s->coding.kind != CODING_TEXT)
        return err_set(ERR_USAGE,
                       "--out: %s: the network's samples are no text (its config.json has "
                       "no \"data\" with an alphabet); name a file *.npy or *.csv",
                       path);
    if (form == FORM_SVG && (s->channels != 1 || s->height != 1 ||
                             s->coding.kind == CODING_TEXT))
        return err_set(ERR_USAGE,
                       "--out: %s: only series are drawn as curves; name a file %s", path,
                       s->coding.kind == CODING_TEXT ? "*.txt" : "*.png or *.npy");
    if ((form == FORM_PNG || form == FORM_FOLDER) && check_pictures(s, form, path) != 0)
        return -1;
    return form == FORM_FOLDER ? check_folder(s, path) : check_parent(path);
}

static int write_grid(const struct samples *s, enum form form, const char *path)
{
    int64_t columns, zoom, h, w, n = plan_grid(s, form, &columns, &zoom);
    int64_t size = s->channels * s->height * s->width, bytes = s->height * s->width * 3;
    uint8_t *rgb = mem_alloc(n * bytes, 1); /* [n, height, width, 3] */
    for (int64_t i = 0; i < n; i++)
        pixels_from_sample(s->data + i * size, s->channels, s->height, s->width,
                           rgb + i * bytes);
    uint8_t *grid = image_grid(rgb, n, s->height, s->width, columns, zoom, &h, &w);
    int rc = image_png_file(grid, h, w, path);
    mem_free(grid);
    mem_free(rgb);
    return rc;
}

/* NumPy's format 1.0: magic, version, u16 length, a Python literal padded with spaces
 * so that the data starts at a multiple of 64. */
static int write_npy(const struct samples *s, const char *path)
{
    enum { PREFIX = 10, ALIGN = 64 };
    struct text head = {0}, file = {0};
    text_add(
        &head,
        "{'descr': '<f4', 'fortran_order': False, 'shape': (%lld, %lld, %lld, %lld), }",
        (long long)s->n, (long long)s->channels, (long long)s->height,
        (long long)s->width);
    int64_t pad = ALIGN - (PREFIX + head.len + 1) % ALIGN;
    text_add(&head, "%*s\n", (int)(pad % ALIGN), "");
    const unsigned char prefix[PREFIX] = {0x93,
                                          'N',
                                          'U',
                                          'M',
                                          'P',
                                          'Y',
                                          1,
                                          0,
                                          (unsigned char)(head.len & 255),
                                          (unsigned char)(head.len >> 8)};
    text_add_bytes(&file, prefix, PREFIX);
    text_add_bytes(&file, head.s, head.len);
    text_add_bytes(&file, s->data,
                   s->n * s->channels * s->height * s->width * (int64_t)sizeof(float));
    int rc = file_write(path, file.s, file.len);
    text_free(&file);
    text_free(&head);
    return rc;
}

static int write_safetensors(const struct samples *s, const char *path)
{
    const struct st_out t = {.name = "sample",
                             .type = ST_F32,
                             .nd = 4,
                             .dim = {s->n, s->channels, s->height, s->width},
                             .data = s->data};
    return st_write(path, &t, 1);
}

/* A line per sample: its numbers, with the digits that tell float32 values apart. */
static int write_csv(const struct samples *s, const char *path)
{
    struct text file = {0};
    int64_t size = s->channels * s->height * s->width;
    for (int64_t i = 0; i < s->n * size; i++)
        text_add(&file, "%.9g%c", (double)s->data[i], (i + 1) % size == 0 ? '\n' : ',');
    int rc = file_write(path, file.s, file.len);
    text_free(&file);
    return rc;
}

static int write_txt(const struct samples *s, const char *path)
{
    struct text file = {0};
    char *line = mem_alloc(s->width + 1, 1);
    for (int64_t i = 0; i < s->n; i++) {
        coding_decode_text(&s->coding, s->data + i * s->channels * s->width, s->width, line);
        text_add(&file, "%s\n", line);
    }
    int rc = file_write(path, file.s, file.len);
    mem_free(line);
    text_free(&file);
    return rc;
}

static int write_folder(const struct samples *s, const char *dir)
{
    int64_t size = s->channels * s->height * s->width;
    uint8_t *rgb = mem_alloc(s->height * s->width, 3);
    char *grid = text_new("%s/grid.png", dir), *npy = text_new("%s/samples.npy", dir);
    int rc = file_make_dirs(dir);
    for (int64_t i = 0; i < s->n && rc == 0; i++) {
        char *path = sample_path(dir, i);
        pixels_from_sample(s->data + i * size, s->channels, s->height, s->width, rgb);
        rc = image_png_file(rgb, s->height, s->width, path);
        mem_free(path);
    }
    if (rc == 0)
        rc = write_grid(s, FORM_FOLDER, grid);
    if (rc == 0)
        rc = write_npy(s, npy);
    mem_free(npy);
    mem_free(grid);
    mem_free(rgb);
    return rc;
}

int sample_files_write(const struct samples *s, const char *path)
{
    switch (form_of(path)) {
    case FORM_PNG:
        return write_grid(s, FORM_PNG, path);
    case FORM_NPY:
        return write_npy(s, path);
    case FORM_SAFETENSORS:
        return write_safetensors(s, path);
    case FORM_CSV:
        return write_csv(s, path);
    case FORM_TXT:
        return write_txt(s, path);
    case FORM_SVG:
        return sample_curves_write(s, path);
    case FORM_FOLDER:
        break;
    }
    return write_folder(s, path);
}

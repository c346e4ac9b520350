/* Files and directories. A file that others read is written once: under a temporary
 * name, flushed to disk, renamed, and its directory flushed; what exists under its final
 * name is complete. */
#ifndef SLUICE_IO_SYS_FILE_H
#define SLUICE_IO_SYS_FILE_H

#include <stdbool.h>
#include <stdint.h>

/* Reads a whole file of at most max bytes; *data is NUL-terminated beyond *len and freed
 * by the caller with mem_free. Errors: ERR_INPUT (missing, larger than max), ERR_IO. */
int file_read(const char *path, int64_t max, char **data, int64_t *len);

/* Writes a whole file atomically and durably. ERR_IO. */
int file_write(const char *path, const void *data, int64_t len);

/* Appends bytes in one write(2) and flushes to disk. ERR_IO. */
int file_append(const char *path, const void *data, int64_t len);

/* "PATH.tmp.<host>.<pid>"; the caller frees with mem_free. */
char *file_tmp_name(const char *path);

/* fsync tmp, rename to path, fsync the directory; removes tmp when that fails. ERR_IO. */
int file_publish(const char *tmp, const char *path);

/* Gives a sealed file a second name: a hard link, or a copy where the file system has
 * none. What is there under that name stays. ERR_INPUT, ERR_IO. */
int file_link(const char *from, const char *to);

bool file_exists(const char *path);
bool file_is_dir(const char *path);

/* -1 (no pending error) when it does not exist. */
int64_t file_size(const char *path);

/* mkdir -p. ERR_IO. */
int file_make_dirs(const char *path);

/* Names in dir that start with prefix and end with suffix, sorted by byte order; caller
 * frees each and the array with mem_free. A missing directory gives none. ERR_IO. */
int file_list(const char *dir, const char *prefix, const char *suffix, char ***names,
              int64_t *n);
void file_list_free(char **names, int64_t n);

/* Maps a file read-only. An empty file gives *p = NULL, *len = 0. ERR_INPUT, ERR_IO. */
int file_map(const char *path, const unsigned char **p, int64_t *len);
void file_unmap(const unsigned char *p, int64_t len);

#endif

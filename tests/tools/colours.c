/* colours FILE: height and width of a picture, its number of different colours, the share
 * of its pixels that have not the most frequent one, and that one. */
#include "io/image.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"

#include <stdio.h>
#include <stdlib.h>

static int by_value(const void *a, const void *b)
{
    const uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    uint8_t *rgb;
    int64_t height, width, colours = 0, most = 0;
    uint32_t common = 0;
    if (argc != 2 || image_read(argv[1], &rgb, &height, &width) != 0) {
        fprintf(stderr, "%s\n", argc == 2 ? err_text() : "usage: colours FILE");
        return 1;
    }
    const int64_t n = height * width;
    uint32_t *value = mem_alloc(n, sizeof *value);
    for (int64_t i = 0; i < n; i++)
        value[i] = (uint32_t)rgb[3 * i] << 16 | (uint32_t)rgb[3 * i + 1] << 8 | rgb[3 * i + 2];
    qsort(value, (size_t)n, sizeof *value, by_value);
    for (int64_t i = 0, end; i < n; i = end) {
        for (end = i; end < n && value[end] == value[i]; end++)
            ;
        colours++;
        common = end - i > most ? value[i] : common;
        most = end - i > most ? end - i : most;
    }
    printf("%lld %lld %lld %.4f %06x\n", (long long)height, (long long)width,
           (long long)colours, 1 - (double)most / (double)n, (unsigned)common);
    mem_free(value);
    mem_free(rgb);
    return 0;
}

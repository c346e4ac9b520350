/* Training data: the real files, small files of each format, and damaged ones. */
#include "io/dataset.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "tests/tap.h"

#include <hdf5.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char path[64], second[64], h5[64];

static void write_bytes(const char *where, const void *p, int64_t n)
{
    if (file_write(where, p, n) != 0)
        printf("# %s\n", err_text());
}

static void refused(const void *p, int64_t n, const char *format, const char *said)
{
    struct dataset d;
    write_bytes(path, p, n);
    int rc = dataset_read(&d, path, format, NULL);
    tap_ok(rc == -1 && d.sample == NULL && strstr(err_text(), said) != NULL,
           "%s refused: %s", format, rc == 0 ? "(accepted)" : err_text());
    if (rc == 0)
        dataset_free(&d);
}

static void test_shared(const char *name, const char *labels, const int64_t want[5])
{
    struct dataset d;
    char sub[96];
    snprintf(sub, sizeof sub, "data/%s", name);
    const char *file = tap_shared(sub);
    if (file == NULL) {
        tap_skip(name, "the data sets are not here");
        return;
    }
    int rc = dataset_read(&d, file, "auto", labels);
    if (!tap_ok(rc == 0 && d.n == want[0] && d.channels == want[1] &&
                    d.height == want[2] && d.width == want[3] && d.classes == want[4],
                "%s is read: %s", name, rc == 0 ? "" : err_text()))
        return;
    float low = d.sample[0], high = low;
    for (int64_t i = 0; i < d.n * d.channels * d.height * d.width; i++) {
        low = fminf(low, d.sample[i]);
        high = fmaxf(high, d.sample[i]);
    }
    if (d.channels == 3) {
        tap_ok(low == -1 && high == 1, "%s: pixels span [-1, 1]", name);
        const int64_t keep[] = {1, 3};
        int64_t before = d.n, good = 0;
        dataset_keep(&d, keep, 2);
        for (int64_t i = 0; i < d.n; i++)
            good += d.label[i] == 1 || d.label[i] == 3;
        tap_ok(d.n > 0 && d.n < before && good == d.n, "%s: two classes kept", name);
    } else {
        tap_ok(low >= 0 && high < 1000, "%s: values as they are, %g to %g", name,
               (double)low, (double)high);
    }
    dataset_free(&d);
}

static void test_idx(void)
{
    static const unsigned char pictures[] = {0, 0, 8, 3, 0, 0, 0, 2,   0,  0,
                                             0, 1, 0, 0, 0, 2, 0, 255, 51, 204};
    static const unsigned char labels[] = {0, 0, 8, 1, 0, 0, 0, 2, 4, 1};
    struct dataset d;
    write_bytes(path, pictures, sizeof pictures);
    write_bytes(second, labels, sizeof labels);
    tap_ok(dataset_read(&d, path, "auto", second) == 0 && d.n == 2 && d.height == 1 &&
               d.width == 2 && d.classes == 5 && d.label[1] == 1 && d.sample[0] == -1 &&
               d.sample[1] == 1,
           "idx with labels");
    dataset_free(&d);
    write_bytes(second, labels, sizeof labels - 1);
    tap_ok(dataset_read(&d, path, "idx", second) != 0 && d.sample == NULL,
           "a label short: %s", err_text());
    refused(pictures, sizeof pictures - 1, "idx", "the header promises 4 bytes");
    refused(pictures, 7, "idx", "idx header");
    refused("\1\0\10\3", 4, "idx", "two zero bytes");
    refused("\0\0\15\3aaaaaaaaaaaa", 16, "idx", "unsigned bytes");
    refused("\0\0\10\4\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377\377",
            20, "idx", "makes no sense");
}

/* An npy file with this header text and 8 bytes of data. */
static int64_t npy(unsigned char *out, int version, const char *header)
{
    int64_t n = (int64_t)strlen(header), at = version == 1 ? 10 : 12;
    memcpy(out, "\x93NUMPY\0\0\0\0\0\0", 12);
    out[6] = (unsigned char)version;
    out[8] = (unsigned char)n;
    memcpy(out + at, header, (size_t)n);
    memcpy(out + at + n, "\0\0\200\77\0\0\0\300", 8); /* 1, -2 */
    return at + n + 8;
}

static void test_npy(void)
{
    unsigned char b[256];
    struct dataset d;
    static const char good[] =
        "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 2), }";
    for (int version = 1; version <= 2; version++) {
        write_bytes(path, b, npy(b, version, good));
        tap_ok(dataset_read(&d, path, "auto", NULL) == 0 && d.n == 1 && d.width == 2 &&
                   d.sample[0] == 1 && d.sample[1] == -2,
               "npy version %d", version);
        dataset_free(&d);
    }
    write_bytes(path, b,
                npy(b, 1,
                    "{'descr': '|u1', 'fortran_order': False, 'shape': "
                    "(2, 1, 2, 2)}"));
    tap_ok(dataset_read(&d, path, "npy", NULL) == 0 && d.n == 2 && d.channels == 1 &&
               d.sample[0] == -1 && fabsf(d.sample[2] - (128 / 127.5f - 1)) < 1e-6f,
           "npy of uint8 becomes [-1, 1]");
    dataset_free(&d);
    refused(b, npy(b, 1, "{'descr': '<f8', 'fortran_order': False, 'shape': (1,)}"),
            "npy", "dtype '<f8'");
    refused(b, npy(b, 1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 2)}"),
            "npy", "C order");
    refused(b, npy(b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, 3)}"),
            "npy", "promises 12 bytes");
    refused(b, npy(b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (2)}"),
            "npy", "1 dimensions");
    refused(b, npy(b, 1, "{'descr': '<f4', 'fortran_order': False, 'shape': (1, -2)}"),
            "npy", "no usable shape");
    refused(b,
            npy(b, 1,
                "{'descr': '<f4', 'fortran_order': False, 'shape': "
                "(4611686018427387904, 8)}"),
            "npy", "makes no sense");
    npy(b, 1, good);
    b[9] = 255;
    refused(b, 80, "npy", "does not fit");
    refused(b, 5, "npy", "is no npy file");
    int64_t n = npy(b, 1, good);
    memcpy(b + n - 4, "\0\0\300\177", 4);
    refused(b, n, "npy", "not finite");
}

static void test_csv(void)
{
    struct dataset d;
    static const char text[] = "a,b,c\n1, 2.5 ,3\r\n\n4,5e-1,0";
    write_bytes(path, text, sizeof text - 1);
    tap_ok(dataset_read(&d, path, "csv", NULL) == 0 && d.n == 2 && d.width == 3 &&
               d.label == NULL && d.sample[1] == 2.5f && d.sample[4] == 0.5f,
           "csv with a header and a blank line");
    dataset_free(&d);
    tap_ok(dataset_read(&d, path, "csv", "last") == 0 && d.width == 2 &&
               d.classes == 4 && d.label[0] == 3,
           "csv with labels");
    dataset_free(&d);
    refused("1,2\n3\n", 6, "csv", ":2: has 1 columns, 2");
    refused("1,2\n3,\n", 7, "csv", ":2: column 2");
    refused("1,2\n3,nan\n", 10, "csv", ":2: column 2");
    refused("1,2\n3,1e300\n", 12, "csv", ":2: column 2"); /* no float */
    refused("a,b\n", 4, "csv", "no rows");
    refused("", 0, "csv", "no rows");
    refused("x", 1, "auto", "not recognised");
    refused("x", 1, "cifar", "no whole number");
    refused("x", 1, "png", "one of auto");
    write_bytes(path, "1,2.5\n", 6);
    tap_ok(dataset_read(&d, path, "csv", "last") != 0 && d.sample == NULL,
           "a fractional label: %s", err_text());
}

/* Many short texts and a long one: one-hot, all of them would be as long. */
static void test_text(void)
{
    struct coding coding = {.kind = CODING_NONE};
    struct dataset d;
    FILE *f = fopen(path, "wb");
    fputs("seq\n", f);
    for (int i = 0; i < 1000000; i++)
        fputc('A', f);
    for (int i = 0; i < 1000000; i++)
        fputs("\nC", f);
    fclose(f);
    tap_ok(dataset_read_text(&d, path, "seq", 0, &coding) != 0 &&
               err_code() == ERR_INPUT && strstr(err_text(), "more than the memory") != NULL,
           "texts that need more memory than there is: %s", err_text());
}

/* A chunked data set of terabytes, of which one chunk was written. */
static void test_sparse(void)
{
    char name[160];
    struct dataset d;
    const hsize_t dim[2] = {1 << 20, 1 << 16}, chunk[2] = {1, 16}, zero[2] = {0, 0};
    const float one[16] = {0};
    hid_t file = H5Fcreate(h5, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
    hid_t list = H5Pcreate(H5P_DATASET_CREATE), space = H5Screate_simple(2, dim, NULL);
    H5Pset_chunk(list, 2, chunk);
    hid_t set = H5Dcreate2(file, "x", H5T_IEEE_F32LE, space, H5P_DEFAULT, list, H5P_DEFAULT);
    hid_t part = H5Screate_simple(2, chunk, NULL);
    H5Sselect_hyperslab(space, H5S_SELECT_SET, zero, NULL, chunk, NULL);
    H5Dwrite(set, H5T_NATIVE_FLOAT, part, space, H5P_DEFAULT, one);
    H5Sclose(part);
    H5Dclose(set);
    H5Sclose(space);
    H5Pclose(list);
    H5Fclose(file);
    snprintf(name, sizeof name, "%s:/x", h5);
    tap_ok(dataset_read(&d, name, "auto", NULL) != 0 && err_code() == ERR_INPUT &&
               strstr(err_text(), "far fewer are stored") != NULL,
           "HDF5 that promises more than it holds: %s", err_text());
    unlink(h5);
}

int main(void)
{
    snprintf(h5, sizeof h5, "/tmp/sluice_dataset_%ld.h5", (long)getpid());
    snprintf(path, sizeof path, "/tmp/sluice_dataset_%ld", (long)getpid());
    snprintf(second, sizeof second, "/tmp/sluice_dataset_%ld.labels", (long)getpid());
    test_shared("emoji32/emoji32.bin", NULL, (int64_t[]){1911, 3, 32, 32, 10});
    test_shared("kodak32/kodak32.bin", NULL, (int64_t[]){2304, 3, 32, 32, 24});
    test_shared("digits8/digits.csv", "last", (int64_t[]){1797, 1, 1, 64, 10});
    test_shared("power/power_day24_kw.npy", NULL, (int64_t[]){1410, 1, 1, 24, 0});
    test_idx();
    test_npy();
    test_csv();
    test_text();
    test_sparse();
    unlink(path);
    unlink(second);
    struct dataset d;
    tap_ok(dataset_read(&d, path, "auto", NULL) != 0 && err_code() == ERR_INPUT,
           "a missing file: %s", err_text());
    tap_ok(mem_live() == 0, "nothing leaks");
    return tap_done();
}

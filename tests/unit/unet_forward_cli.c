/* `sluice forward` as a user runs it: results against the peer's, and refusals with
 * their exit codes. Runs the executable (SLUICE_BIN, default build/sluice), one
 * process. */
#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "tests/tap.h"

#include <sys/wait.h>
#include <unistd.h>

static char root[1100], work[64];
static char output[4096]; /* of the last command, both streams */

static int sluice(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int sluice(const char *fmt, ...)
{
    const char *bin = getenv("SLUICE_BIN");
    struct text t = {0};
    char args[3000];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(args, sizeof args, fmt, ap);
    va_end(ap);
    text_add(&t, "%s forward %s 2>&1", bin != NULL ? bin : "build/sluice", args);
    FILE *p = popen(t.s, "r");
    if (p == NULL)
        abort();
    output[fread(output, 1, sizeof output - 1, p)] = '\0';
    int status = pclose(p);
    text_free(&t);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void refuses(int got, int code, const char *word, const char *what)
{
    char *line = strchr(output, '\n');
    if (line != NULL)
        *line = '\0';
    tap_ok(got == code && strstr(output, word) != NULL, "%s: exit %d: %s", what, got,
           output);
}

static double *values(const struct st_file *f, const char *name, int64_t *n)
{
    const struct st_tensor *t = f == NULL ? NULL : st_find(f, name);
    if (t == NULL) {
        printf("Bail out! no tensor %s: %s\n", name, err_text());
        exit(1);
    }
    double *v = mem_alloc(t->count, sizeof *v);
    if (st_to_f64(t, v) != 0)
        abort();
    *n = t->count;
    return v;
}

static void same(const struct st_file *a, const char *name, const struct st_file *b,
                 const char *peer, double bound)
{
    int64_t n = 0, m = 0;
    double *x = values(a, name, &n), *y = values(b, peer, &m), d = 0, l = 0;
    for (int64_t i = 0; i < n && n == m; i++) {
        d += (x[i] - y[i]) * (x[i] - y[i]);
        l += y[i] * y[i];
    }
    tap_ok(n == m && sqrt(d / l) <= bound, "%s: relative distance %.3g (at most %.3g)",
           name, sqrt(d / l), bound);
    mem_free(x);
    mem_free(y);
}

static void test_results(void)
{
    char *in = text_new("%s/unet_tiny/io.safetensors", root);
    char *grads = text_new("%s/unet_tiny/grads.safetensors", root);
    char *out = text_new("%s/out.safetensors", work);
    tap_ok(sluice("%s/unet_tiny --in %s --out %s --threads 2", root, in, out) == 0,
           "a pipeline folder, with target: %s", output);
    struct st_file *a = st_open(out), *b = st_open(in), *g = st_open(grads);
    same(a, "output", b, "eps_f64", 4e-6);
    same(a, "loss", b, "loss_f64", 4e-7);
    same(a, "grad.x", b, "dx_f64", 4e-6);
    tap_ok(a != NULL && st_number(a) == 182 + 3, "every parameter has its gradient");
    same(a, "grad.conv_in.weight", g, "grad.conv_in.weight", 1.4e-5);
    same(a, "grad.mid_block.attentions.0.to_out.0.weight", g,
         "grad.mid_block.attentions.0.to_out.0.weight", 1.4e-5);
    tap_ok(st_find(a, "loss")->nd == 0, "the loss is a scalar");
    st_close(g);
    st_close(b);
    st_close(a);
    refuses(
        sluice(
            "--in %s/unet_variants/one_level/io.safetensors %s/unet_oldnames --out %s",
            root, root, out),
        3, "multiples of 2", "an odd size at a level that halves");
    mem_free(in);
    in = text_new("%s/unet_oldnames/io.safetensors", root);
    tap_ok(sluice("--in %s %s/unet_oldnames --out %s", in, root, out) == 0,
           "the network's own folder, no target: %s", output);
    a = st_open(out);
    tap_ok(a != NULL && st_number(a) == 1, "without target there is the output only");
    st_close(a);
    tap_ok(sluice("%s/unet_variants/class_cond --in %s/unet_variants/class_cond/"
                  "io.safetensors --out %s --seed 2019",
                  root, root, out) == 0,
           "weights from the generator, with classes: %s", output);
    mem_free(out);
    mem_free(grads);
    mem_free(in);
}

/* Timesteps as one number of any type. */
static void test_timesteps(void)
{
    float *x = mem_alloc(2 * 3 * 8 * 8, sizeof *x), third = 7.5f;
    const double one = 7.5;
    const unsigned char seven = 7;
    char *in = text_new("%s/in.safetensors", work), *a = text_new("%s/a", work);
    char *b = text_new("%s/b", work);
    const struct st_out tx = {
        .name = "x", .type = ST_F32, .nd = 4, .dim = {2, 3, 8, 8}, .data = x};
    for (int i = 0; i < 2 * 3 * 8 * 8; i++)
        x[i] = (float)sin(i);
    struct st_out t[2] = {tx, {.name = "timesteps", .type = ST_F64, .data = &one}};
    int rc = st_write(in, t, 2);
    rc |= sluice("%s/unet_oldnames --in %s --out %s", root, in, a);
    t[1] = (struct st_out){"timesteps", ST_F32, 1, {1}, &third};
    rc |= st_write(in, t, 2);
    rc |= sluice("%s/unet_oldnames --in %s --out %s", root, in, b);
    struct st_file *fa = st_open(a), *fb = st_open(b);
    tap_ok(rc == 0, "timesteps as a float64 scalar and as float32 [1]: %s", output);
    same(fa, "output", fb, "output", 0);
    st_close(fb);
    st_close(fa);
    t[1] = (struct st_out){"timesteps", ST_U8, 1, {1}, &seven};
    tap_ok(st_write(in, t, 2) == 0 &&
               sluice("%s/unet_oldnames --in %s --out %s", root, in, b) == 0,
           "timesteps as u8: %s", output);
    t[1] = (struct st_out){"timesteps", ST_F32, 1, {3}, x};
    rc = st_write(in, t, 2);
    refuses(sluice("%s/unet_oldnames --in %s --out %s", root, in, b), 3, "timesteps",
            "three timesteps for two items");
    rc = st_write(in, t, 1);
    refuses(sluice("%s/unet_oldnames --in %s --out %s", root, in, b), 3, "timesteps",
            "no timesteps");
    t[0].dim[1] = 2;
    t[0].dim[0] = 3;
    rc = st_write(in, t, 1);
    refuses(sluice("%s/unet_oldnames --in %s --out %s", root, in, b), 3,
            "x:", "two channels for three");
    tap_ok(rc == 0, "files written");
    mem_free(b);
    mem_free(a);
    mem_free(in);
    mem_free(x);
}

static void test_refusals(void)
{
    char *in = text_new("%s/unet_tiny/io.safetensors", root);
    const char *o = "/dev/null/x";
    refuses(sluice("%s/unet_tiny --in %s", root, in), 2, "--out", "no --out");
    refuses(sluice("--in %s --out %s", in, o), 2, "MODEL", "no model");
    refuses(sluice("%s/unet_tiny --in %s --otu %s", root, in, o), 2, "--out",
            "a misspelt option");
    refuses(sluice("%s/unet_tiny --in %s --out %s --threads 0", root, in, o), 2,
            "--threads", "no threads");
    refuses(sluice("%s/unet_tiny --in %s --out %s --dtype f64", root, in, o), 2, "f64",
            "an unknown type");
    refuses(sluice("%s/nowhere --in %s --out %s", root, in, o), 3, "nowhere",
            "a missing model");
    refuses(sluice("%s/unet_tiny --in %s/nothing --out %s", root, root, o), 3,
            "nothing", "a missing input");
    refuses(sluice("%s/unet_cifar10 --in %s --out %s", root, in, o), 3, "no weights",
            "no weights and no seed");
    refuses(sluice("%s/sd_tiny --in %s --out %s", root, in, o), 3,
            "UNet2DConditionModel", "another class of network");
    refuses(sluice("%s/unet_tiny --in %s --out /nonexistent/x", root, in), 3,
            "nonexistent", "an output folder that is not there");
    mem_free(in);
}

int main(void)
{
    const char *dir = tap_shared("goldens");
    if (dir == NULL)
        return tap_skip_all("the reference numbers (goldens) are not here");
    snprintf(root, sizeof root, "%s", dir);
    if (sluice("--help") != 0 || strstr(output, "usage") == NULL)
        return tap_skip_all("no executable with the forward command");
    snprintf(work, sizeof work, "/tmp/sluice-forward-%ld", (long)getpid());
    if (file_make_dirs(work) != 0)
        return tap_skip_all("no temporary folder");
    test_results();
    test_timesteps();
    test_refusals();
    static const char *const left[] = {"out.safetensors", "in.safetensors", "a", "b"};
    for (int i = 0; i < 4; i++) {
        char *path = text_new("%s/%s", work, left[i]);
        unlink(path);
        mem_free(path);
    }
    tap_ok(rmdir(work) == 0, "nothing else was written");
    return tap_done();
}

/* `sluice forward`: one evaluation of a network on tensors from a file, for comparing
 * it with another implementation. */
#include "pipeline/arguments.h"
#include "pipeline/cmd.h"

#include "io/safetensors.h"
#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"
#include "pipeline/compute.h"
#include "stages/model/model.h"

#include <math.h>
#include <omp.h>
#include <string.h>

static const char help[] =
    "usage: sluice forward MODEL --in F.safetensors --out G.safetensors [OPTIONS]\n"
    "\n"
    "Evaluates a network once. MODEL is a diffusers folder: a pipeline folder, its\n"
    "unet/, or a folder with config.json and diffusion_pytorch_model.safetensors.\n"
    "\n"
    "F holds  x             [batch, channels, height, width]\n"
    "         timesteps     [batch], or one number for all; any integer or float type\n"
    "         class_labels  [batch], or one number (class-conditional networks)\n"
    "         target        as x (optional)\n"
    "G gets   output; with target also loss = mean((output - target)^2), grad.x, and\n"
    "         grad.NAME for every parameter NAME of the checkpoint.\n"
    "\n"
    "  --dtype D         f32 (default), bf16 (where the processor has it, else f32) or\n"
    "                    bf16-emulated\n"
    "  --seed N          weights from the generator where the folder has no weight "
    "file\n"
    "  --threads N       threads (default: the cores of this process)\n"
    "  --help            this text\n"
    "\n"
    "Exit codes: 0 done, 2 usage, 3 bad model or input, 4 the machine lacks something, 5 I/O.\n";

struct options {
    const char *model, *in, *out, *dtype;
    int64_t seed, threads;
};

static int read_number(const char *name, const char *text, int64_t low, int64_t *out)
{
    if (!text_to_i64(text, out) || *out < low)
        return err_set(ERR_USAGE, "%s: '%s' is no integer of at least %lld", name, text,
                       (long long)low);
    return 0;
}

static int read_options(int argc, char **argv, struct options *o)
{
    *o = (struct options){.dtype = "f32", .seed = -1, .threads = omp_get_num_procs()};
    for (int i = 1; i < argc; i++) {
        static const char *const names[] = {"--in",   "--out",     "--dtype",
                                            "--seed", "--threads", "--help"};
        const char *name = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
        int k = 0, rc = 0;
        if (strncmp(name, "--", 2) != 0) {
            if (o->model != NULL)
                return err_set(ERR_USAGE, "one MODEL is wanted, '%s' is a second",
                               name);
            o->model = name;
            continue;
        }
        while (k < 5 && strcmp(names[k], name) != 0)
            k++;
        if (k == 5) {
            const char *near = text_nearest(name, names, 6);
            return err_set(ERR_USAGE, "unknown option '%s'%s%s", name,
                           near != NULL ? ", did you mean " : "; see --help",
                           near != NULL ? near : "");
        }
        if (value == NULL)
            return err_set(ERR_USAGE, "%s needs a value", name);
        i++;
        if (k == 3)
            rc = read_number(name, value, 0, &o->seed);
        else if (k == 4)
            rc = read_number(name, value, 1, &o->threads);
        else
            *(const char **[]){&o->in, &o->out, &o->dtype}[k] = value;
        if (rc != 0)
            return -1;
    }
    if (o->model == NULL || o->in == NULL || o->out == NULL)
        return err_set(ERR_USAGE, "MODEL, --in and --out are needed; see --help");
    if (o->threads > 4096)
        return err_set(ERR_USAGE, "--threads: at most 4096");
    if (strcmp(o->dtype, "f32") != 0 && strcmp(o->dtype, "bf16") != 0 &&
        strcmp(o->dtype, "bf16-emulated") != 0)
        return err_set(ERR_USAGE, "--dtype: '%s' is not one of %s", o->dtype,
                       COMPUTE_DTYPES);
    return 0;
}

/* The arrays of the input file, owned. */
struct given {
    struct model_input in;
    float *x, *timesteps, *target;
    int64_t *labels;
};

static void free_given(struct given *g)
{
    mem_free(g->x);
    mem_free(g->timesteps);
    mem_free(g->target);
    mem_free(g->labels);
}

static float *read_floats(const struct st_tensor *t)
{
    float *v = mem_alloc(t->count, sizeof *v);
    if (st_to_f32(t, v) == 0)
        return v;
    mem_free(v);
    return NULL;
}

/* One number per item, or one for all. */
static int check_per_item(const struct st_tensor *t, int64_t batch)
{
    if (t->nd > 1 || (t->count != batch && t->count != 1))
        return err_set(
            ERR_INPUT,
            "%s: must have shape [%lld], or be one number for the whole batch", t->name,
            (long long)batch);
    return 0;
}

static int read_x(const struct st_file *f, const struct model *m, struct given *g)
{
    const struct st_tensor *x = st_find(f, "x"), *target = st_find(f, "target");
    int64_t dim[3];
    model_sample_shape(m, dim);
    if (x == NULL)
        return err_set(ERR_INPUT, "tensor 'x' is missing");
    if (x->nd != 4 || x->dim[1] != dim[0] || x->count < 1)
        return err_set(
            ERR_INPUT,
            "x: shape [batch, %lld, height, width] is wanted, none of them 0",
            (long long)dim[0]);
    g->in.batch = x->dim[0];
    g->in.height = x->dim[2];
    g->in.width = x->dim[3];
    g->x = read_floats(x);
    g->in.x = g->x;
    if (g->x == NULL)
        return -1;
    if (target == NULL)
        return 0;
    if (target->nd != 4 || memcmp(target->dim, x->dim, 4 * sizeof x->dim[0]) != 0)
        return err_set(ERR_INPUT, "target: must have the shape of x");
    g->in.want_dx = true;
    g->target = read_floats(target);
    return g->target != NULL ? 0 : -1;
}

static int read_labels(const struct st_file *f, const struct model *m, struct given *g)
{
    const struct st_tensor *t = st_find(f, "class_labels");
    if (t == NULL)
        return 0; /* whether they are needed is the network's to say */
    if (model_classes(m) == 0)
        return err_set(ERR_INPUT, "class_labels: this network has no classes");
    if (check_per_item(t, g->in.batch) != 0)
        return -1;
    g->labels = mem_alloc(g->in.batch, sizeof *g->labels);
    g->in.labels = g->labels;
    if (st_to_i64(t, g->labels) != 0)
        return -1;
    for (int64_t i = 1; i < g->in.batch && t->count == 1; i++)
        g->labels[i] = g->labels[0];
    return 0;
}

static int read_timesteps(const struct st_file *f, struct given *g)
{
    const struct st_tensor *t = st_find(f, "timesteps");
    if (t == NULL)
        return err_set(ERR_INPUT, "tensor 'timesteps' is missing");
    if (check_per_item(t, g->in.batch) != 0)
        return -1;
    g->timesteps = mem_alloc(g->in.batch, sizeof *g->timesteps);
    g->in.timesteps = g->timesteps;
    if (st_to_f32(t, g->timesteps) != 0)
        return -1;
    for (int64_t i = 1; i < g->in.batch && t->count == 1; i++)
        g->timesteps[i] = g->timesteps[0];
    return 0;
}

static int read_given(const char *path, const struct model *m, struct given *g)
{
    struct st_file *f = st_open(path);
    int rc = -1;
    if (f == NULL)
        return -1;
    if (read_x(f, m, g) == 0 && read_timesteps(f, g) == 0 && read_labels(f, m, g) == 0)
        rc = 0;
    else
        err_add("%s", path);
    st_close(f);
    return rc;
}

/* loss = mean((out - target)^2) and, into seed, its derivative by out. */
static double squared_error(const struct tensor *out, const float *target, float *seed)
{
    int64_t n = tensor_count(out);
    const float *value = out->data;
    double sum = 0;
    for (int64_t i = 0; i < n; i++) {
        double d = (double)value[i] - (double)target[i];
        sum += d * d;
        seed[i] = (float)(2 * d / (double)n);
    }
    return sum / (double)n;
}

static struct st_out entry(const char *name, const struct tensor *t, const float *data)
{
    struct st_out o = {.name = name, .type = ST_F32, .nd = t->nd, .data = data};
    memcpy(o.dim, t->dim, sizeof t->dim);
    return o;
}

/* loss: NULL without target. */
static int write_result(const char *path, struct model *m, const struct tensor *out,
                        const struct tensor *x, const double *loss)
{
    struct param_set *s = model_params(m);
    int64_t n = 0, params = loss != NULL ? param_number(s) : 0;
    struct st_out *t = mem_alloc(params + 3, sizeof *t);
    char **names = mem_alloc(params, sizeof *names);
    t[n++] = entry("output", out, out->data);
    if (loss != NULL) {
        t[n++] = (struct st_out){.name = "loss", .type = ST_F64, .data = loss};
        t[n++] = entry("grad.x", x, x->grad);
    }
    for (int64_t i = 0; i < params; i++) {
        const struct param *p = param_at(s, i);
        names[i] = text_new("grad.%s", p->name);
        t[n++] = entry(names[i], &p->t, p->t.grad);
    }
    int rc = st_write(path, t, n);
    for (int64_t i = 0; i < params; i++)
        mem_free(names[i]);
    mem_free(names);
    mem_free(t);
    return rc;
}

static int evaluate(const struct options *o, struct model *m, struct tape *tape,
                    const struct given *g)
{
    struct tensor *x = NULL;
    double loss = 0;
    tape_begin(tape, g->target != NULL);
    struct tensor *out = model_forward(m, tape, &g->in, &x);
    if (out == NULL)
        return err_add("%s", o->in);
    if (g->target == NULL)
        return write_result(o->out, m, out, x, NULL);
    float *seed = mem_alloc(tensor_count(out), sizeof *seed);
    loss = squared_error(out, g->target, seed);
    int rc = tape_backward(tape, out, seed);
    mem_free(seed);
    return rc != 0 ? -1 : write_result(o->out, m, out, x, &loss);
}

int cmd_forward(int argc, char **argv)
{
    struct options o;
    struct given g = {.x = NULL};
    struct model *m = NULL;
    struct tape *tape = NULL;
    int rc = -1;
    if (arguments_help(argc, argv, help, NULL, NULL))
        return 0;
    if (read_options(argc, argv, &o) != 0)
        goto done;
    m = model_open(o.model, o.seed, true);
    if (m == NULL || read_given(o.in, m, &g) != 0)
        goto done;
    const struct compute how = {
        .backend = "onednn", .dtype = o.dtype, .threads = (int)o.threads};
    tape = compute_open(&how, NULL);
    if (tape == NULL)
        goto done;
    rc = evaluate(&o, m, tape, &g);
done:
    tape_destroy(tape);
    free_given(&g);
    model_destroy(m);
    return rc == 0 ? 0 : cmd_fail("forward");
}

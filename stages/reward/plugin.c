/* The host's side of sluice_reward.h. The object is loaded, checked and then trusted
 * with memory but with nothing else: statuses that do not exist, scores and gradients
 * that are not finite, another rounding mode do not get past this file.
 *
 * Objects stay in memory (RTLD_NODELETE): their strings are borrowed, and threads that
 * a runtime of theirs has started would else run in code that is gone. */
#include "stages/reward/plugin.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/log.h"
#include "io/sys/mem.h"
#include "stages/reward/plugin/sluice_reward.h"

#include <dlfcn.h>
#include <fenv.h>
#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ENTRY "sluice_reward_entry"

enum {
    MESSAGE = 512,
    PART =
        8, /* samples per call where calls are parallel: results see no thread count */
};

typedef const struct sluice_reward_description *(*entry_f)(
    const struct sluice_reward_host *);

struct library {
    char path[PATH_MAX];
    struct sluice_reward_host host;
    struct sluice_reward_description is;
};

struct scorer {
    struct library library;
    const struct coding *coding; /* NULL-able */
    int64_t channels, height, width, d;
    void *state;
    bool open, warned;
    int64_t room;      /* samples that the buffers hold */
    float *value;      /* [room, d] series in their units, else NULL */
    char *letters;     /* [room, width + 1] texts, else NULL */
    const char **text; /* [room] into letters */
};

static void say(int level, const char *text)
{
    if (level == SLUICE_REWARD_WARNING)
        log_warn("plugin: %.1000s", text != NULL ? text : "");
    else
        log_info("plugin: %.1000s", text != NULL ? text : "");
}

static const struct sluice_reward_description *
call_entry(void *handle, const struct sluice_reward_host *host)
{
    void *symbol = dlsym(handle, ENTRY);
    entry_f entry;
    if (symbol == NULL)
        return NULL;
    memcpy(&entry, &symbol, sizeof entry); /* ISO C has no such conversion */
    return entry(host);
}

/* The description into l->is, by the size that it says it has. */
static int take(struct library *l, const struct sluice_reward_description *d)
{
    if (d == NULL)
        return err_set(ERR_INPUT,
                       "plugin.path %s: " ENTRY
                       " gave no description (NULL): the log may "
                       "say why",
                       l->path);
    if (d->abi != SLUICE_REWARD_ABI)
        return err_set(
            ERR_INPUT,
            "plugin.path %s: built for version %u of the interface, and this "
            "program has version %u: build it with this program's "
            "sluice_reward.h",
            l->path, (unsigned)d->abi, (unsigned)SLUICE_REWARD_ABI);
    size_t least =
        offsetof(struct sluice_reward_description, close) + sizeof l->is.close;
    if (d->size < least)
        return err_set(ERR_INPUT,
                       "plugin.path %s: its description says that it has %u bytes, and "
                       "version %u has %zu: set size to sizeof the struct",
                       l->path, (unsigned)d->size, (unsigned)SLUICE_REWARD_ABI, least);
    memcpy(&l->is, d, d->size < sizeof l->is ? d->size : sizeof l->is);
    if (l->is.name == NULL || l->is.units == NULL || l->is.score == NULL)
        return err_set(ERR_INPUT, "plugin.path %s: its description has no %s", l->path,
                       l->is.name == NULL    ? "name"
                       : l->is.units == NULL ? "units"
                                             : "score function");
    return 0;
}

static int load(struct library *l, const struct config *c)
{
    const char *path = config_text(c, "plugin.path");
    fenv_t
        environment; /* an object linked with -ffast-math changes it as it is loaded */
    *l = (struct library){.host = {.size = sizeof l->host,
                                   .abi = SLUICE_REWARD_ABI,
                                   .software = "sluice",
                                   .options = config_text(c, "plugin.options"),
                                   .log = say}};
    if (path[0] == '\0')
        return err_set(ERR_USAGE,
                       "plugin.path is not set: name the shared object (.so)");
    if (realpath(path, l->path) == NULL)
        return err_set(ERR_INPUT, "plugin.path: %s: no such file", path);
    fegetenv(&environment);
    void *handle = dlopen(l->path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
    if (handle == NULL) {
        fesetenv(&environment);
        return err_set(ERR_INPUT, "plugin.path: cannot be loaded: %s", dlerror());
    }
    int rc =
        dlsym(handle, ENTRY) != NULL
            ? take(l, call_entry(handle, &l->host))
            : err_set(ERR_INPUT,
                      "plugin.path %s: has no symbol " ENTRY ": it is no reward, or "
                      "C++ without extern \"C\" (include sluice_reward.h)",
                      l->path);
    fesetenv(&environment);
    dlclose(handle);
    return rc;
}

static int traits(const struct config *c, struct reward_traits *t)
{
    struct library *l = mem_alloc(1, sizeof *l);
    int rc = load(l, c);
    t->deterministic = (l->is.flags & SLUICE_REWARD_DETERMINISTIC) != 0;
    t->differentiable = (l->is.flags & SLUICE_REWARD_GRADIENT) != 0;
    if (rc == 0)
        t->units = l->is.units;
    mem_free(l);
    return rc;
}

static void close_plugin(void *ctx)
{
    struct scorer *s = ctx;
    if (s == NULL)
        return;
    if (s->open && s->library.is.close != NULL)
        s->library.is.close(s->state);
    mem_free(s->value);
    mem_free(s->letters);
    mem_free(s->text);
    mem_free(s);
}

static enum coding_kind kind_of(const struct scorer *s)
{
    return s->coding != NULL ? s->coding->kind : CODING_NONE;
}

/* A message that the plugin left, cut at its end and without line breaks. */
static const char *tidy(char message[MESSAGE])
{
    message[MESSAGE - 1] = '\0';
    for (char *p = message; *p != '\0'; p++)
        if ((unsigned char)*p < ' ')
            *p = ' ';
    return message[0] != '\0' ? message : "it says no more";
}

static int begin(struct scorer *s, const struct reward_scene *scene)
{
    char message[MESSAGE] = "";
    const struct sluice_reward_scene own = {
        .size = sizeof own,
        .kind = kind_of(s) == CODING_SERIES ? SLUICE_REWARD_SERIES
                : kind_of(s) == CODING_TEXT ? SLUICE_REWARD_TEXT
                                            : SLUICE_REWARD_NUMBERS,
        .channels = s->channels,
        .height = s->height,
        .width = s->width,
        .classes = scene->classes,
        .seed = scene->seed,
        .alphabet = kind_of(s) == CODING_TEXT ? s->coding->alphabet : NULL,
        .message = message,
        .message_size = sizeof message,
    };
    const struct library *l = &s->library;
    fenv_t environment;
    fegetenv(&environment);
    int rc = l->is.open == NULL ? 0 : l->is.open(&l->host, &own, &s->state);
    fesetenv(&environment);
    s->open = rc == 0;
    if (rc != 0)
        return err_set(rc == SLUICE_REWARD_BAD_OPTIONS ? ERR_USAGE : ERR_INPUT,
                       "plugin.path %s: %s does not open (%d): %s", l->path, l->is.name,
                       rc, tidy(message));
    return 0;
}

static int open_plugin(const struct reward_scene *scene, void **ctx)
{
    char digest[DIGEST_HEX];
    struct scorer *s = mem_alloc(1, sizeof *s);
    s->coding = scene->coding;
    s->channels = scene->channels;
    s->height = scene->height;
    s->width = scene->width;
    s->d = scene->channels * scene->height * scene->width;
    if (load(&s->library, scene->config) != 0 ||
        digest_file(s->library.path, digest) != 0 || begin(s, scene) != 0) {
        close_plugin(s);
        return -1;
    }
    log_info("plugin %s from %s, SHA-256 %s", s->library.is.name, s->library.path,
             digest);
    *ctx = s;
    return 0;
}

/* Samples in the form that the plugin sees: series decoded, texts read. */
static void show(struct scorer *s, const struct reward_batch *b)
{
    if (b->n > s->room) {
        if (kind_of(s) == CODING_SERIES)
            s->value =
                mem_resize(s->value, s->room * s->d, b->n * s->d, sizeof *s->value);
        if (kind_of(s) == CODING_TEXT) {
            s->letters = mem_resize(s->letters, s->room * (s->width + 1),
                                    b->n * (s->width + 1), 1);
            s->text = mem_resize(s->text, s->room, b->n, sizeof *s->text);
        }
        s->room = b->n;
    }
    if (kind_of(s) == CODING_SERIES) {
        memcpy(s->value, b->sample, (size_t)(b->n * s->d) * sizeof *s->value);
        coding_decode(s->coding, s->value, b->n * s->d);
    }
    for (int64_t i = 0; i < b->n && kind_of(s) == CODING_TEXT; i++) {
        char *letters = s->letters + i * (s->width + 1);
        coding_decode_text(s->coding, b->sample + i * s->d, s->width, letters);
        s->text[i] = letters;
    }
}

/* Samples [at, at + n). message [MESSAGE]: "". */
static int call(const struct scorer *s, const struct reward_batch *b, int64_t at,
                int64_t n, char *message)
{
    const struct sluice_reward_batch own = {
        .size = sizeof own,
        .n = n,
        .channels = s->channels,
        .height = s->height,
        .width = s->width,
        .iteration = b->iteration,
        .first = b->first + at,
        .sample = (s->value != NULL ? s->value : b->sample) + at * s->d,
        .label = b->label != NULL ? b->label + at : NULL,
        .text = s->text != NULL ? s->text + at : NULL,
        .score = b->score + at,
        .status = b->status + at,
        .gradient = b->gradient != NULL ? b->gradient + at * s->d : NULL,
        .message = message,
        .message_size = MESSAGE,
    };
    fenv_t environment;
    fegetenv(&environment);
    int rc = s->library.is.score(s->state, &own);
    fesetenv(&environment);
    return rc;
}

static int call_all(const struct scorer *s, const struct reward_batch *b)
{
    bool parallel = (s->library.is.flags & SLUICE_REWARD_THREADS) != 0;
    int64_t size = parallel ? PART : b->n, parts = (b->n + size - 1) / size;
    char *message = mem_alloc(parts, MESSAGE);
    int *rc = mem_alloc(parts, sizeof *rc), failed = 0;
#pragma omp parallel for schedule(dynamic) if (parallel)
    for (int64_t k = 0; k < parts; k++)
        rc[k] = call(s, b, k * size, b->n - k * size < size ? b->n - k * size : size,
                     message + k * MESSAGE);
    for (int64_t k = 0; k < parts && failed == 0; k++)
        if (rc[k] != 0)
            failed = err_set(ERR_REWARD, "plugin.path %s: %s cannot score (%d): %s",
                             s->library.path, s->library.is.name, rc[k],
                             tidy(message + k * MESSAGE));
    mem_free(message);
    mem_free(rc);
    return failed;
}

/* d score / d value to d score / d number of the network; finite? */
static bool chain_rule(const struct scorer *s, const float *value, float *gradient)
{
    float worst = 0;
    for (int64_t j = 0; j < s->d; j++) {
        if (value != NULL)
            gradient[j] = (float)((double)gradient[j] * s->coding->std *
                                  (s->coding->log ? (double)value[j] : 1));
        worst += gradient[j] * 0.0f; /* NaN from any infinity or NaN */
    }
    return worst == 0;
}

static void check(struct scorer *s, const struct reward_batch *b, int64_t i)
{
    float *gradient = b->gradient != NULL ? b->gradient + i * s->d : NULL;
    const float *value = s->value != NULL ? s->value + i * s->d : NULL;
    if (b->status[i] > REWARD_NON_FINITE) {
        if (!s->warned)
            log_warn(
                "plugin.path %s: %s gave the status %d, which there is not: the sample "
                "counts as failed (said once)",
                s->library.path, s->library.is.name, b->status[i]);
        s->warned = true;
        b->status[i] = REWARD_FAILED;
    }
    if (b->status[i] == REWARD_OK &&
        (!isfinite(b->score[i]) ||
         (gradient != NULL && !chain_rule(s, value, gradient))))
        b->status[i] = REWARD_NON_FINITE;
    if (b->status[i] == REWARD_OK)
        return;
    b->score[i] = (double)NAN;
    if (gradient != NULL)
        memset(gradient, 0, (size_t)s->d * sizeof *gradient);
}

static int score(void *ctx, const struct reward_batch *b)
{
    struct scorer *s = ctx;
    if (b->n == 0)
        return 0;
    show(s, b);
    for (int64_t i = 0; i < b->n; i++) {
        b->score[i] = (double)NAN;
        b->status[i] = REWARD_OK;
    }
    if (b->gradient != NULL)
        memset(b->gradient, 0, (size_t)(b->n * s->d) * sizeof *b->gradient);
    if (call_all(s, b) != 0)
        return -1;
    for (int64_t i = 0; i < b->n; i++)
        check(s, b, i);
    return 0;
}

static void identify(void *ctx, struct digest *d)
{
    const struct scorer *s = ctx;
    char hex[DIGEST_HEX] = "";
    if (digest_file(s->library.path, hex) != 0)
        err_clear(); /* gone since it was loaded: its path has to do */
    digest_add_text(d, s->library.path);
    digest_add_text(d, hex);
    digest_add_text(d, s->library.host.options);
}

const struct reward plugin = {
    .name = "plugin",
    .help = "what the shared object plugin.path says (sluice_reward.h)",
    .units = "1",
    .own_thread = 1,
    .open = open_plugin,
    .close = close_plugin,
    .score = score,
    .identify = identify,
    .traits = traits,
};

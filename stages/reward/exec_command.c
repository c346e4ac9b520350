/* Words of a command line without a shell. */
#include "stages/reward/exec_command.h"

#include "io/sys/err.h"
#include "io/sys/mem.h"
#include "io/sys/text.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { LARGE = 256 << 20 };

/* One word from *line, which moves on; NULL: a quote does not end. */
static char *next_word(const char **line)
{
    struct text t = {0};
    const char *p = *line;
    char quote = '\0';
    text_add(&t, "%s", "");
    for (; *p != '\0' && (quote != '\0' || strchr(" \t\r\n", *p) == NULL); p++) {
        bool escapes = quote == '\0' || (quote == '"' && (p[1] == '"' || p[1] == '\\'));
        if (*p == '\\' && escapes && p[1] != '\0')
            text_add_bytes(&t, ++p, 1);
        else if (quote == '\0' && (*p == '"' || *p == '\''))
            quote = *p;
        else if (quote != '\0' && *p == quote)
            quote = '\0';
        else
            text_add_bytes(&t, p, 1);
    }
    *line = p;
    if (quote == '\0')
        return t.s;
    text_free(&t);
    return NULL;
}

char **exec_command_words(const char *line)
{
    const char *const all = line;
    char **words = mem_alloc((int64_t)strlen(line) + 2, sizeof *words);
    for (int64_t n = 0; line += strspn(line, " \t\r\n"), *line != '\0'; n++)
        if ((words[n] = next_word(&line)) == NULL) {
            err_set(ERR_USAGE, "exec.command: a quote does not end in: %.200s", all);
            exec_command_free(words);
            return NULL;
        }
    if (words[0] != NULL && words[0][0] != '\0')
        return words;
    err_set(ERR_USAGE, "exec.command: name the program that scores, with its arguments");
    exec_command_free(words);
    return NULL;
}

void exec_command_free(char **words)
{
    for (char **w = words; w != NULL && *w != NULL; w++)
        mem_free(*w);
    mem_free(words);
}

/* As execvp finds it: a new string, NULL where it is in no folder of PATH. */
static char *find_program(const char *name)
{
    struct stat s;
    const char *p = getenv("PATH");
    if (strchr(name, '/') != NULL)
        return mem_text(name);
    for (; p != NULL && *p != '\0'; p += strcspn(p, ":"), p += *p == ':') {
        char *path = text_new("%.*s/%s", (int)strcspn(p, ":"), p, name);
        if (stat(path, &s) == 0 && S_ISREG(s.st_mode))
            return path;
        mem_free(path);
    }
    return NULL;
}

static void add_file(struct digest *d, const char *path)
{
    struct stat s;
    char hex[DIGEST_HEX];
    if (path == NULL || stat(path, &s) != 0 || !S_ISREG(s.st_mode))
        return;
    digest_add_i64(d, s.st_size);
    if (s.st_size > LARGE) {
        digest_add_i64(d, s.st_mtim.tv_sec);
        digest_add_i64(d, s.st_mtim.tv_nsec);
    } else if (digest_file(path, hex) == 0) {
        digest_add_text(d, hex);
    } else { /* a program that may be run and not be read */
        err_clear();
    }
}

void exec_command_identify(char *const *words, struct digest *d)
{
    char *program = find_program(words[0]);
    for (char *const *w = words; *w != NULL; w++) {
        digest_add_text(d, *w);
        add_file(d, w == words ? program : *w);
    }
    mem_free(program);
}

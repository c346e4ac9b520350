/* Configuration names an environment variable or a file, so that a saved configuration or
 * a log holds no secret. Someone may still write the token where its name belongs: what
 * stands there is repeated in no message. */
#include "io/net_token.h"

#include "io/sys/err.h"
#include "io/sys/file.h"
#include "io/sys/mem.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { TOKEN_MAX = 16384 };

static int from_env(const char *env, char **token)
{
    for (const char *p = env; *p != '\0'; p++)
        if (!isalnum((unsigned char)*p) && *p != '_')
            return err_set(ERR_USAGE, "http.token_env: takes the name of an environment "
                                      "variable (letters, digits, _), not the token");
    const char *value = getenv(env);
    if (value == NULL || value[0] == '\0')
        return err_set(ERR_USAGE,
                       "http.token_env: there is no environment variable of that name on "
                       "this rank, or it is empty; export it (mpirun -x NAME)");
    *token = mem_text(value);
    return 0;
}

static int from_file(const char *file, char **token)
{
    int64_t len;
    return file_read(file, TOKEN_MAX, token, &len) == 0 ? 0 : err_add("http.token_file");
}

int net_token_read(const char *env, const char *file, char **token)
{
    char *s = NULL;
    *token = NULL;
    if (env[0] == '\0' && file[0] == '\0')
        return 0;
    if (env[0] != '\0' && file[0] != '\0')
        return err_set(ERR_USAGE, "http.token_env, http.token_file: set one of them");
    if ((env[0] != '\0' ? from_env(env, &s) : from_file(file, &s)) != 0)
        return -1;
    size_t len = strlen(s), from = strspn(s, " \t\r\n");
    while (len > from && strchr(" \t\r\n", s[len - 1]) != NULL)
        s[--len] = '\0';
    memmove(s, s + from, len - from + 1);
    for (const char *p = s; *p != '\0'; p++) /* a line end would start another header */
        if (!isgraph((unsigned char)*p))
            len = from;
    if (len > from) {
        *token = s;
        return 0;
    }
    net_token_free(s);
    return err_set(ERR_USAGE, "http.token_%s: holds no token (one word of printable "
                              "characters)", env[0] != '\0' ? "env" : "file");
}

bool net_token_exposed(const char *file)
{
    struct stat st;
    return file != NULL && stat(file, &st) == 0 && (st.st_mode & (S_IRWXG | S_IRWXO)) != 0;
}

void net_token_free(char *token)
{
    if (token != NULL)
        explicit_bzero(token, strlen(token));
    mem_free(token);
}

void net_token_mask(const char *token, char *s)
{
    size_t len = token == NULL ? 0 : strlen(token);
    while (len > 0 && (s = strstr(s, token)) != NULL)
        memset(s, '*', len);
}

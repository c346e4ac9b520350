/* Quoting. What is quoted was checked first, so that it is one line. */
#include "pipeline/submit/submit_quote.h"

#include "io/sys/err.h"

#include <string.h>

static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                            "_./:=@%+,-";

static bool is_plain(const char *s)
{
    return s[0] != '\0' && s[strspn(s, plain)] == '\0';
}

void submit_quote(struct text *out, const char *word)
{
    if (is_plain(word)) {
        text_add(out, "%s", word);
        return;
    }
    text_add(out, "'");
    for (const char *p = word; *p != '\0'; p++)
        if (*p == '\'')
            text_add(out, "'\\''");
        else
            text_add_bytes(out, p, 1);
    text_add(out, "'");
}

void submit_quote_option(struct text *out, const char *value)
{
    if (is_plain(value)) {
        text_add(out, "%s", value);
        return;
    }
    text_add(out, "\"");
    for (const char *p = value; *p != '\0'; p++)
        text_add(out, "%s%c", *p == '"' || *p == '\\' ? "\\" : "", *p);
    text_add(out, "\"");
}

int submit_check_line(const char *what, const char *value)
{
    for (const unsigned char *p = (const unsigned char *)value; *p != '\0'; p++)
        if (*p < 0x20 || *p == 0x7f)
            return err_set(ERR_USAGE,
                           "%s: holds a control character (a line break, say), which no "
                           "line of a job script can",
                           what);
    return 0;
}

int submit_check_word(const char *what, const char *value)
{
    static const char more[] = "[]*&|!()~";
    for (const char *p = value; *p != '\0'; p++)
        if (strchr(plain, *p) == NULL && strchr(more, *p) == NULL)
            return err_set(ERR_USAGE, "%s: '%.100s' holds a character that no such name of "
                                      "Slurm has",
                           what, value);
    if (value[0] == '-')
        return err_set(ERR_USAGE, "%s: '%.100s' looks like an option", what, value);
    return 0;
}

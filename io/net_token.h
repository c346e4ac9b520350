/* Secrets of HTTP services: where they come from and how they stay out of messages. */
#ifndef SLUICE_IO_NET_TOKEN_H
#define SLUICE_IO_NET_TOKEN_H

#include <stdbool.h>

/* The token in the environment variable `env` or else in the file `file` (both "": none,
 * *token is NULL), without the blanks and line ends around it. No message holds the token
 * nor what may be one. ERR_USAGE, ERR_INPUT. Free with net_token_free. */
int net_token_read(const char *env, const char *file, char **token);

/* Can others than its owner read the file? NULL: no file. */
bool net_token_exposed(const char *file);

/* Overwrites and frees; NULL is fine. */
void net_token_free(char *token);

/* Overwrites each occurrence of the token in s with stars. token: NULL-able. */
void net_token_mask(const char *token, char *s);

#endif

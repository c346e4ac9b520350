/* What a service answered: lists of scores, and the answers of chat models. Whatever is not
 * clearly a score is none. */
#ifndef SLUICE_STAGES_REWARD_HTTP_REPLY_H
#define SLUICE_STAGES_REWARD_HTTP_REPLY_H

#include <stdint.h>

/* Where scores lie in a reply: names with dots between; "[]" after a name or alone goes
 * through a list: "scores", "data.scores", "results[].score", "[].value", "" (the reply is
 * the list). */
struct http_path;
struct http_path *http_path_parse(const char *key, const char *text); /* NULL: ERR_USAGE */
void http_path_free(struct http_path *p);

/* Scores and statuses (enum reward_status) of the n samples of a request; one of one sample
 * may be a number in place of a list. Per sample: a number; null or an entry with "error":
 * failed; an entry with "infeasible": true; NaN and infinities (as Python's json writes them)
 * and numbers too large for double: non-finite. -1 (ERR_INPUT): no JSON, another count,
 * something that is no number: the whole reply is worth nothing. */
int http_reply_scores(const struct http_path *p, const char *body, int64_t len, int64_t n,
                      double *score, uint8_t *status);

enum http_score { HTTP_YES_NO, HTTP_NUMBER, HTTP_COMPARE, HTTP_RECALL };

/* The score of an OpenAI-compatible chat completion:
 *   yes_no   P(yes) / (P(yes) + P(no)) over the first token's top_logprobs, where all that
 *            spell yes or no count, whatever their case
 *   number   (v - low) / (high - low) of the first number v of the answer
 *   compare  F1 of the words of the answer and of `reference`, as multisets
 *   recall   the fraction of the reference's words that the answer has
 * -1 (ERR_INPUT): no such answer; *score is left as it is. */
int http_reply_chat(enum http_score kind, const char *body, int64_t len, double low,
                    double high, const char *reference, double *score);

#endif

/* A folder of one's own under TMPDIR (/tmp) for as long as a command works. A command that is
 * killed leaves it; the next one that makes a folder of this name removes it. */
#ifndef SLUICE_PIPELINE_SCRATCH_H
#define SLUICE_PIPELINE_SCRATCH_H

struct scratch { /* all zero: none */
    char path[256];
    int lock; /* a descriptor; says that somebody works here */
};

/* Removes what killed commands of this user left on this node, and makes
 * "TMPDIR/sluice-NAME-HOST-XXXXXX".
 * 0, or -1 with ERR_IO. */
int scratch_create(struct scratch *s, const char *name);

/* With all that is in it. */
void scratch_remove(struct scratch *s);

#endif

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is asked of a host and what it replies, as C structures.
 *
 * args.def and replies.def define each message once. This header makes a structure of each, and messages.c a table of
 * its fields. Everything else is one function for all messages, which walks the table: check, clear, and the codec
 * (port/codec.h), which alone knows JSON. A message is defined by
 *
 *   MESSAGE(VmigStructure, structure)       the type, and the same name for the functions and for other tables
 *   NEED(KIND, member, ...)                 a field, which must be there
 *   MAYBE(KIND, member, ...)                a field that may be absent: then it is NULL
 *   END(structure)
 *
 * The name of the member is its name on the wire, too. KIND is one of VmigFieldKind.
 */
#pragma once

#include <glib.h>

#include "core/errors.h"
#include "core/job.h"
#include "os/block-hash.h"

typedef enum {
    VMIG_FIELD_TEXT,    /* char * */
    VMIG_FIELD_FILLED,  /* char *, not empty */
    VMIG_FIELD_JOB,     /* char *, the ID of a job */
    VMIG_FIELD_WORD,    /* char *, one of some words: NEED(WORD, member, words) */
    VMIG_FIELD_TEXTS,   /* char **, NULL-terminated */
    VMIG_FIELD_SUMS,    /* char **, SHA-256 sums */
    VMIG_FIELD_FLAG,    /* gboolean */
    VMIG_FIELD_NUMBER,  /* gint64 */
    VMIG_FIELD_SIZE,    /* guint64, up to G_MAXINT64 */
    VMIG_FIELD_BITS,    /* guint64, all 64 bits: device and inode numbers */
    VMIG_FIELD_COUNT,   /* guint32 */
    VMIG_FIELD_ENUM,    /* an enumeration, on the wire as a word: NEED(ENUM, member, Type, words) */
    VMIG_FIELD_KEY,     /* VmigHashKey */
    VMIG_FIELD_BYTES,   /* GBytes * */
    VMIG_FIELD_RECORD,  /* VmigJob *, whose own serializer reads and writes it */
    VMIG_FIELD_OBJECT,  /* another message, in the structure: NEED(OBJECT, member, structure) */
    VMIG_FIELD_OBJECTS, /* GPtrArray * of another message: NEED(OBJECTS, member, structure) */
} VmigFieldKind;

typedef enum {
    VMIG_IDENTITY_ABSENT,
    VMIG_IDENTITY_FILE,
    VMIG_IDENTITY_BLOCK,
    VMIG_IDENTITY_OTHER, /* a folder, a socket */
} VmigIdentityKind;

/* Of an internal snapshot. */
typedef enum {
    VMIG_CONTENT_DISK,   /* disk_size bytes, as the guest saw them */
    VMIG_CONTENT_MEMORY, /* vm_state_size bytes */
} VmigContentKind;

typedef enum {
    VMIG_ORPHAN_NONE,      /* the guest has no process */
    VMIG_ORPHAN_SUSPENDED, /* it is alive, has no monitor client, and reports that its CPUs are stopped */
    VMIG_ORPHAN_RUNNING,   /* the same, but its CPUs run */
    VMIG_ORPHAN_UNCLEAR,   /* it is alive, and one of these cannot be proven */
} VmigOrphanKind;

/* The words of a WORD or ENUM field; an enumeration's in the order of its values. */
typedef struct {
    const char *expected; /* for messages */
    const char *words[5]; /* NULL-terminated */
} VmigWords;

typedef struct VmigMessage VmigMessage;

typedef struct {
    const char *name; /* NULL: the end of the table */
    VmigFieldKind kind;
    gboolean needed;
    gsize offset;
    const VmigWords *words;
    const VmigMessage *of; /* OBJECT, OBJECTS */
} VmigField;

struct VmigMessage {
    gsize size;
    const VmigField *(*fields)(void);
    GDestroyNotify free;
};

/* --- the structures --- */

#define VMIG_C_TEXT() VMIG_BORROWED char *
#define VMIG_C_FILLED() VMIG_BORROWED char *
#define VMIG_C_JOB() VMIG_BORROWED char *
#define VMIG_C_WORD(words) VMIG_BORROWED char *
#define VMIG_C_TEXTS() VMIG_BORROWED char *VMIG_BORROWED *
#define VMIG_C_SUMS() VMIG_BORROWED char *VMIG_BORROWED *
#define VMIG_C_FLAG() gboolean
#define VMIG_C_NUMBER() gint64
#define VMIG_C_SIZE() guint64
#define VMIG_C_BITS() guint64
#define VMIG_C_COUNT() guint32
#define VMIG_C_ENUM(Type, words) Type
#define VMIG_C_KEY() VmigHashKey
#define VMIG_C_BYTES() GBytes *
#define VMIG_C_RECORD() VMIG_BORROWED VmigJob *
#define VMIG_C_OBJECT(message) struct vmig_##message
#define VMIG_C_OBJECTS(message) GPtrArray *

#define MESSAGE(Type, message)                                                                                         \
    typedef struct vmig_##message Type;                                                                                \
    struct vmig_##message {
#define NEED(KIND, member, ...) VMIG_C_##KIND(__VA_ARGS__) member;
#define MAYBE(KIND, member, ...) NEED(KIND, member, __VA_ARGS__)
#define END(message)                                                                                                   \
    }                                                                                                                  \
    ;
#define VMIG_BORROWED const
#include "port/args.def"
#undef VMIG_BORROWED
#define VMIG_BORROWED
#include "port/replies.def"
#undef VMIG_BORROWED
#undef MESSAGE
#undef NEED
#undef MAYBE
#undef END

/* --- for each message its table, clear() and free() --- */

#define MESSAGE(Type, message)                                                                                         \
    extern const VmigMessage vmig_##message##_message;                                                                 \
    void vmig_##message##_clear(Type *data);                                                                           \
    void vmig_##message##_free(Type *data);                                                                            \
    G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(Type, vmig_##message##_clear)                                                     \
    G_DEFINE_AUTOPTR_CLEANUP_FUNC(Type, vmig_##message##_free)
#define NEED(KIND, member, ...)
#define MAYBE(KIND, member, ...)
#define END(message)
#include "port/args.def"
#include "port/replies.def"
#undef MESSAGE
#undef NEED
#undef MAYBE
#undef END

/* --- for all messages --- */

/* An empty message. (transfer full) */
gpointer vmig_message_new(const VmigMessage *message);
/* NULL does nothing. */
void vmig_message_free(const VmigMessage *message, gpointer data);
/* An array for an OBJECTS field. (transfer full) */
GPtrArray *vmig_message_array(const VmigMessage *message);
/* Frees what the message's members own, and zeroes it. */
void vmig_message_clear(const VmigMessage *message, gpointer data);
/* Whether every value is one that its field may have. PROTOCOL: "the request: member 'x' is missing or not EXPECTED";
 * reply_to: the method to which it is the reply, or NULL. A record has the errors of vmig_job_check(). */
gboolean vmig_message_check(const VmigMessage *message, gconstpointer data, const char *reply_to, GError **error);
/* The same error for what the receiver itself finds wrong with a member. Returns FALSE. */
gboolean vmig_message_refuse(GError **error, const char *reply_to, const char *member, const char *expected);
/* The job that the message is about: its JOB field, or the ID in its RECORD field; NULL if it has neither. */
const char *vmig_message_job(const VmigMessage *message, gconstpointer data);
/* Its RECORD field, or NULL. */
const VmigJob *vmig_message_record(const VmigMessage *message, gconstpointer data);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain XML: reading what matters to a move, and rewriting it for the destination.
 *
 * Pure. Input is up to VMIG_XML_MAX_SIZE bytes of UTF-8 without a DOCTYPE; what is more, or not what libvirt writes
 * (two <source> in one disk, <x:source>), is an error XML. A rewrite changes the nodes it must and nothing else:
 * whitespace, comments and CDATA stay; attributes come out in double quotes, because libxml2 writes them so.
 * Only elements without a namespace count, as in libvirt's own XPath expressions.
 *
 * Folder plugin/definition: domain XML and snapshot XML: reading them, rewriting them for the destination, comparing
 * snapshot trees. Pure.
 */
#pragma once

#include <glib.h>

#include "core/job.h"

#define VMIG_XML_MAX_SIZE (16 * 1024 * 1024)

/* Our element in <metadata>: for virDomainSetMetadata(ELEMENT, xml, KEY, URI). The URI stays in definitions that travel
 * on with their guests. */
#define VMIG_METADATA_URI "urn:vmig-snap:operation:1"
#define VMIG_METADATA_KEY "vmig"

/* One file below the top of a disk's chain. */
typedef struct {
    char *file;   /* or NULL where it is not a file */
    char *device; /* <source dev=> of a block device, or NULL */
    char *format; /* or NULL */
    char *type;   /* "file", "block", "network"... */
} VmigChainFile;

typedef struct {
    char *target; /* "vda"; never NULL */
    char *bus;
    char *device;         /* "disk", "cdrom", "floppy", "lun" */
    char *type;           /* "file", "block", "network", "volume", "nvme", "vhostuser", "dir", "vhostvdpa" */
    char *driver_type;    /* "qcow2", "raw"..., or NULL where the XML has none (libvirt takes raw) */
    char *source;         /* <source file=>, or NULL */
    char *device_path;    /* <source dev=> of a block disk, or NULL */
    char *source_text;    /* any source, for people: "nbd://…", "/dev/sdb"; NULL for an empty drive */
    char *startup_policy; /* "mandatory", "requisite", "optional" or NULL */
    char *snapshot;       /* the snapshot= attribute, or NULL */
    char *serial;
    gboolean readonly, shareable, transient;
    gboolean encrypted;  /* an <encryption> anywhere in the chain */
    gboolean data_store; /* a <dataStore> anywhere in the chain: qcow2's data-file (libvirt 10.10 and later) */
    gboolean sliced;     /* <slices>: only a part of the file is the disk */
    gboolean reservations;
    gboolean local_server; /* a network disk whose server is on this host: a unix socket, the name localhost */
    GPtrArray *backing;    /* VmigChainFile, the file right below the top first */
    gboolean chain_known;  /* the chain ends in an empty <backingStore/>; else libvirt has not looked */
    gboolean mirror;       /* has <mirror>: a copy or an active commit runs on it */
    char *mirror_job;      /* "copy", "active-commit" or NULL */
    char *mirror_file;
    gboolean mirror_ready; /* <mirror ready='yes'> */
} VmigDomainDisk;

/* What one domain XML says. Everything belongs to the VmigDomainXml. */
typedef struct {
    char *name; /* never NULL */
    char *uuid; /* never NULL */
    char *title;
    char *type; /* "kvm", "qemu" */
    char *arch;
    char *machine;
    char *emulator;
    char *loader;
    char *loader_type;  /* "rom", "pflash" or NULL */
    char *nvram;        /* path of the variables' file, or NULL */
    char *nvram_format; /* or NULL where the XML has none (libvirt takes raw) */
    char *nvram_template;
    char *kernel;
    char *initrd;
    char *dtb;
    char *on_reboot;
    guint64 memory; /* bytes */
    guint64 vcpus;
    gboolean has_metadata; /* our element is in <metadata> */
    char *metadata_job;    /* the id in it where it is one: a hint, the journal decides */
    gboolean qemu_commandline;
    GPtrArray *disks;        /* VmigDomainDisk */
    GPtrArray *host_devices; /* char*, for people: "pci 0000:03:00.0" */
    GPtrArray *filesystems;  /* char*: "virtiofs /srv/share" */
    GPtrArray *shmems;       /* char*: names */
    GPtrArray *vhost_users;  /* char*: "interface /run/vhost.sock", "disk vdb" */
    GPtrArray *tpms;         /* char*: backends, "emulator", "passthrough" */
    GPtrArray *interfaces;   /* char*: types, "network", "bridge"... */
    /* char*, without doubles: files that must exist on the destination and that nobody moves: kernel, initrd, dtb,
     * loader, NVRAM template, ACPI tables. Media are disks. */
    GPtrArray *needed_files;
} VmigDomainFacts;

typedef struct VmigDomainXml VmigDomainXml;

VmigDomainXml *vmig_domain_xml_parse(const char *xml, GError **error);
void vmig_domain_xml_free(VmigDomainXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDomainXml, vmig_domain_xml_free)
/* The document as it would come out of a rewrite that changes nothing. (transfer full) */
char *vmig_domain_xml_to_string(VmigDomainXml *xml);
/* (transfer none) */
const VmigDomainFacts *vmig_domain_xml_facts(const VmigDomainXml *xml);
/* The disk of that target name, or NULL. (transfer none) */
const VmigDomainDisk *vmig_domain_xml_disk(const VmigDomainXml *xml, const char *target);

/* Which of a VmigFile's two paths. */
typedef enum {
    VMIG_SOURCE,
    VMIG_DEST,
} VmigRole;

/* Does a definition of that side mean this file with this text? The destination's name it as it is; the source's may
 * lead to it through links. */
gboolean vmig_domain_names_file(const char *name, const VmigFile *file, VmigRole role);
/* How the definitions of that side name it: what libvirt knows it by. */
const char *vmig_domain_file_name(const VmigFile *file, VmigRole role);
/* Is the chain that the XML names exactly the overlay (where not NULL), then these VmigFile, and ended? */
gboolean vmig_domain_disk_chain_matches(const VmigDomainDisk *live, const char *overlay, GPtrArray *files,
                                        VmigRole role);
/* "/a.qcow2 <- /b.qcow2", "... <- ?" where libvirt has not looked; escaped for people. (transfer full) */
char *vmig_domain_disk_chain_text(const VmigDomainDisk *disk);

/* Each disk of the job goes to its overlay on the destination (merge "commit") or to its base there ("mirror"), with
 * snapshot='no', without index= and <mirror>; our metadata element is put in. The live definition gets the whole
 * chain; the persistent one only where it had one, because libvirt never forgets a chain that a definition names.
 * Other disks stay as they are. Error: XML, also for another domain's XML or a disk that is not there. */
char *vmig_domain_xml_for_destination(const char *xml, const VmigJob *job, gboolean live, GError **error);
/* INTERFERENCE where the definition has a disk, other than the job's, that the planned one does not have, or that is on
 * something else now. */
gboolean vmig_domain_xml_as_planned(const char *now, const char *planned, const VmigJob *job, GError **error);
/* The persistent definition of a guest whose overlays were committed while it was off: each disk of the job on its
 * base on that side, snapshot= as before the job, no chain (libvirt reads it from the headers). A disk that somebody
 * took out, or put on a file that is none of the job's, stays as it is. Error: XML. */
char *vmig_domain_xml_on_bases(const char *xml, const VmigJob *job, VmigRole role, GError **error);
/* A domainsnapshot with the job's files at their places on the destination, in <domain>, <inactiveDomain>, chains and
 * <disks>. Where no path changes, the very same text. Error: XML, also for a snapshot of another domain. */
char *vmig_snapshot_xml_for_destination(const char *snapshot_xml, const VmigJob *job, GError **error);
/* The <disk> element alone, with its snapshot attribute set, or removed for NULL: for virDomainUpdateDeviceFlags. */
char *vmig_disk_xml_set_snapshot(const char *domain_xml, const char *target, const char *value, GError **error);

/* The <domainsnapshot> for virDomainSnapshotCreateXML(DISK_ONLY | ATOMIC | NO_METADATA): the job's disks external to
 * their overlays, every other disk of the live XML snapshot='no'. Name: "vmig-snap-ID". */
char *vmig_overlay_snapshot_xml(const VmigJob *job, const char *live_xml, GError **error);
/* The target of virDomainBlockCopy for the parked job. The path must be a good one (vmig_path_check()). */
char *vmig_block_copy_xml(const char *path);

/* <operation job= state= token= source-host= dest-host=> with one <disk> a disk, and without the namespace:
 * virDomainSetMetadata puts it in itself, and fails where it is there ("failed to create a new XML namespace"). */
char *vmig_metadata_xml(const VmigJob *job);
/* The job's id in our metadata element, or NULL: no element, no id, no XML. A hint: users can write there. */
char *vmig_metadata_job_id(const char *domain_xml);

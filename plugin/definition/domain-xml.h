/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain XML: reads the facts that matter for a migration, and rewrites the XML for the destination.
 *
 * Pure. Input is up to VMIG_XML_MAX_SIZE bytes of UTF-8 without a DOCTYPE. Larger input, and anything that libvirt does
 * not write (two <source> in one disk, <x:source>), is an error XML. A rewrite changes only the necessary nodes:
 * whitespace, comments and CDATA are kept. Attributes are written in double quotes, as libxml2 does. Only elements
 * without a namespace count, as in libvirt's own XPath expressions.
 *
 * Folder plugin/definition: reads domain XML and snapshot XML, rewrites them for the destination, and compares
 * snapshot trees. Pure.
 */
#pragma once

#include <glib.h>

#include "core/job.h"

#define VMIG_XML_MAX_SIZE (16 * 1024 * 1024)

/* vmig-snap's element in <metadata>: for virDomainSetMetadata(ELEMENT, xml, KEY, URI). Definitions may carry the URI to
 * other hosts with their guests, so it must never change. */
#define VMIG_METADATA_URI "urn:vmig-snap:operation:1"
#define VMIG_METADATA_KEY "vmig"

/* One file below the top of a disk's chain. */
typedef struct {
    char *file;   /* or NULL if it is not a file */
    char *device; /* <source dev=> of a block device, or NULL */
    char *format; /* or NULL */
    char *type;   /* "file", "block", "network"... */
} VmigChainFile;

typedef struct {
    char *target; /* "vda"; never NULL */
    char *bus;
    char *device;         /* "disk", "cdrom", "floppy", "lun" */
    char *type;           /* "file", "block", "network", "volume", "nvme", "vhostuser", "dir", "vhostvdpa" */
    char *driver_type;    /* "qcow2", "raw"..., or NULL if the XML has none (libvirt then uses raw) */
    char *source;         /* <source file=>, or NULL */
    char *device_path;    /* <source dev=> of a block disk, or NULL */
    char *source_text;    /* any source, for people: "nbd://…", "/dev/sdb"; NULL for an empty drive */
    char *startup_policy; /* "mandatory", "requisite", "optional" or NULL */
    char *snapshot;       /* the snapshot= attribute, or NULL */
    char *serial;
    gboolean readonly, shareable, transient;
    gboolean encrypted;  /* <encryption> anywhere in the chain */
    gboolean data_store; /* <dataStore> anywhere in the chain: qcow2's data-file (libvirt 10.10 and later) */
    gboolean sliced;     /* <slices>: the disk is only a part of the file */
    gboolean reservations;
    gboolean local_server; /* a network disk whose server is on this host: a Unix socket, the name localhost */
    GPtrArray *backing;    /* VmigChainFile, starting with the file directly below the top */
    gboolean chain_known;  /* the chain ends in an empty <backingStore/>; otherwise libvirt has not probed it */
    gboolean mirror;       /* has <mirror>: a block copy or an active commit is running */
    char *mirror_job;      /* "copy", "active-commit" or NULL */
    char *mirror_file;
    gboolean mirror_ready; /* <mirror ready='yes'> */
} VmigDomainDisk;

/* The facts of one domain XML. The VmigDomainXml owns everything. */
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
    char *nvram;        /* path of the NVRAM file, or NULL */
    char *nvram_format; /* or NULL if the XML has none (libvirt then uses raw) */
    char *nvram_template;
    char *kernel;
    char *initrd;
    char *dtb;
    char *on_reboot;
    guint64 memory; /* bytes */
    guint64 vcpus;
    gboolean has_metadata; /* vmig-snap's element is in <metadata> */
    char *metadata_job;    /* the id in it, if valid: only a hint, the journal decides */
    gboolean qemu_commandline;
    GPtrArray *disks;        /* VmigDomainDisk */
    GPtrArray *host_devices; /* char *, for people: "pci 0000:03:00.0" */
    GPtrArray *filesystems;  /* char *: "virtiofs /srv/share" */
    GPtrArray *shmems;       /* char *: names */
    GPtrArray *vhost_users;  /* char *: "interface /run/vhost.sock", "disk vdb" */
    GPtrArray *tpms;         /* char *: backends, "emulator", "passthrough" */
    GPtrArray *interfaces;   /* char *: types, "network", "bridge"... */
    /* char *, without duplicates: files that must exist on the destination and are not moved: kernel, initrd, dtb,
     * loader, NVRAM template, ACPI tables. Removable media count as disks. */
    GPtrArray *needed_files;
} VmigDomainFacts;

typedef struct VmigDomainXml VmigDomainXml;

VmigDomainXml *vmig_domain_xml_parse(const char *xml, GError **error);
void vmig_domain_xml_free(VmigDomainXml *xml);
G_DEFINE_AUTOPTR_CLEANUP_FUNC(VmigDomainXml, vmig_domain_xml_free)
/* The document after a rewrite that changes nothing. (transfer full) */
char *vmig_domain_xml_to_string(VmigDomainXml *xml);
/* (transfer none) */
const VmigDomainFacts *vmig_domain_xml_facts(const VmigDomainXml *xml);
/* The disk of that target name, or NULL. (transfer none) */
const VmigDomainDisk *vmig_domain_xml_disk(const VmigDomainXml *xml, const char *target);

/* Whether this text in a definition of that host refers to this file. The destination's definitions name the file
 * itself. The source's may reach it through symbolic links. */
gboolean vmig_domain_names_file(const char *name, const VmigFile *file, VmigRole role);
/* The file's name in the definitions of that host, by which libvirt knows it. */
const char *vmig_domain_file_name(const VmigFile *file, VmigRole role);
/* "/a.qcow2 <- /b.qcow2", or "... <- ?" if libvirt has not probed the chain; escaped for people. (transfer full) */
char *vmig_domain_disk_chain_text(const VmigDomainDisk *disk);

/* Puts each disk of the job on its overlay on the destination (merge "commit") or on its base there ("mirror"), with
 * snapshot='no' and without index= and <mirror>. Adds the metadata element. The live definition gets the whole chain.
 * The persistent one gets it only if it already had one, because libvirt never forgets a chain that a definition names.
 * Other disks are kept. Error: XML, also for the XML of another domain or a missing disk. */
char *vmig_domain_xml_for_destination(const char *xml, const VmigJob *job, gboolean live, GError **error);
/* INTERFERENCE if the definition has a disk, other than the job's, that the planned one lacks or that has another
 * source now. */
gboolean vmig_domain_xml_as_planned(const char *now, const char *planned, const VmigJob *job, GError **error);
/* The persistent definition of a guest whose overlays were committed while it was off. Puts each disk of the job on its
 * base on that host, with snapshot= as before the job and without a chain (libvirt reads it from the headers). A disk
 * that the user removed, or moved to a file that is not the job's, is kept. Error: XML. */
char *vmig_domain_xml_on_bases(const char *xml, const VmigJob *job, VmigRole role, GError **error);
/* A domainsnapshot with the job's files at their destination paths, in <domain>, <inactiveDomain>, chains and <disks>,
 * and without the watchdog that newer versions of libvirt add by themselves. If nothing changes, the text is returned
 * unchanged. Error: XML, also for a snapshot of another domain. */
char *vmig_snapshot_xml_for_destination(const char *snapshot_xml, const VmigJob *job, GError **error);
/* Only the <disk> element, with its snapshot attribute set, or removed if value is NULL: for
 * virDomainUpdateDeviceFlags. */
char *vmig_disk_xml_set_snapshot(const char *domain_xml, const char *target, const char *value, GError **error);

/* The <domainsnapshot> for virDomainSnapshotCreateXML(DISK_ONLY | ATOMIC | NO_METADATA). The job's disks are external
 * on their overlays, every other disk of the live XML has snapshot='no'. Name: "vmig-snap-ID". */
char *vmig_overlay_snapshot_xml(const VmigJob *job, const char *live_xml, GError **error);
/* The target of virDomainBlockCopy for a hold. The path must be valid (vmig_path_check()). */
char *vmig_block_copy_xml(const char *path);

/* <operation job= state= token= source-host= dest-host=> with one <disk> for each disk. It has no namespace:
 * virDomainSetMetadata adds it, and fails if it is already there ("failed to create a new XML namespace"). */
char *vmig_metadata_xml(const VmigJob *job);
/* The job's id in the metadata element. NULL if there is no element, no id, or no XML. Only a hint, because users can
 * write there. */
char *vmig_metadata_job_id(const char *domain_xml);

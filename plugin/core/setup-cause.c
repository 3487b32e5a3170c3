/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of messages. */
#include "core/setup-cause.h"

#include "core/names.h"

/* The pattern's group "n" is the name. In the remedy %s is replaced by the name, and %w by the name as an argument of
 * virsh. */
typedef struct {
    const char *pattern;
    const char *element;
    const char *remedy;
    gboolean passes; /* temporary: worth another try */
} Cause;

static const Cause causes[] = {
    {"Cannot get interface (?:MTU|index|flags) on '(?<n>[^']+)'", "<interface>",
     "Create the bridge or device %s there, or change the guest's <source>.", FALSE},
    {"(?:Unable to add|Failed to add|failed to add).* (?:bridge|to bridge) '?(?<n>[^':\\s]+)'?.*No such device",
     "<interface>", "Create the bridge %s there, or change the guest's <source bridge=>.", FALSE},
    {"no network with matching name '(?<n>[^']+)'", "<interface>",
     "Define the network %s there (virsh net-define, net-start, net-autostart).", FALSE},
    {"network '(?<n>.+)' is not active", "<interface>",
     "Start the network there: virsh net-start %w; virsh net-autostart %w.", FALSE},
    {"network '(?<n>[^']+)' has no portgroup", "<interface>", "Define that port group in the network %s there.", FALSE},
    {"referenced filter '(?<n>[^']+)' is missing", "<filterref>",
     "Define the network filter %s there (virsh nwfilter-define).", FALSE},
    {"no nwfilter with matching name '(?<n>[^']+)'", "<filterref>",
     "Define the network filter %s there (virsh nwfilter-define).", FALSE},
    {"Secret not found: no secret with matching uuid '?(?<n>[-0-9a-f]+)", "<secret>",
     "Define the secret %s there (virsh secret-define, secret-set-value).", FALSE},
    {"(?i)(?:vnc|spice).*cannot assign requested address", "<graphics>",
     "Use an address that the destination has in the guest's <graphics>: 0.0.0.0, or listen type='network'.", FALSE},
    {"(?i)(?:vnc|spice).*address already in use", "<graphics>",
     "Another program uses that port there: end it, or choose another port for the guest (autoport='yes').", TRUE},
    {"Cannot assign requested address", "an address",
     "The guest and the migration can listen only on addresses that the destination has.", FALSE},
    {"[Ww]atchdog.*model|model.*[Ww]atchdog|only a single watchdog device", "<watchdog>",
     "The destination's libvirt does not support it: install the source's version there, or change the <watchdog>.",
     FALSE},
    {"hugetlbfs filesystem is not mounted|[Hh]uge ?page|unable to map backing store for guest RAM|"
     "cannot find .*hugetlbfs",
     "<hugepages>", "Reserve and mount enough huge pages there (vm.nr_hugepages).", TRUE},
    {"[Cc]annot set up guest memory|unable to mlock|[Ll]ocking memory failed", "<memory>",
     "Free memory there, or reduce the guest's memory.", TRUE},
    {"guest and host CPU are not compatible|CPU is incompatible with host CPU|host doesn't support requested feature|"
     "guest CPU doesn't match specification|[Uu]nknown CPU model|CPU model .* (?:not found|not supported)|"
     "unable to find CPU definition",
     "<cpu>",
     "The destination's processor does not support it: choose a model that both hosts support (virsh "
     "hypervisor-cpu-baseline).",
     FALSE},
    {"(?:unsupported machine type|does not support machine type) '?(?<n>[^'\\s]+)", "<machine>",
     "Install the source's QEMU version, or a newer one, there.", FALSE},
    {"load of migration failed: Invalid argument|error while loading state for instance|Unknown savevm section|"
     "Machine type received is",
     "<machine>",
     "The destination's QEMU cannot load the state that the source's QEMU saves for this machine. Use a machine type "
     "that both versions support alike, or install the same version of QEMU on both hosts.",
     FALSE},
    {"[Uu]nable to find 'swtpm|swtpm.*(?:not found|No such file)", "<tpm>", "Install swtpm there.", FALSE},
    {"Unknown driver '(?<n>[^']+)'", "<disk>", "Install QEMU's block driver %s there (qemu-block-extra).", FALSE},
    {"'(?<n>[^']+)' is not a valid device model name", "device", "Install a QEMU version there that has the device %s.",
     FALSE},
    {"(?:Could not open|Cannot access storage file|cannot access|[Uu]nable to open) '?(?<n>/[^':]+).*Permission denied",
     "<disk>",
     "Give QEMU's user there access to every directory of %s (chmod o+x), and check the profiles of AppArmor or "
     "SELinux.",
     FALSE},
    {"unexpected feature '[^']+'|unknown [^:']*(?:model|type|backend) '[^']+'|"
     "Invalid value for attribute '[^']+' in element '[^']+'|Unsupported HyperV Enlightenment feature",
     "definition",
     "The destination's libvirt does not know it: install the source's version there, or change the guest's "
     "definition.",
     FALSE},
    {"[Uu]nable to find security driver|security (?:label )?model .* (?:is )?not (?:supported|found)", "<seclabel>",
     "Use the same security driver on both hosts (security_driver in qemu.conf).", FALSE},
};

/* Protects a name that begins with a dash from being taken as an option. */
static char *argument(const char *name)
{
    g_autofree char *word = vmig_shell_word(name);

    return g_strconcat(*name == '-' ? "-- " : "", word, NULL);
}

VmigSetupCause *vmig_setup_cause(const char *message)
{
    for (guint i = 0; message != NULL && i < G_N_ELEMENTS(causes); i++) {
        g_autoptr(GRegex) regex = g_regex_new(causes[i].pattern, G_REGEX_DOTALL, 0, NULL);
        g_autoptr(GMatchInfo) match = NULL;
        if (!g_regex_match(regex, message, 0, &match))
            continue;
        VmigSetupCause *cause = g_new0(VmigSetupCause, 1);
        g_autofree char *name = g_match_info_fetch_named(match, "n");
        cause->element = causes[i].element;
        cause->lasts = !causes[i].passes;
        cause->name = name != NULL && *name != '\0' ? g_steal_pointer(&name) : NULL;
        g_autoptr(GString) remedy = g_string_new(causes[i].remedy);
        g_autofree char *word = argument(cause->name != NULL ? cause->name : "it");
        g_string_replace(remedy, "%w", word, 0);
        g_string_replace(remedy, "%s", cause->name != NULL ? cause->name : "it", 0);
        cause->remedy = g_string_free(g_steal_pointer(&remedy), FALSE);
        return cause;
    }
    return NULL;
}

void vmig_setup_cause_free(VmigSetupCause *cause)
{
    g_free(cause->name);
    g_free(cause->remedy);
    g_free(cause);
}

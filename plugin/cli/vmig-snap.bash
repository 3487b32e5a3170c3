# SPDX-License-Identifier: LGPL-2.1-or-later
# Completion of vmig-snap for bash. tests/cli/test_completion.py compares it with --help.

_vmig_snap_options() {
    case $1 in
        plan | migrate)
            echo "--connect --disk --map --map-dir --merge --transport --bandwidth --max-downtime --auto-converge
                --postcopy --parallel --timeout --source-images --verify --no-rehearsal --accept-unrevertable
                --migrate-host --policy --detach --json --quiet --help"
            [[ $1 == plan ]] || echo --dry-run
            ;;
        status) echo "--json --help" ;;
        list) echo "--all --json --help" ;;
        resume) echo "--all --source-is-fenced --without-verify --set-aside --unless-busy --json --quiet --help" ;;
        cancel) echo "--json --quiet --help" ;;
        set) echo "--json --help" ;;
        verify) echo "--job --json --help" ;;
        doctor) echo "--fix --json --help" ;;
        purge) echo "--without-destination --json --help" ;;
        agent) echo "--guard --help" ;;
    esac
}

_vmig_snap_values() {
    case $1 in
        --merge) echo commit mirror auto ;;
        --transport) echo ssh tls tcp ;;
        --source-images) echo keep delete ;;
        --connect) echo qemu:///system ;;
        --policy)
            local file
            for file in /usr/share/vmig-snap/policy.d/*.conf /etc/vmig-snap/policy.d/*.conf; do
                [[ ! -e $file ]] || basename "$file" .conf
            done
            ;;
        --job) _vmig_snap_jobs ;;
    esac
}

# Options that are followed by a value.
_vmig_snap_takes_value() {
    case $1 in
        --connect | --disk | --map | --map-dir | --merge | --transport | --bandwidth | --max-downtime | --parallel | \
            --timeout | --source-images | --migrate-host | --policy | --source-is-fenced | --job | --guard) return 0 ;;
    esac
    return 1
}

# Only root can read the journal.
_vmig_snap_jobs() {
    vmig-snap status --json 2>/dev/null | grep -oE '"job" ?: ?"[0-9a-f]{16}"' | grep -oE '[0-9a-f]{16}'
}

_vmig_snap_domains() {
    virsh --quiet --readonly --connect qemu:///system list --name 2>/dev/null
}

# The arguments of a command: the first, the second.
_vmig_snap_arguments() {
    case $1:$2 in
        plan:0 | migrate:0 | verify:0 | doctor:0 | purge:0) _vmig_snap_domains ;;
        plan:1 | migrate:1) echo qemu+ssh:// qemu+tls:// qemu+tcp:// ;;
        status:0 | resume:0 | cancel:0) _vmig_snap_jobs && _vmig_snap_domains ;;
        set:0) _vmig_snap_jobs ;;
        set:1) echo bandwidth= ;;
    esac
}

_vmig_snap() {
    local current=${COMP_WORDS[COMP_CWORD]} previous='' command=${COMP_WORDS[1]} arguments=0 i word words
    COMPREPLY=()
    if ((COMP_CWORD == 1)); then
        words="plan migrate status list resume cancel set verify doctor purge agent --help --version --list-faults"
        COMPREPLY=($(compgen -W "$words" -- "$current"))
        return
    fi
    # bash splits --option=value into three words.
    [[ $current != = ]] || current=
    for ((i = 2; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ $word == = ]]; then
            continue
        elif [[ -n $previous ]] && _vmig_snap_takes_value "$previous"; then
            previous=
        elif [[ $word == -* ]]; then
            previous=$word
        else
            previous=
            ((++arguments))
        fi
    done
    if [[ -n $previous ]] && _vmig_snap_takes_value "$previous"; then
        if [[ $previous == --guard ]]; then
            COMPREPLY=($(compgen -f -- "$current"))
        else
            COMPREPLY=($(compgen -W "$(_vmig_snap_values "$previous")" -- "$current"))
        fi
    elif [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$(_vmig_snap_options "$command")" -- "$current"))
    else
        COMPREPLY=($(compgen -W "$(_vmig_snap_arguments "$command" "$arguments")" -- "$current"))
    fi
}

complete -F _vmig_snap vmig-snap

# Completion of sluice for bash: commands, options, configuration keys and their words. All
# come from the program itself and are asked for once per shell.

declare -gA _sluice_kept 2>/dev/null

# _sluice_ask ID COMMAND...: its output, kept under ID, in $REPLY.
_sluice_ask() {
    local id=$1
    shift
    [ -n "${_sluice_kept[$id]+x}" ] || _sluice_kept[$id]=$("$@" 2>/dev/null)
    REPLY=${_sluice_kept[$id]}
}

_sluice() {
    local program=$1 line=${COMP_LINE:0:COMP_POINT} command=${COMP_WORDS[1]-}
    local cur=${line##*[[:space:]]} prefix REPLY
    COMPREPLY=()
    if [ "$COMP_CWORD" = 1 ]; then
        _sluice_ask "$program" "$program" --help
        COMPREPLY=($(compgen -W "$(sed -nE 's/^  ([a-z-]+) .*/\1/p' <<<"$REPLY")
            --help --version" -- "$cur"))
    elif [[ $cur == -* ]]; then
        _sluice_ask "$program $command" "$program" "$command" --help
        COMPREPLY=($(compgen -W "$(grep -oE -- '--[a-z][a-z-]*' <<<"$REPLY" | sort -u)
            --help" -- "$cur"))
    elif [[ $cur == *.*=* ]]; then
        prefix=${cur%%=*}=
        [[ $COMP_WORDBREAKS != *=* ]] || prefix= # bash has split the word there
        _sluice_ask "$program ${cur%%=*}=" "$program" config --words "${cur%%=*}"
        COMPREPLY=($(compgen -P "$prefix" -W "$REPLY" -- "${cur#*=}"))
    elif [ -n "$cur" ] && [[ $cur != */* ]]; then
        _sluice_ask "$program keys" "$program" config --words
        COMPREPLY=($(compgen -S = -W "$REPLY" -- "$cur"))
        if [ ${#COMPREPLY[@]} -gt 0 ]; then
            compopt -o nospace 2>/dev/null
            COMPREPLY+=($(compgen -f -- "$cur"))
        fi
    fi
}

# Where nothing fits: file names.
complete -o default -F _sluice sluice

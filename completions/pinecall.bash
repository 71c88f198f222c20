# Completion of pinecall for bash. `pinecall completion bash` prints this file.

_pinecall() {
    local program=$1 typed=${COMP_LINE:0:COMP_POINT} fits='' word before='' breaks='' name about
    COMPREPLY=()
    [[ $program == '~/'* ]] && program=$HOME/${program:2}
    # bash begins a word anew behind these signs, and wants only what comes after the last one.
    word=${typed##*[[:space:]]}
    [[ $COMP_WORDBREAKS == *:* ]] && breaks+=:
    [[ $COMP_WORDBREAKS == *=* ]] && breaks+='='
    [[ -n $breaks ]] && before=${word%"${word##*[$breaks]}"}
    while IFS=$'\t' read -r name about; do
        if [[ -z $fits ]]; then
            fits=$name
        else
            COMPREPLY+=("${name#"$before"}")
        fi
    done < <(_PINECALL_COMPLETE=complete_names _PINECALL_LINE=$typed "$program" \
        2>/dev/null </dev/null)
    # Before bash 4 there is no compopt, and files are offered where there is nothing else.
    case $fits in
        files)
            if ((${#COMPREPLY[@]})) && compopt -o filenames 2>/dev/null; then
                while IFS= read -r name; do
                    COMPREPLY+=("$name")
                done < <(compgen -f -- "${word#"$before"}")
            fi
            ;;
        folders) compopt +o default -o dirnames 2>/dev/null ;;
        *) compopt +o default 2>/dev/null ;;
    esac
    return 0
}

complete -o default -F _pinecall pinecall

# Completion of pinecall for fish. `pinecall completion fish` prints this file.

function __pinecall_offers
    set -l words (commandline -opc)
    set -l word (commandline -ct)
    set -l program (string replace -r '^~' $HOME -- $words[1])
    set -e words[1]
    set -lx _PINECALL_COMPLETE complete_names
    set -lx _PINECALL_WORDS (string join \n -- $words | string collect)
    set -lx _PINECALL_WORD $word
    set -l answer (command $program 2>/dev/null </dev/null)
    set -l fits $answer[1]
    set -e answer[1]
    set -q answer[1]; and printf '%s\n' $answer
    # Behind `--option=` a path begins anew.
    set -l head (string match --regex -- '^--[^=]*=' $word)
    set -l path (string replace -- "$head" '' $word)
    set -l paths
    switch "$fits"
        case files
            set paths (__fish_complete_path $path)
        case folders
            set paths (__fish_complete_directories $path)
    end
    set -q paths[1]; and printf '%s\n' "$head"$paths
    return 0
end

complete --command pinecall --no-files --keep-order --arguments '(__pinecall_offers)'

"""The scripts that let four shells ask `pinecall` what TAB offers.

They are printed by `pinecall completion`, and kept in ``completions/``. Each hands over the command
line and reads names: what the program says is data to them, and never evaluated.
"""

from __future__ import annotations

ASK = "names"
"""The instruction: ``_PINECALL_COMPLETE=complete_names``."""
LINE = "_PINECALL_LINE"
"""The line up to where TAB was pressed; or instead of it the two that follow."""
WORDS = "_PINECALL_WORDS"
"""The complete words behind the program's name, one a line."""
WORD = "_PINECALL_WORD"
"""The word that is being typed."""

BASH = r"""
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
"""

ZSH = r"""
#compdef pinecall
# Completion of pinecall for zsh. `pinecall completion zsh` prints this file.

_pinecall() {
  local line name fits
  local -a words_before answer offers
  local -i nothing=1
  (( CURRENT > 2 )) && words_before=("${(@Q)words[2,CURRENT-1]}")
  answer=("${(@f)$(
    _PINECALL_COMPLETE=complete_names _PINECALL_WORDS="${(F)words_before}" \
      _PINECALL_WORD="${(Q)PREFIX}" ${~${(Q)words[1]}} 2>/dev/null </dev/null
  )}")
  fits=$answer[1]
  for line in "${(@)answer[2,-1]}"; do
    name=${line%%$'\t'*}
    [[ -n $name ]] && offers+=("${name//:/\\:}:${line#*$'\t'}")
  done
  (( $#offers )) && _describe -t values 'pinecall' offers && nothing=0
  if [[ $fits == (files|folders) ]]; then
    [[ $PREFIX == --*=* ]] && compset -P '--*='
    if [[ $fits == files ]]; then _files; else _files -/; fi && nothing=0
  fi
  return nothing
}

if [[ $funcstack[1] == _pinecall ]]; then
  _pinecall "$@"
elif (( $+functions[compdef] )); then
  compdef _pinecall pinecall
fi
"""

FISH = r"""
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
"""

POWERSHELL = r"""
# Completion of pinecall for PowerShell. `pinecall completion powershell` prints this file.

Register-ArgumentCompleter -Native -CommandName pinecall -ScriptBlock {
    param($wordToComplete, $commandAst, $cursorPosition)
    $program, $before = $commandAst.CommandElements | Where-Object {
        $_.Extent.EndOffset -lt $cursorPosition
    } | ForEach-Object { if ($null -ne $_.Value) { $_.Value } else { $_.ToString() } }
    $answer = @()
    $env:_PINECALL_COMPLETE = 'complete_names'
    $env:_PINECALL_WORDS = $before -join "`n"
    $env:_PINECALL_WORD = $wordToComplete
    try {
        $answer = @(& $program 2>$null)
    } finally {
        Remove-Item Env:_PINECALL_COMPLETE, Env:_PINECALL_WORDS, Env:_PINECALL_WORD `
            -ErrorAction SilentlyContinue
    }
    $fits, $rows = $answer
    foreach ($row in $rows) {
        $name, $about = $row -split "`t", 2
        if (-not $about) { $about = $name }
        [System.Management.Automation.CompletionResult]::new($name, $name, 'ParameterValue', $about)
    }
    if ($fits -in 'files', 'folders') {
        [System.Management.Automation.CompletionCompleters]::CompleteFilename($wordToComplete)
    }
}
"""

SCRIPTS = {
    "bash": BASH.strip(),
    "zsh": ZSH.strip(),
    "fish": FISH.strip(),
    "powershell": POWERSHELL.strip(),
}
"""Each shell's script."""
FILES = {
    "bash": "pinecall.bash",
    "zsh": "_pinecall",
    "fish": "pinecall.fish",
    "powershell": "pinecall.ps1",
}
"""What each is called in ``completions/``, as its shell wants it called."""

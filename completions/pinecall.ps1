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

"""Hot reload: from saved files to the smallest frames, without ending a call.

`plan` is pure and decides; `watch` sees files change; `apply` loads, sends and reports. What an
agent file means is `agent`'s business, how frames travel is `sdk`'s; nothing here draws.
"""

"""What an agent is, and how one is read from YAML, Python and the files they name.

Here live the frozen configuration, `Agent` and `tool`, the loaders with their positions, the
offline check and the diff between two configurations. Nothing here opens a socket, knows a call
or draws; what reaches the wire does so through `define.Wire`. `yaml_nodes` alone imports yaml.
"""

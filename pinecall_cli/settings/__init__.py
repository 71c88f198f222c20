"""Which server, which key, which folders: flag, environment, ``.env``, project, profile, default.

Nothing is read at import. What settings are read *from* is one value, `Surroundings`, so a
test hands in another one. A key is a `Secret` from the moment it is read: no ``repr`` shows it.
What may not live here: asking who answers at a URL, which is the business of ``sdk``, and anything
that an agent's file says.
"""

from pinecall_cli.settings.dotenv import MAX_DOTENV_BYTES, Dotenv, nearest_dotenv, parse_dotenv
from pinecall_cli.settings.folders import config_dir, data_dir, run_dir, state_dir
from pinecall_cli.settings.profile import (
    DEFAULT,
    profile_file,
    read_profile,
    read_profiles,
    write_profiles,
)
from pinecall_cli.settings.project import PROJECT_FILE, Project, project_file
from pinecall_cli.settings.resolve import Places, Settings, no_profile, places, resolve
from pinecall_cli.settings.urls import http_base, is_loopback, ws_base
from pinecall_cli.settings.values import (
    HOSTED_URL,
    KEY_VARIABLE,
    PROFILE_VARIABLE,
    URL_VARIABLE,
    Flags,
    Origin,
    Secret,
    Setting,
    Surroundings,
    Target,
)

__all__ = [
    "DEFAULT",
    "HOSTED_URL",
    "KEY_VARIABLE",
    "MAX_DOTENV_BYTES",
    "PROFILE_VARIABLE",
    "PROJECT_FILE",
    "URL_VARIABLE",
    "Dotenv",
    "Flags",
    "Origin",
    "Places",
    "Project",
    "Secret",
    "Setting",
    "Settings",
    "Surroundings",
    "Target",
    "config_dir",
    "data_dir",
    "http_base",
    "is_loopback",
    "nearest_dotenv",
    "no_profile",
    "parse_dotenv",
    "places",
    "profile_file",
    "project_file",
    "read_profile",
    "read_profiles",
    "resolve",
    "run_dir",
    "state_dir",
    "write_profiles",
    "ws_base",
]

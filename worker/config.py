"""The worker's settings file: YAML in, a frozen `WorkerConfig` out."""

from __future__ import annotations

import os
import re
import socket
import stat
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from protocol.address import BadAddress, MasterAddress, is_loopback, parse_address
from protocol.trust import BadCertificate, Trust, fingerprint_of

Isolation = Literal["native", "chroot", "vm"]
Text = Annotated[str, Meta(min_length=1, max_length=200)]
AptLine = Annotated[str, Meta(min_length=1, max_length=4096)]
PluginSettings = dict[Literal["miniconda_conda_channel", "miniconda_installer"], Text]

#: Bytes that must be free for an order to be taken, if the file does not say.
_FREE_BYTES = 256 * 1024 * 1024


class ConfigError(Exception):
    """The settings are wrong: the operator's to mend; the text names file and key."""


class WorkerConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator decides; `read_config` makes paths absolute."""

    data: Text  #: folder for all that the worker keeps
    masters: Annotated[tuple[str, ...], Meta(min_length=1)]  #: tried in turn
    token_file: Text  #: holds the token that lets this worker join; mode 0600
    ca_file: Text | None = None  #: authorities that masters' certificates come from
    master_fingerprint: Text | None = None  #: SHA-256 of the masters' one certificate
    plain_text_off_loopback: bool = False  #: speak without TLS to other machines, too
    name: Text = socket.gethostname()
    slots: Annotated[int, Meta(ge=1, le=10_000)] = os.cpu_count() or 1
    tags: tuple[Text, ...] = ()
    restricted_tags: tuple[Text, ...] = ()  #: only for jobs that ask for all of them
    # What its jobs may take together; None: what the machine has.
    cpu: Annotated[int, Meta(ge=1, le=100_000)] | None = None  #: cores
    memory: Annotated[int, Meta(ge=2**20, le=2**60)] | None = None  #: bytes
    disk: Annotated[int, Meta(ge=2**20, le=2**60)] | None = None  #: bytes
    #: None: whatever this machine can do.
    isolations: Annotated[tuple[Isolation, ...], Meta(min_length=1)] | None = None
    #: Further architectures whose native commands this machine runs, as in i386 on amd64.
    architectures: tuple[Text, ...] = ()
    #: What runs pipeline jobs of chroot builds: "lpci" where the operator has it.
    engine: Literal["own", "lpci"] = "own"
    #: What makes chroots: "lxd" has containers of LXD or Incus in their place.
    containers: Literal["own", "lxd"] = "own"
    #: Architectures whose chroots this machine makes by emulation.
    foreign_architectures: tuple[Text, ...] = ()
    series_images: dict[Text, Text] = {}  #: {"jammy": "bookworm"}: series -> image
    images: Text = "images"  #: folder of the images that chroots start from
    cache: Text = "cache"  #: folder of the git mirrors
    vm_jobs: tuple[Text, ...] = ()  #: pipeline jobs that get a vm in builds of chroots
    network: bool = True  #: whether builds in a chroot reach the network
    environment: dict[str, str] = {}  #: variables of every command, whatever jobs say
    package_repositories: tuple[AptLine, ...] = ()  #: lines for apt, before those of jobs
    replace_package_repositories: tuple[AptLine, ...] = ()  #: lines instead of the image's
    secrets_file: Text | None = None  #: maps names to secrets; mode 0600
    trusted_ppas: tuple[Text, ...] = ()  #: PPAs whose signatures are not checked
    launchpad_api: Text = "https://api.launchpad.net/devel"  #: where PPAs' keys are asked
    plugin_settings: PluginSettings = {}
    #: Whether it performs native jobs; None: if it offers native builds.
    native_jobs: bool | None = None
    native_commands: dict[Text, Annotated[tuple[str, ...], Meta(min_length=1)]] = {}
    on_stop: Literal["leave", "kill"] = "leave"  #: what becomes of running builds
    memory_limit: Annotated[int, Meta(ge=16 << 20)] | None = None  #: bytes, of a build
    process_limit: Annotated[int, Meta(ge=8)] | None = None
    processor_limit: Annotated[float, Meta(gt=0)] | None = None
    disk_limit: Annotated[int, Meta(ge=16 << 20)] | None = None
    package_layer_age: Annotated[float, Meta(ge=0)] = 7 * 86400.0
    cache_limit: Annotated[int, Meta(ge=0)] = 20 * 1024**3
    free_bytes: Annotated[int, Meta(ge=0)] = _FREE_BYTES  #: without them no order is taken

    @property
    def addresses(self) -> tuple[MasterAddress, ...]:
        """``masters``, taken apart."""
        return tuple(parse_address(url) for url in self.masters)

    @property
    def trust(self) -> Trust:
        """Which masters are believed to be who they say."""
        return Trust(self.ca_file, self.master_fingerprint)


def read_config(path: Path) -> WorkerConfig:
    """The settings in ``path``; raises `ConfigError`.

    Paths in the file are relative to ``data``, and that to the file's own folder.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error}") from error
    try:
        node = yaml.compose(text, yaml.CSafeLoader)
        settings: Any = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(settings, dict):
        raise ConfigError(f"{path} must be a mapping of settings")
    lines = _check_keys(path, node)
    try:
        config = msgspec.convert(settings, WorkerConfig)
        _check_masters(config)
    except (msgspec.ValidationError, ConfigError) as error:
        raise ConfigError(_located(path, str(error), lines)) from error
    return _absolute(config, path.parent)


def read_token(path: Path) -> str:
    """The token in ``path``, or `ConfigError`. Read it at each hello: it may change."""
    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            token = stream.read(1024).decode("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the token file {path} cannot be read: {error}") from error
    if mode & 0o077:
        raise ConfigError(
            f"the token file {path} can be read by others (mode {mode:04o}): "
            f"chmod 600 {path}"
        )
    if not 1 <= len(token) <= 200 or not token.isprintable():
        raise ConfigError(f"the token file {path} must hold one token, on one line")
    return token


def _check_keys(path: Path, node: yaml.MappingNode) -> dict[str, int]:
    """The line of each key; an unknown or a repeated one is an error."""
    known = WorkerConfig.__struct_fields__
    lines: dict[str, int] = {}
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value not in known:
            close = get_close_matches(str(key.value), known, 1)
            hint = f"did you mean {close[0]}?" if close else f"known: {', '.join(known)}"
            raise ConfigError(f"{path}, line {line}: there is no key {key.value!r}; {hint}")
        if key.value in lines:
            raise ConfigError(
                f"{path}, line {line}: {key.value} is set in line {lines[key.value]}, too"
            )
        lines[key.value] = line
    return lines


def _located(path: Path, problem: str, lines: dict[str, int]) -> str:
    """``problem`` with the file, and with the line of the key that it names."""
    named = re.search(r"`\$\.([a-z_]+)", problem)
    if named is not None and named[1] in lines:
        return f"{path}, line {lines[named[1]]}: {named[1]}: {problem}"
    return f"{path}: {problem}"


def _check_masters(config: WorkerConfig) -> None:
    try:
        addresses = config.addresses
    except BadAddress as error:
        raise ConfigError(f"{error} - at `$.masters`") from error
    for address in addresses:
        plain = not address.is_secure and not is_loopback(address.host)
        if plain and not config.plain_text_off_loopback:
            raise ConfigError(
                f"{address.url} would send this worker's token and all it builds in the "
                f"clear to another machine - at `$.masters`; write pbs:// or wss://, or "
                f"set plain_text_off_loopback: true if the network itself is safe"
            )
    if config.ca_file is not None and config.master_fingerprint is not None:
        raise ConfigError(
            "set ca_file or master_fingerprint, not both - at `$.master_fingerprint`"
        )
    if config.master_fingerprint is not None:
        try:
            fingerprint_of(config.master_fingerprint)
        except BadCertificate as error:
            raise ConfigError(f"{error} - at `$.master_fingerprint`") from error


def _absolute(config: WorkerConfig, base: Path) -> WorkerConfig:
    data = (base / config.data).resolve()
    return msgspec.structs.replace(
        config,
        data=str(data),
        token_file=str((base / config.token_file).resolve()),
        ca_file=config.ca_file and str((base / config.ca_file).resolve()),
        images=str(data / config.images),
        cache=str(data / config.cache),
        secrets_file=config.secrets_file and str((base / config.secrets_file).resolve()),
    )

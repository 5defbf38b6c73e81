"""The buildmaster's settings file: YAML in, a frozen `MasterConfig` out."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import yaml
from msgspec import Meta

from buildmaster.people.settings import People, mistakes
from buildmaster.requests import Requirements
from protocol.address import is_loopback

EMBEDDED = "embedded"

Seconds = Annotated[float, Meta(gt=0)]
Port = Annotated[str, Meta(pattern="^[^ ]+:[0-9]{1,5}\\Z")]


class ConfigError(Exception):
    """The settings are wrong: the operator's to mend; the text names file and key."""


class Listen(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Addresses as HOST:PORT; port 0 lets the system choose one."""

    #: None: this master gives no work, and serves those who read and ask.
    workers: Port | None = "127.0.0.1:8011"
    http: Port = "127.0.0.1:8010"
    status: Port | None = None  #: Perspective Broker for readers of the status


class TLSFiles(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """PEM files, relative to the data folder, for both ports."""

    certificate: str  #: may go on with those of its authorities
    key: str


class WorkerEntry(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker that may join: exactly one of the two says which token is its own."""

    token_file: str | None = None
    token_sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")] | None = None


class MasterConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator decides. Times are seconds."""

    data: str  #: folder for all that the master keeps outside the database
    name: Annotated[str, Meta(min_length=1, max_length=100)] = socket.gethostname()
    database: str = EMBEDDED  #: or the DSN of an existing PostgreSQL
    listen: Listen = Listen()
    tls: TLSFiles | None = None
    plain_text_off_loopback: bool = False  #: listen without TLS for other machines, too
    public_url: str | None = None  #: how workers and people reach the HTTP port
    hosts: tuple[str, ...] = ()  #: further names that the Host header may have
    access_log: bool = False  #: one line of JSON for each answer, in access.log
    open_reading: bool = True  #: whether everybody who reaches the HTTP port may read
    people: People | None = None  #: who come without a token, and what they may do
    workers: dict[str, WorkerEntry] = {}
    isolation: Literal["native", "chroot", "vm"] = "native"
    local_repositories: bool = False  #: allow paths of this machine as repositories
    resume_grace: Annotated[float, Meta(ge=40)] = 300.0
    retry_delays: Annotated[tuple[Seconds, ...], Meta(min_length=1)] = (2.0, 10.0, 60.0)
    heartbeat: Seconds = 5.0
    blob_limit: Annotated[int, Meta(gt=0)] = 4 * 2**30  #: bytes of one file
    #: Bytes of all files that builds of one repository may leave; None: any number.
    project_quota: Annotated[int, Meta(gt=0)] | None = None
    run_limit: Seconds | None = 6 * 3600.0  #: of one attempt
    idle_limit: Seconds | None = 3600.0  #: without output
    kinds: dict[str, Requirements] = {}  #: what jobs of a kind need, unless they say it

    #: For which histories of workflows that have ended are kept; None: for good.
    workflow_history_age: Seconds | None = 90 * 86400.0
    webhooks: dict[str, str] = {}  #: the file of the secret of each, below ``data``

    @property
    def is_secure(self) -> bool:
        """Whether people reach the HTTP port with TLS, also where a proxy ends it."""
        if self.public_url is not None:
            return self.public_url.startswith("https://")
        return self.tls is not None

    @property
    def data_folder(self) -> Path:
        """``data`` as a path."""
        return Path(self.data)


def read_config(path: Path) -> MasterConfig:
    """The settings in ``path``; raises `ConfigError`."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error}") from error
    try:
        settings: Any = yaml.load(text, yaml.CSafeLoader)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not YAML: {error}") from error
    if not isinstance(settings, dict):
        raise ConfigError(f"{path} must be a mapping of settings")
    try:
        config = msgspec.convert(settings, MasterConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
    for name, entry in config.workers.items():
        if (entry.token_file is None) == (entry.token_sha256 is None):
            raise ConfigError(
                f"{path}: workers.{name} needs either token_file or token_sha256"
            )
    for mistake in () if config.people is None else mistakes(config.people):
        raise ConfigError(f"{path}: {mistake}")
    _check_plain_text(path, config)
    return msgspec.structs.replace(config, data=str(path.parent / config.data))


def _check_plain_text(path: Path, config: MasterConfig) -> None:
    if config.tls is not None or config.plain_text_off_loopback:
        return
    for name in ("workers", "http", "status"):
        address: str | None = getattr(config.listen, name)
        if address is not None and not is_loopback(address.rpartition(":")[0]):
            raise ConfigError(
                f"{path}: listen.{name} is {address}, where other machines would send"
                f" tokens in the clear: set tls, or plain_text_off_loopback: true if the"
                f" network itself is safe"
            )

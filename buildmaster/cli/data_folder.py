"""The data folder of a farm of one's own: where it is, and the settings files in it.

What is missing is written once; what is there is the operator's, and left alone.
"""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from buildmaster.cli.problems import CommandFailed
from buildmaster.config import ConfigError, MasterConfig, read_config
from protocol.trust import Trust

#: Where `headrace up` listens, unless told otherwise.
DEFAULT_HTTP = "127.0.0.1:8010"
DEFAULT_WORKERS = "127.0.0.1:8011"
#: The files of TLS that `headrace up --tls` makes.
CERTIFICATE = "certificate.pem"
KEY = "certificate-key.pem"


def default_data_folder(environ: Mapping[str, str]) -> Path:
    """Where a farm's data lie if nobody says."""
    return _folder_for(environ, "XDG_DATA_HOME", ".local/share", "/var/lib")


def default_cache_folder(environ: Mapping[str, str]) -> Path:
    """Where images and mirrors of repositories lie, which several farms can use."""
    return _folder_for(environ, "XDG_CACHE_HOME", ".cache", "/var/cache")


def _folder_for(
    environ: Mapping[str, str], variable: str, in_home: str, of_root: str
) -> Path:
    named = environ.get(variable, "")
    if named.startswith("/"):
        return Path(named) / "headrace"
    if os.geteuid() == 0:
        return Path(of_root) / "headrace"
    return Path.home() / in_home / "headrace"


@dataclass(frozen=True)
class FarmSettings:
    """What is asked of a new data folder."""

    workers: int = 1
    http: str | None = None  #: asked for; None: what the folder's settings say
    default_http: str = DEFAULT_HTTP
    listen_for_workers: str | None = None  #: None: the default, or a port that is free
    tls: bool = False  #: make a certificate, and speak nothing but TLS
    series_images: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DataFolder:
    """One farm's folder."""

    path: Path
    cache: Path

    @property
    def master_settings(self) -> Path:
        """The buildmaster's settings file."""
        return self.path / "master.yaml"

    @property
    def token_file(self) -> Path:
        """The token that lets its reader ask the farm for work."""
        return self.path / "token"

    def worker_folder(self, name: str) -> Path:
        """Everything of one worker."""
        return self.path / "workers" / name

    def worker_settings(self, name: str) -> Path:
        """A worker's settings file."""
        return self.worker_folder(name) / "worker.yaml"

    def make(self) -> None:
        """Make the folder, for us alone as far as can be."""
        # PostgreSQL runs as an account of its own when we are root, and must pass.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            if not self.path.exists():
                self.path.mkdir(parents=True, mode=0o700)
                self.path.chmod(mode)
            self.cache.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CommandFailed(
                f"The folder {error.filename} cannot be made: {error.strerror}. Name"
                " another data folder with --data."
            ) from error

    def settle_master(self, settings: FarmSettings) -> MasterConfig:
        """The buildmaster's settings, written from ``settings`` if there are none."""
        if not self.master_settings.exists():
            names = [f"worker-{number + 1}" for number in range(settings.workers)]
            for name in names:
                self.worker_folder(name).mkdir(parents=True, exist_ok=True, mode=0o700)
                self._write_token(self.worker_folder(name) / "token")
            document: dict[str, object] = {
                "data": ".",
                "listen": {
                    "http": settings.http or settings.default_http,
                    "workers": settings.listen_for_workers or _free(DEFAULT_WORKERS),
                },
                # Whoever may write here has this account's token: its repositories, too.
                "local_repositories": True,
                "workers": {
                    name: {"token_file": f"workers/{name}/token"} for name in names
                },
            }
            if settings.tls:
                self._make_certificate(document)
            _write(self.master_settings, "the buildmaster", document)
        try:
            config = read_config(self.master_settings)
        except ConfigError as error:
            raise CommandFailed(f"{error}. Mend or remove that file.") from error
        if settings.tls and config.tls is None:
            raise CommandFailed(
                f"{self.master_settings} says that this farm speaks without TLS: set tls"
                " there, or leave out --tls."
            )
        if settings.http not in (None, config.listen.http):
            raise CommandFailed(
                f"{self.master_settings} says that this farm listens at"
                f" {config.listen.http}: change it there, or leave out --http."
            )
        return config

    def trust(self, config: MasterConfig) -> Trust:
        """By what this farm's own clients know it."""
        if config.tls is None:
            return Trust()
        return Trust(ca_file=str(config.data_folder / config.tls.certificate))

    def _make_certificate(self, document: dict[str, object]) -> None:
        # Imported where it is needed: it takes long.
        from protocol.tls import make_certificate

        names = ["localhost", "127.0.0.1", "::1", socket.gethostname()]
        make_certificate(self.path / CERTIFICATE, self.path / KEY, names)
        document["tls"] = {"certificate": CERTIFICATE, "key": KEY}

    def settle_worker(self, name: str, master: str, settings: FarmSettings) -> None:
        """Write a worker's settings if there are none; ``master`` is its address."""
        if self.worker_settings(name).exists():
            self._check_series(self.worker_settings(name), settings.series_images)
            self._tell_address(self.worker_settings(name), master)
            return
        document: dict[str, object] = {
            "name": name,
            "masters": [master],
            "token_file": "token",
            "data": ".",
            "slots": max(1, (os.cpu_count() or 1) // settings.workers),
            "series_images": dict(settings.series_images),
            "images": str(self.cache / "images"),
            "cache": str(self.cache / "repositories"),
            # Nobody would look after a build when the farm is stopped.
            "on_stop": "kill",
        }
        trust = self.trust(read_config(self.master_settings))
        if trust.ca_file is not None:
            document["ca_file"] = trust.ca_file
        _write(self.worker_settings(name), "this worker", document)

    def _check_series(self, path: Path, wanted: Mapping[str, str]) -> None:
        """What was asked for and isn't so must not be passed over in silence."""
        had = _mapping_in(path).get("series_images") or {}
        for series, image in wanted.items():
            if not isinstance(had, dict) or had.get(series) != image:
                raise CommandFailed(
                    f"{path}, written when this farm was made, does not map {series} to"
                    f" {image}: change series_images there, or name another folder with"
                    " --data."
                )

    def _tell_address(self, path: Path, master: str) -> None:
        """Where the buildmaster listens at another port each time, the worker's follow."""
        port = read_config(self.master_settings).listen.workers
        if port is None or not port.endswith(":0"):
            return
        masters = _mapping_in(path).get("masters")
        if isinstance(masters, list) and len(masters) == 1 and masters != [master]:
            # The rest of the file, comments included, is the operator's.
            text = path.read_text("utf-8").replace(str(masters[0]), master)
            _replace(path, text)

    def _write_token(self, path: Path) -> None:
        if not path.exists():
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w") as file:
                file.write(secrets.token_urlsafe(32) + "\n")


def _free(address: str) -> str:
    """``address``, or the same host with another port if that one is taken."""
    host, _, port = address.rpartition(":")
    for wanted in (int(port), 0):
        with socket.socket() as probe:
            # As the buildmaster will bind it, after the one before it has just ended.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, wanted))
                probe.listen(1)
                return f"{host}:{probe.getsockname()[1]}"
    return address


def _mapping_in(path: Path) -> dict[str, object]:
    """Empty if the file is not to be understood: the worker will say what is wrong."""
    with suppress(OSError, ValueError, yaml.YAMLError):
        document = yaml.safe_load(path.read_text("utf-8"))
        if isinstance(document, dict):
            return document
    return {}


def _write(path: Path, whose: str, document: Mapping[str, object]) -> None:
    text = yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True)
    _replace(
        path,
        f"# Settings of {whose}, written once by 'headrace up'; yours to change.\n{text}",
    )


def _replace(path: Path, text: str) -> None:
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.write_text(text, "utf-8")
    os.replace(unfinished, path)

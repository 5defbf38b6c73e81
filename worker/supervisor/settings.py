"""What the operator of a worker decided, as its supervisors read it."""

from __future__ import annotations

import msgspec


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The contents of ``worker.json`` in an attempt's folder."""

    cache: str  #: folder of the git mirrors that the attempts of this worker share
    images: str | None = None  #: folder of the images that chroots start from
    engine: str = "own"  #: or "lpci"
    containers: str = "own"  #: or "lxd": what makes chroots
    architecture: str = ""  #: the machine's, as Debian calls it; "": that of every order
    series_images: dict[str, str] = {}  #: {"jammy": "bookworm"}: series -> image
    vm_jobs: tuple[
        str, ...
    ] = ()  #: pipeline jobs that get a virtual machine in chroot builds
    network: bool = True  #: whether builds in a chroot reach the network
    environment: dict[str, str] = {}  #: variables of every command, whatever jobs say
    package_repositories: tuple[str, ...] = ()  #: lines for apt, before those of jobs
    replace_package_repositories: tuple[str, ...] = ()  #: lines instead of the image's
    ca_file: str | None = None  #: authorities of masters' certificates, as PEM
    master_fingerprint: str | None = None  #: or the SHA-256 of their one certificate
    secrets_file: str | None = None  #: for the braces in lines for apt
    trusted_ppas: tuple[str, ...] = ()  #: PPAs whose signatures are not checked
    launchpad_api: str = "https://api.launchpad.net/devel"  #: where PPAs' keys are asked
    plugin_settings: dict[str, str] = {}  #: {"miniconda_conda_channel": ...}
    memory_limit: int | None = None  #: bytes; None: four fifths of the machine's
    process_limit: int | None = None  #: None: `making.PROCESSES`
    processor_limit: float | None = None  #: None: all there are
    disk_limit: int | None = None  #: bytes; None: `making.DISK`
    package_layer_age: float = 7 * 86400.0  #: seconds for which layers are fresh; 0: none
    cache_limit: int = 20 * 1024**3  #: bytes of images with their layers; and of mirrors
    git_protocols: tuple[str, ...] = ("file", "git", "http", "https", "ssh")
    grace: float = 2.0  #: seconds between TERM and KILL when a build is stopped
    log_limit: int = 2 * 1024**3  #: bytes of log of one attempt
    tree_limit: int = 20 * 1024**3  #: bytes of a source tree that was sent, unpacked

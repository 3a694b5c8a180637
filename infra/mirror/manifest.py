"""The manifest, typed: what the site installs, from where, with which checksum, and how it is obtained here."""

import functools
import hashlib
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from infra.mirror.errors import MirrorError
from infra.paths import repo_root

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Go(_Strict):
    """Built from Go modules: go.mod and go.sum under sources/<source> pin every line that is compiled."""

    kind: Literal["go"]
    source: str
    binaries: dict[str, str]
    variables: dict[str, str] = {}
    module: str = ""
    module_files: dict[str, str] = {}
    archive: str = ""


class Maven(_Strict):
    """Assembled from jars: sources/<source> has the pom, the checksum of every jar, and the files laid beside them."""

    kind: Literal["maven"]
    source: str
    prefix: str


class Wheels(_Strict):
    """Downloaded wheels of a lock file, for the hosts' Python and platform."""

    kind: Literal["wheels"]
    lock: str
    python: str
    platforms: list[str]


class Apt(_Strict):
    """Debian packages: never stored here, installed by apt through the site's proxy and checked by apt's signatures."""

    kind: Literal["apt"]
    suite: str
    packages: list[str]


class Artefact(_Strict):
    """One thing that the site installs."""

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    version: str
    upstream: str
    upstream_sha256: Sha256 | None = None
    file: str = ""
    sha256: Sha256 | None = None
    more_files: dict[str, Sha256] = {}
    # Whether `path` names the folder (several files, or a folder that goes on PATH) or the single file.
    directory: bool = False
    obtain: Annotated[Go | Maven | Wheels | Apt, Field(discriminator="kind")]

    @model_validator(mode="after")
    def _built_means_pinned(self) -> "Artefact":
        if isinstance(self.obtain, Go | Maven) and not (self.file and self.sha256):
            raise ValueError(f"{self.name}: an artefact built here needs `file` and `sha256`")
        return self

    @property
    def stored(self) -> bool:
        """Whether the mirror keeps files of it (apt's packages pass through the proxy instead)."""
        return not isinstance(self.obtain, Apt)

    @property
    def files(self) -> dict[str, str]:
        """File name to sha256 of all that the store must hold; empty where a lock file says it instead."""
        return ({self.file: self.sha256} if self.sha256 else {}) | self.more_files


class GoToolchain(_Strict):
    version: str
    wheel: str
    sha256: Sha256


class Toolchain(_Strict):
    go: GoToolchain


class Manifest(_Strict):
    toolchain: Toolchain
    artefacts: list[Artefact]

    @model_validator(mode="after")
    def _unique(self) -> "Manifest":
        names = [a.name for a in self.artefacts]
        twice = sorted({n for n in names if names.count(n) > 1})
        if twice:
            raise ValueError(f"named twice: {', '.join(twice)}")
        return self


def source_dir(name: str) -> Path:
    """What we keep in the repository to build one artefact."""
    return Path(__file__).parent / "sources" / name


@functools.cache
def manifest() -> Manifest:
    """The parsed manifest.yaml."""
    path = Path(__file__).parent / "manifest.yaml"
    try:
        parsed = Manifest.model_validate(yaml.load(path.read_bytes(), Loader=_Loader))  # noqa: S506  both are safe loaders
    except (ValidationError, yaml.YAMLError) as e:
        raise MirrorError("manifest", f"{path} is not valid", found=str(e), mend="correct the entry it names") from e
    return parsed.model_copy(update={"artefacts": [_with_version(a) for a in parsed.artefacts]})


# The C loader is ten times faster, and every `pulumi` command comes by here; PyYAML is sometimes built without it.
_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _with_version(artefact: Artefact) -> Artefact:
    if not isinstance(artefact.obtain, Wheels):
        return artefact
    lock = repo_root() / artefact.obtain.lock
    if not lock.is_file():
        raise MirrorError(artefact.name, "no lock file", expected=str(lock), mend="run infra/lock.sh")
    pins = [line.split("#")[0].strip() for line in lock.read_text().splitlines()]
    # Comments name who asked for a package; only the pins decide what is downloaded.
    digest = hashlib.sha256("\n".join(p for p in pins if p).encode()).hexdigest()
    return artefact.model_copy(update={"version": digest[:16]})


def load() -> list[Artefact]:
    """Every artefact, in the order in which `fill` obtains them."""
    return manifest().artefacts


def find(name: str) -> Artefact:
    """One artefact by name."""
    for artefact in load():
        if artefact.name == name:
            return artefact
    known = ", ".join(a.name for a in load())
    raise MirrorError(name, "no such artefact", expected=f"one of {known}", mend="see infra/mirror/manifest.yaml")

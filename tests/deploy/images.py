"""The container images: built on a Debian of this machine's own mirror, and run as Kubernetes would run them."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from seedtest_assets.local.home import CHECKOUT
from tests.deploy.policies import PINNED

DOCKER = CHECKOUT / "deploy" / "docker"
NAMES = ("pipeline", "r-services")
VERSION, REVISION, SOURCE = "0.0.0-test", "0" * 40, "https://seedtest.example/source"
USER = 10001
WRITABLE = {"dev", "tmp", "var/tmp", "run/lock", "opt/dagster/dagster_home"}
"""What a user may write to. A runtime makes its own /dev, and a read-only root leaves /tmp and the last of them."""
WITHOUT_RIGHTS = (
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups"),
    *("--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"),
)

Config = dict[str, Any]


def tool(name: str) -> str:
    """A program of the virtual environment or of this machine."""
    found = shutil.which(name, path=Path(sys.executable).parent) or shutil.which(name)
    assert found is not None, f"{name} is missing"
    return found


def dockerfile(name: str) -> Path:
    """What an image is built from."""
    return DOCKER / f"{name}.Dockerfile"


# -- what is demanded ------------------------------------------------------------------------------------------


def unpinned_bases(text: str) -> list[str]:
    """Every stage of a Dockerfile stands on an earlier one or on BASE, which has a version."""
    complaints, stages = [], {"${BASE}"}
    for line in text.splitlines():
        match line.split():
            case ["ARG", argument] if argument.startswith("BASE"):
                base = argument.partition("=")[2]
                complaints += [] if PINNED.search(base) else [f"BASE is {base or 'nothing'}"]
            case ["FROM", base, *named]:
                complaints += [] if base in stages else [f"a stage is from {base}"]
                stages.update(named[1:])
    return complaints


def unfit(name: str, config: Config) -> list[str]:
    """What of an image's configuration is not as docs/deploy.md and the manifests have it."""
    wanted: Config = {
        "User": f"{USER}:{USER}",
        "Labels": {
            "org.opencontainers.image.title": f"seedtest/{name}",
            "org.opencontainers.image.licenses": "Apache-2.0",
            "org.opencontainers.image.source": SOURCE,
            "org.opencontainers.image.version": VERSION,
            "org.opencontainers.image.revision": REVISION,
        },
        "Entrypoint": None,
    }
    if name == "r-services":
        wanted["Entrypoint"] = ["Rscript", "/opt/seedtest/r_plumber/common/serve.R"]
        wanted["StopSignal"] = "SIGINT"
    complaints = []
    for key, value in wanted.items():
        given = config.get(key) or None
        if isinstance(value, dict):
            given = {label: said for label, said in (given or {}).items() if label in value}
        if given != value:
            complaints.append(f"{key} is {given}")
    return complaints


def writable(root: Path) -> list[str]:
    """Files and folders that the user of the images could change, but for those in WRITABLE."""
    found = []
    for parent, folders, files in os.walk(root):
        here = Path(parent).relative_to(root)
        folders[:] = [name for name in folders if (here / name).as_posix() not in WRITABLE]
        for path in (Path(parent), *(Path(parent, name) for name in files)):
            status = path.lstat()
            of_group, of_all = status.st_gid == USER and status.st_mode & 0o020, status.st_mode & 0o002
            if status.st_uid == USER or (not path.is_symlink() and (of_group or of_all)):
                found.append(path.relative_to(root).as_posix())
    return sorted(found)


# -- building --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Image:
    """An image that was built: its configuration, and its files."""

    name: str
    config: Config
    root: Path

    def command(
        self, *arguments: str, environment: Mapping[str, str] | None = None, binds: Mapping[Path, str] | None = None
    ) -> list[str]:
        """Run it as its configuration says, but with nothing to write to beside /tmp and `binds`.

        As under the manifests: its user, no capability, no way to any, a read-only root. The network is this machine's.
        """
        variables = dict(pair.split("=", 1) for pair in self.config["Env"]) | {"HOME": "/tmp"} | (environment or {})
        return [
            *("bwrap", "--ro-bind", str(self.root), "/", "--perms", "1777", "--tmpfs", "/tmp"),
            *(part for outside, inside in (binds or {}).items() for part in ("--bind", str(outside), inside)),
            *("--proc", "/proc", "--dev", "/dev", "--unshare-pid", "--as-pid-1"),
            *("--clearenv", *(part for pair in variables.items() for part in ("--setenv", *pair))),
            *("--chdir", self.config["WorkingDir"], *WITHOUT_RIGHTS),
            *(self.config.get("Entrypoint") or []),
            *arguments,
        ]

    def run(self, *arguments: str, stdin: str | None = None, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        command = self.command(*arguments, **options)
        return subprocess.run(command, input=stdin, check=False, capture_output=True, text=True, timeout=300)

    @contextmanager
    def served(self, *arguments: str, log: Path, **options: Any) -> Iterator[psutil.Process]:
        """Run it while the block runs, which gets its process 1."""
        with log.open("wb") as output:
            outside = psutil.Popen(
                self.command(*arguments, **options), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )
        try:
            while not (inside := outside.children()):
                assert outside.poll() is None, log.read_text()
                time.sleep(0.01)
            yield inside[0]
        finally:
            for process in (*outside.children(), outside):
                process.kill()
            outside.wait()


@dataclass(frozen=True)
class Store:
    """Images in a folder of their own."""

    folder: Path

    def buildah(self, *arguments: str | Path) -> str:
        """What buildah prints."""
        places = ("--root", self.folder / "images", "--runroot", self.folder / "run")
        made = subprocess.run(["buildah", *places, *arguments], check=False, capture_output=True, text=True)
        assert made.returncode == 0, (made.stdout + made.stderr)[-4000:]
        return made.stdout.strip()

    def build(self, file: Path, context: Path, tag: str, *options: str) -> None:
        """Build a Dockerfile. `chroot` needs neither a container runtime nor a network of its own."""
        how = ("--isolation", "chroot", "--format", "docker", "--file", file, "--tag", tag)
        self.buildah("bud", *how, *options, context)

    def files(self, tag: str) -> Path:
        """The files of an image."""
        return Path(self.buildah("mount", self.buildah("from", tag)))

    def image(self, name: str) -> Image:
        """An image that was built."""
        tag = f"localhost/seedtest/{name}"
        config = json.loads(self.buildah("inspect", "--type", "image", tag))["Docker"]["config"]
        return Image(name, config, self.files(tag))

    def close(self) -> None:
        """Give everything back."""
        self.buildah("rm", "--all")
        for place in (self.folder / "images" / "overlay", self.folder / "images"):
            if place.is_mount():
                subprocess.run(["umount", place], check=True)
        shutil.rmtree(self.folder)


def debian(store: Store) -> str:
    """A base: Debian 12 as apt of this machine finds it, with the certificates that this machine trusts.

    No registry is asked for one, and a package index that is reached through a proxy stays this machine's affair.
    """
    folder = store.folder / "debian"
    folder.mkdir()
    sources = next(filter(Path.exists, map(Path, ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"))))
    command = ["mmdebstrap", "--quiet", "--variant=minbase", "bookworm", folder / "debian.tar", sources]
    made = subprocess.run(command, check=False, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr[-4000:]
    certificates = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    shutil.copyfile(certificates, folder / "machine.crt")
    (folder / "uv.toml").write_text("system-certs = true\n")
    steps = ("FROM scratch", "ADD debian.tar /", "COPY machine.crt /usr/local/share/ca-certificates/")
    (folder / "Dockerfile").write_text("\n".join((*steps, "COPY uv.toml /etc/uv/")))
    store.build(folder / "Dockerfile", folder, "localhost/debian")
    shutil.rmtree(folder)
    return "localhost/debian"


def built(store: Store) -> dict[str, Image]:
    """Both images, each from its Dockerfile."""
    arguments = {"BASE": debian(store), "VERSION": VERSION, "REVISION": REVISION, "SOURCE": SOURCE}
    options = [part for pair in arguments.items() for part in ("--build-arg", "=".join(pair))]

    def build(name: str) -> None:
        store.build(dockerfile(name), CHECKOUT, f"localhost/seedtest/{name}", *options)

    with ThreadPoolExecutor() as builders:
        list(builders.map(build, NAMES))
    return {name: store.image(name) for name in NAMES}

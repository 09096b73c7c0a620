"""An image of ours as far as it can be had without building it: a folder with what its Dockerfile copies, and an
environment with nothing but what its pip lines bring."""

import re
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[1]
_PINNED = re.compile(r'"([\w.-]+==[\w.]+)"')


class Image:
    """What the last stage of a Dockerfile, or of the stages it is given, would hold, in a folder."""

    def __init__(self, dockerfile: Path, folder: Path, stages: Iterable[str] = ("",)) -> None:
        self.root = folder / "image"
        self.command: list[str] = []
        self.environment: dict[str, str] = {}
        self._venv = folder / "venv"
        let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
        requirements: list[str] = []
        stage = ""
        for line in dockerfile.read_text().replace("\\\n", " ").splitlines():
            match line.split():
                case ["FROM", *_, "AS", name]:
                    stage = name
                case ["COPY", *sources, target] if stage in stages:
                    assert {source.split("/")[0] for source in sources} <= let_in, "the build doesn't see it"
                    for source in sources:
                        self._copy(source, target)
                case ["ENV", *_] if stage in stages:
                    self.environment |= dict(re.findall(r"(\w+)=(\S+)", line))
                case ["CMD", *_] if not line.startswith(" "):
                    self.command = re.findall(r'"([^"]*)"', line)
                case ["RUN", *_] if stage in stages and " install " in line:
                    requirements += _PINNED.findall(line)
                    if "--editable ." in line:
                        requirements += self._declared()
        self.python = self._make_environment(requirements)

    def _copy(self, source: str, target: str) -> None:
        found = list(ROOT.glob(source))
        assert found, f"COPY {source}: there is no such file"
        left_out = shutil.ignore_patterns("__pycache__", "snapshot", "*.egg-info")
        for path in found:
            if path.is_dir():
                shutil.copytree(path, self.root / target, ignore=left_out)
            else:
                (self.root / target).mkdir(parents=True, exist_ok=True)
                shutil.copy(path, self.root / target)

    def _declared(self) -> list[str]:
        project = tomllib.loads((self.root / "pyproject.toml").read_text())["project"]
        self._script = next(iter(project["scripts"].items()))
        requirements: list[str] = project["dependencies"]
        return requirements

    def _make_environment(self, requirements: list[str]) -> Path:
        """Link what is asked for, and what that asks for, out of the environment of the tests: an installation takes
        a minute. Only what is pinned to another version than there is here is fetched."""
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", self._venv], check=True, timeout=60)
        (packages,) = self._venv.glob("lib/python*/site-packages")
        fetched = [each for each in requirements if not _is_here(Requirement(each))]
        if fetched:
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-compile"]
            subprocess.run([*pip, "--target", packages, *fetched], check=True, timeout=120)
        others = {each.metadata["Name"].lower(): each for each in metadata.distributions(path=[str(packages)])}
        _link(_closure(requirements, others), packages)
        (packages / "image.pth").write_text(f"{self.root}\n")
        return self._venv / "bin" / "python"

    def add_script(self) -> Path:
        """Return the command that the project declares, as an installation would make it."""
        name, entry = self._script
        module, function = entry.split(":")
        script = self._venv / "bin" / name
        script.write_text(f"#!{self.python}\nfrom {module} import {function}\n{function}()\n")
        script.chmod(0o755)
        return script


def _is_here(requirement: Requirement) -> bool:
    return requirement.specifier.contains(metadata.version(requirement.name), prereleases=True)


def _closure(requirements: list[str], others: dict[str, metadata.Distribution]) -> list[metadata.Distribution]:
    """Return the distributions here that requirements come to; of `others`, which are there already, what they need."""
    found: dict[str, metadata.Distribution] = {}
    asked: set[str] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        requirement = waiting.pop()
        if str(requirement) in asked:
            continue
        asked.add(str(requirement))
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        distribution = others.get(name) or metadata.distribution(name)
        if name not in others:
            found[name] = distribution
        for text in distribution.requires or []:
            needed = Requirement(text)
            extras = requirement.extras or {""}
            if needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in extras):
                waiting.append(needed)
    return list(found.values())


def _link(distributions: list[metadata.Distribution], packages: Path) -> None:
    """Link what belongs to distributions: a folder as a whole, but for one that several share, such as `google`."""
    owners: dict[str, set[str]] = defaultdict(set)
    for each in distributions:
        for file in each.files or []:
            owners[file.parts[0]].add(each.metadata["Name"])
    for each in distributions:
        for file in each.files or []:
            top = file.parts[0]
            linked = Path(top) if len(owners[top]) == 1 else Path(file)
            target, source = packages / linked, Path(str(each.locate_file(linked)))
            if top != ".." and not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)

"""The list of sources, and how each kind is brought here as plain text.

A text file holds documents separated by NUL, one paragraph a line.  Files that exist are kept, so a
build that stopped goes on, and texts that somebody else gathered can be laid in place.
"""

import dataclasses
import pathlib
import subprocess
import tempfile
import tomllib
from collections.abc import Callable

from training.data.extract import book_documents, html_documents, wordnet_documents
from training.errors import TrainingError

SOURCES = pathlib.Path(__file__).parent / "sources.toml"
REPOSITORY = "https://github.com/standardebooks/{title}"
DOCUMENT_END = "\0"


@dataclasses.dataclass(frozen=True)
class Text:
    title: str
    group: str
    kind: str
    licence: str
    held_out: bool
    take_every: int
    share_at_most: float

    def path(self, texts: pathlib.Path) -> pathlib.Path:
        return texts / f"{self.title}.txt"

    def documents(self, texts: pathlib.Path) -> list[str]:
        path = self.path(texts)
        if not path.exists():
            raise TrainingError(f"{path} does not exist: want the text of {self.title}")
        try:
            whole = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise TrainingError(f"{path} is damaged: want UTF-8, found {error.reason}") from error
        documents = [one for one in whole.split(DOCUMENT_END) if one.strip()]
        if not documents:
            raise TrainingError(f"{path} is damaged: want documents, found none")
        return documents


def load_sources(path: pathlib.Path = SOURCES) -> list[Text]:
    texts = []
    for source in tomllib.loads(path.read_text(encoding="utf-8"))["source"]:
        for title in source["titles"]:
            texts.append(
                Text(
                    title=title,
                    group=source["group"],
                    kind=source["kind"],
                    licence=source["licence"],
                    held_out=title in source.get("held_out", ()),
                    take_every=source.get("take_every", 1),
                    share_at_most=source.get("share_at_most", 1.0),
                )
            )
    return texts


def gather(texts: list[Text], directory: pathlib.Path) -> None:
    """Brings every text that is missing; names all that could not be had."""
    directory.mkdir(parents=True, exist_ok=True)
    failures = []
    for text in texts:
        path = text.path(directory)
        if path.exists():
            continue
        try:
            documents = _FETCH[text.kind](text)
        except (TrainingError, OSError) as error:
            failures.append(f"{text.title}: {error}")
            continue
        part = path.with_suffix(".part")
        part.write_text(DOCUMENT_END.join(documents), encoding="utf-8")
        part.rename(path)
    if failures:
        raise TrainingError("could not gather\n  " + "\n  ".join(failures))


def _fetch_book(text: Text) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        url = REPOSITORY.format(title=text.title)
        # Text only: most of an edition is pictures.
        _run(
            ["git", "clone", "-q", "--depth=1", "--no-checkout", "--filter=blob:none", url, scratch]
        )
        _run(["git", "checkout", "HEAD", "--", "src/epub/content.opf", "src/epub/text"], scratch)
        return book_documents(pathlib.Path(scratch))


def _fetch_debian(text: Text, read: Callable[[pathlib.Path], list[str]]) -> list[str]:
    with tempfile.TemporaryDirectory() as scratch:
        _run(["apt-get", "download", "-qq", text.title], scratch)
        packages = list(pathlib.Path(scratch).glob("*.deb"))
        _run(["dpkg-deb", "--extract", str(packages[0]), scratch])
        return read(pathlib.Path(scratch))


_FETCH: dict[str, Callable[[Text], list[str]]] = {
    "standard-ebooks": _fetch_book,
    "wordnet": lambda text: _fetch_debian(text, wordnet_documents),
    "debian-html": lambda text: _fetch_debian(
        text, lambda root: html_documents(root, text.take_every)
    ),
}


def _run(command: list[str], directory: str | None = None) -> None:
    try:
        subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or ["no message"]
        cause = next((line for line in lines if line.startswith(("fatal:", "E:"))), lines[-1])
        raise TrainingError(f"{command[0]} failed: {cause}") from error
    except FileNotFoundError as error:
        raise TrainingError(f"the program {command[0]} is not installed") from error

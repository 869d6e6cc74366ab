"""Plain text out of books, manuals and WordNet: paragraphs as lines, straight quotes, no markup."""

import html.parser
import pathlib
import re
import xml.etree.ElementTree as ElementTree

from training.errors import TrainingError

BLOCKS = {
    "p",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "li",
    "dt",
    "dd",
    "tr",
    "div",
    "section",
    "header",
}
BLOCKS |= {"pre", "blockquote", "br", "hr", "figcaption"}
HIDDEN = {"head", "script", "style", "nav", "footer", "figure"}
HIDDEN_CLASSES = {"navheader", "navfooter", "related", "sphinxsidebar", "headerlink"}
FRONT_MATTER = re.compile(
    r"(titlepage|imprint|colophon|uncopyright|halftitle|dedication|toc|loi|endnotes|epigraph|"
    r"foreword|acknowledg|preface|introduction)"
)
PARTS_OF_SPEECH = {"noun": "Nouns", "verb": "Verbs", "adj": "Adjectives", "adv": "Adverbs"}
STRAIGHT = str.maketrans(
    {
        "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "—": "--", "–": "-", "‑": "-",
        "\u00a0": " ", "\u2009": " ", "\u200a": " ", "\u202f": " ", "\u2060": None, "\ufeff": None,
        "\u00ad": None, "\u200b": None, "\u0000": None,
    }
)  # fmt: skip


class _Paragraphs(html.parser.HTMLParser):
    """Text by blocks; references to notes and what is hidden are left out."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines: list[str] = []
        self._line: list[str] = []
        self._hidden_tag = ""  # the element that hides what is read now
        self._n_open = 0  # elements of its kind inside it, itself included
        self._n_verbatim = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self._hidden_tag:
            self._n_open += tag == self._hidden_tag
            return
        if tag in BLOCKS:
            self.end_line()
        if tag in HIDDEN or _is_hidden(dict(attrs)):
            self._hidden_tag, self._n_open = tag, 1
        self._n_verbatim += tag == "pre"

    def handle_endtag(self, tag: str) -> None:
        if self._hidden_tag:
            self._n_open -= tag == self._hidden_tag
            if self._n_open == 0:
                self._hidden_tag = ""
            return
        if tag in BLOCKS:
            self.end_line()
        self._n_verbatim -= tag == "pre"

    def handle_data(self, data: str) -> None:
        if self._hidden_tag:
            return
        if self._n_verbatim:
            first, *rest = data.split("\n")
            self._line.append(first)
            for line in rest:
                self.end_line()
                self._line.append(line)
            return
        self._line.append(data)

    def end_line(self) -> None:
        line = "".join(self._line).translate(STRAIGHT)
        line = line.rstrip() if self._n_verbatim else " ".join(line.split())
        if line:
            self.lines.append(line)
        self._line = []


def _is_hidden(attributes: dict[str, str | None]) -> bool:
    classes = set((attributes.get("class") or "").split())
    return attributes.get("epub:type") == "noteref" or not classes.isdisjoint(HIDDEN_CLASSES)


def paragraphs(markup: str) -> str:
    parser = _Paragraphs()
    parser.feed(markup)
    parser.close()
    parser.end_line()
    return "\n".join(parser.lines)


def book_documents(repository: pathlib.Path) -> list[str]:
    """Chapters of an edition in the order of its spine."""
    package = repository / "src" / "epub" / "content.opf"
    try:
        root = ElementTree.parse(package).getroot()
    except (OSError, ElementTree.ParseError) as error:
        raise TrainingError(f"{package.name} is no package of an edition: {error}") from error
    namespace = "{http://www.idpf.org/2007/opf}"
    files = {item.get("id"): item.get("href") for item in root.iter(f"{namespace}item")}
    spine = [files[item.get("idref")] for item in root.iter(f"{namespace}itemref")]
    chapters = [package.parent / file for file in spine if file and not FRONT_MATTER.search(file)]
    return _documents(chapters)


def html_documents(root: pathlib.Path, take_every: int) -> list[str]:
    """Pages of a manual, of which every n-th is taken."""
    return _documents(sorted(root.rglob("*.html"))[::take_every])


def _documents(files: list[pathlib.Path]) -> list[str]:
    texts = [paragraphs(file.read_text(encoding="utf-8")) for file in files if file.is_file()]
    return [text for text in texts if len(text) > 200]


def wordnet_documents(root: pathlib.Path, per_document: int = 40) -> list[str]:
    """Lines of "word, synonym: gloss", forty a document; a heading opens each part of speech."""
    lines = []
    for part, heading in PARTS_OF_SPEECH.items():
        (file,) = root.rglob(f"data.{part}")
        lines.append(heading)
        for line in file.read_text(encoding="utf-8").splitlines():
            if line.startswith(" "):  # the licence in front
                continue
            fields, _, gloss = line.partition(" | ")
            columns = fields.split()
            words = columns[4 : 4 + 2 * int(columns[3], 16) : 2]
            names = ", ".join(re.sub(r"\(\w+\)$", "", word).replace("_", " ") for word in words)
            lines.append(f"{names}: {gloss.strip()}")
    return ["\n".join(lines[i : i + per_document]) for i in range(0, len(lines), per_document)]

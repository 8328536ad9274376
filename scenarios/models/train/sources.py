"""Public-domain prose from Debian packages, as clean documents.

Promise: `prose_documents()` gives (source, text) pairs in a fixed order, the same for the same
package versions. Nothing is downloaded here: the packages must be installed.
Called by corpus.py only.

    apt-get install --no-install-recommends bible-kjv bible-kjv-text r-cran-janeaustenr \
        r-base-core jargon-text sqlite3-doc
"""

import gzip
import html.parser
import pathlib
import re
import subprocess

PACKAGES = ("bible-kjv-text", "r-cran-janeaustenr", "jargon-text", "sqlite3-doc")
LICENCES = {
    "bible": "public domain (King James Version, 1611)",
    "austen": "public domain (Jane Austen, 1811-1818)",
    "jargon": "public domain (Jargon File 4.4.7)",
    "sqlite": "public domain (SQLite documentation 3.40.1)",
}


def prose_documents(root="/"):
    """All documents as (source, text); `root` is where the packages' files are."""
    root = pathlib.Path(root)
    documents = []
    documents += [("bible", text) for text in bible_chapters()]
    documents += [("austen", text) for text in austen_chapters()]
    documents += [("jargon", text) for text in jargon_entries(root)]
    documents += [("sqlite", text) for text in sqlite_pages(root)]
    return [(source, tidy(text)) for source, text in documents if len(text) > 200]


def tidy(text):
    """Spaces and blank lines made regular, typographic characters made plain."""
    plain = {"\u2018": "'", "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2013": "-",
             "\u2014": "--", "\u00a0": " ", "\u2026": "...", "\r": "", "\t": "    "}
    for old, new in plain.items():
        text = text.replace(old, new)
    text = re.sub(r"[ ]+\n", "\n", text)
    text = re.sub(r"\n{3,}", "\n\n", text)
    return text.strip()


def bible_chapters():
    """One document a chapter, verses joined, without their numbers."""
    out = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], stdin=subprocess.DEVNULL,
                         capture_output=True, text=True, check=True).stdout
    chapters, last = [], None
    for line in out.splitlines():
        match = re.match(r"(\S+?)(\d+):(\d+) (.*)", line)
        if not match:
            continue
        key = (match.group(1), match.group(2))
        if key != last:
            chapters.append([])
            last = key
        chapters[-1].append(match.group(4).strip())
    return ["\n".join(verses) for verses in chapters]


def austen_chapters():
    """The six novels, one document a chapter, paragraphs unwrapped."""
    script = ('library(janeaustenr); b <- austen_books(); '
              'cat(paste0(as.integer(b$book), "\\t", b$text), sep="\\n")')
    out = subprocess.run(["Rscript", "-e", script], capture_output=True, text=True,
                         check=True).stdout
    chapters, paragraph = [[]], []
    for line in out.splitlines():
        text = line.partition("\t")[2].rstrip()
        if re.match(r"(chapter|volume) [\divxl]+\.?$", text.strip(), re.IGNORECASE):
            chapters.append([])
            continue
        if text:
            paragraph.append(text.strip())
        elif paragraph:
            chapters[-1].append(re.sub(r"  +", " ", " ".join(paragraph)))
            paragraph = []
    return ["\n\n".join(chapter) for chapter in chapters]


def jargon_entries(root):
    """The Jargon File in pieces of some entries each, paragraphs unwrapped."""
    path = root / "usr/share/doc/jargon-text/jargon.txt.gz"
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
        text = file.read()
    text = text[text.index("Chapter 1"):] if "Chapter 1" in text else text
    paragraphs, current = [], []
    for line in text.splitlines():
        if line.strip() and not re.match(r"\s*[═━─=]{5,}", line):
            current.append(line.strip())
        elif current:
            paragraphs.append(" ".join(current))
            current = []
    # The tables of contents are runs of very short paragraphs: leave them out.
    kept = [p for i, p in enumerate(paragraphs)
            if len(p) > 60 or max(len(q) for q in paragraphs[max(0, i - 2):i + 3]) > 150]
    pieces, size = [[]], 0
    for paragraph in kept:
        pieces[-1].append(paragraph)
        size += len(paragraph)
        if size > 4000:
            pieces.append([])
            size = 0
    return ["\n\n".join(piece) for piece in pieces]


class TextOfHtml(html.parser.HTMLParser):
    """Visible text; paragraphs apart, preformatted text as it is."""

    BLOCKS = {"p", "div", "li", "tr", "h1", "h2", "h3", "h4", "ul", "ol", "dl", "dt", "dd",
              "table", "blockquote", "br"}
    HIDDEN = {"script", "style", "head", "svg", "form", "button"}

    def __init__(self):
        super().__init__()
        self.parts, self.hidden, self.pre = [], 0, 0

    def handle_starttag(self, tag, attrs):
        self.hidden += tag in self.HIDDEN
        self.pre += tag == "pre"
        if tag in self.BLOCKS or tag == "pre":
            self.parts.append("\n\n" if tag in ("p", "pre", "h1", "h2", "h3") else "\n")

    def handle_endtag(self, tag):
        self.hidden -= tag in self.HIDDEN and self.hidden > 0
        self.pre -= tag == "pre" and self.pre > 0
        if tag in ("pre", "p"):
            self.parts.append("\n\n")

    def handle_data(self, data):
        if not self.hidden:
            self.parts.append(data if self.pre else re.sub(r"\s+", " ", data))


def sqlite_pages(root):
    """Hand-written pages of the SQLite documentation as text, cut at 6,000 characters."""
    folder = root / "usr/share/doc/sqlite3"
    pages = []
    for path in sorted(folder.glob("*.html")):
        if path.name.startswith(("releaselog", "syntax", "keyword_index", "hlr", "toc_")):
            continue
        parser = TextOfHtml()
        parser.feed(path.read_text(encoding="utf-8", errors="replace"))
        text = re.sub(r"\n ", "\n", "".join(parser.parts))
        text = text[text.rfind("Purchase", 0, 600) + 8:] if "Purchase" in text[:600] else text
        text = tidy(text)
        paragraphs, piece = text.split("\n\n"), ""
        for paragraph in paragraphs:
            piece += paragraph + "\n\n"
            if len(piece) > 6000:
                pages.append(piece)
                piece = ""
        pages.append(piece)
    return pages

#!/usr/bin/env python3
"""`--report html=`: a red and a green run as pages that ask for nothing, nest well, are the same
bytes again from a read-only store, and work in headless Chromium (light, dark, narrow, without
scripts) where it is installed. With axe.min.js, from a Python package that carries it, the page
must have no violation of WCAG A and AA. Prompts' ids are hostile."""
import html
import html.parser
import importlib.util
import json
import os
import pathlib
import re
import shutil
import stat
import struct
import subprocess
import sys
import unittest

import tiny_project

EVIL = '</script><img src=x onerror=alert(1)>"\'&<!--\u202e{{7*7}}'
VOID = {"meta", "link", "br", "input", "img", "hr"}
ALLOWED_ATTRIBUTES = {
    "aria-label", "aria-labelledby", "charset", "class", "content", "data-chart", "data-columns",
    "data-label", "data-n", "data-report", "data-rows", "data-v", "hidden", "href", "http-equiv",
    "id", "lang", "name", "open", "rel", "role", "scope", "tabindex", "type"}

# Layers, controls and values, so that every section has something to tell.
RED = """version: 1
name: red
question: 'Do precision & batch keep the bits of a <tiny> model?'
model: model
prompts: prompts.jsonl
decode: {strategy: greedy, max_new_tokens: 24, ignore_eos: true}
observe: {level: ops, values: {sites: [h1, h2]}}
axes:
  precision: [fp32, bf16, fp8-e4m3]
  batch: [1, 3]
  cache: [on, {chunked: 5}]
expect:
  - same_bits: {where: precision!=fp8-e4m3, across: [precision, batch, cache]}
  - measure: {across: [precision]}
measure:
  - metrics: [kl, flip_rate, layer_drift]
    across: [precision]
    against: {precision: fp32}
"""
GREEN = tiny_project.SCENARIO
# Another function for each precision: rows of one shape differ, and no token is drawn.
OPERATION = """version: 1
name: operation
question: Are products of two precisions equal?
model: {op: gemm, shapes: gemm.jsonl}
axes: {precision: [fp32, bf16], rows: [17], place: [first], neighbours: [random], align: [0]}
golden: none
expect:
  - same_bits: {across: [precision]}
"""

# The leading coefficient of exp in fp32 (NUMERICS.md), and the same number 2^-9 larger.
KERNEL_CONSTANT = struct.pack("<f", float.fromhex("0x1.6a2466p-10"))
EDITED_CONSTANT = struct.pack("<f", float.fromhex("0x1.6af876p-10"))


def chromium():
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def axe_source():
    """axe.min.js of an installed package, or of AXE; None: there is none."""
    if os.environ.get("AXE"):
        return pathlib.Path(os.environ["AXE"])
    for package in ("axe_playwright_python", "axe_core_python"):
        found = importlib.util.find_spec(package)
        for folder in (found.submodule_search_locations or []) if found else []:
            path = pathlib.Path(folder) / "axe.min.js"
            if path.is_file():
                return path
    return None


class Page(html.parser.HTMLParser):
    """Demands that elements nest, and keeps what is looked at."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.open, self.ids, self.links, self.problems, self.text = [], [], [], [], []
        self.tags = {}
        self.feed(text)
        self.close()
        if self.open:
            self.problems.append(f"never closed: {self.open}")

    def handle_starttag(self, tag, attributes):
        self.tags[tag] = self.tags.get(tag, 0) + 1
        for name, value in attributes:
            if name not in ALLOWED_ATTRIBUTES:
                self.problems.append(f"attribute {name} of {tag}")
            if name == "id":
                self.ids.append(value)
            if name == "href":
                self.links.append(value)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.problems.append(f"</{tag}> at {self.getpos()}")

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


class Html(tiny_project.Case):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        prompts = [{"id": EVIL, "tokens": [1, 5, 9, 33, 12]},
                   {"id": "second", "tokens": [1] + [(i * 7 + 3) % 64 for i in range(19)]}]
        (cls.folder / "prompts.jsonl").write_text("".join(json.dumps(p) + "\n" for p in prompts))
        (cls.folder / "red.yaml").write_text(RED)
        (cls.folder / "green.yaml").write_text(GREEN.replace("name: tiny", "name: green"))
        cls.pages = {}
        for name, command in (("red", "run"), ("green", "check")):
            if name == "green":
                done = tiny_project.run(["bless", "green.yaml", "--reason", "test", "--db",
                                         "green.db"], cls.folder)
                assert done.returncode == 0, done.stdout + done.stderr
            done = tiny_project.run([command, f"{name}.yaml", "--db", f"{name}.db", "--report",
                                     f"html={name}.html"], cls.folder)
            assert done.returncode == (1 if name == "red" else 0), done.stdout + done.stderr
            cls.pages[name] = (cls.folder / f"{name}.html").read_text()

    def test_pages_nest_and_ask_for_nothing(self):
        for name, text in self.pages.items():
            page = Page(text)
            self.assertEqual(page.problems, [], name)
            self.assertEqual(len(page.ids), len(set(page.ids)), name)
            self.assertEqual(page.tags["h1"], 1)
            for link in page.links:
                self.assertTrue(link == "data:," or link[1:] in page.ids, link)
            for tag in ("img", "iframe", "form", "object", "embed", "base"):
                self.assertNotIn(tag, page.tags)
            style = re.search(r"<style>(.*?)</style>", text, re.S)[1]
            self.assertIsNone(re.search(r"url\(|@import|image-set", style))
            rules = re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1]
            self.assertRegex(rules, r"^default-src 'none'; script-src 'sha256-[^;]*; style-src "
                                    r"'sha256-[^;]*; img-src data:; base-uri 'none'; "
                                    r"form-action 'none'$")
            self.assertLess(len(text.encode()), 1_000_000)

    def test_red_explains_itself(self):
        page = Page(self.pages["red"])
        words = "".join(page.text)
        for told in ("✗ RED", "What broke", "bits differ", "a flip comes later",
                     "isobit repro red.yaml", "Layer and operation",
                     "ran alike but for precision fp32 against bf16",
                     "Matrix of cells", "Drift by layer", "Margin of every row"):
            self.assertIn(told, words)
        shown = json.loads(tiny_project.run(["report", "last", "--db", "red.db", "--json"],
                                            self.folder).stdout)
        red = [cell for cell in shown["cells"] if cell["verdict"] == "DIFF"]
        self.assertTrue(red)
        first = red[0]["divergence"]
        self.assertIn(first["digest_a"], words)
        self.assertIn(f"position {first['position']}", words)
        self.assertIn("\\u{202e}{{7*7}}", words)  # the hostile id, as text
        data = json.loads(re.search(r'id="data">(.*?)</script>', self.pages["red"], re.S)[1])
        window = data[0]["windows"][0]
        parting = [row for row in window["rows"] if row["position"] == window["first"]]
        self.assertEqual([row["differs"] for row in parting], [True])
        self.assertTrue(any(window["layers"]["differing"]))
        self.assertTrue(data[0]["drifts"][0])

    def test_operations_expected_failures_and_skips(self):
        (self.folder / "gemm.jsonl").write_text('{"id": "q<b>", "n": 24, "k": 128}\n')
        (self.folder / "operation.yaml").write_text(OPERATION)
        (self.folder / "many.yaml").write_text(tiny_project.MANY)
        self.isobit("run", "operation.yaml", "many.yaml", "--update", "none", "--report",
                    "html=two.html", code=1)
        text = (self.folder / "two.html").read_text()
        page = Page(text)
        self.assertEqual(page.problems, [])
        self.assertEqual(page.tags["article"], 2)
        words = "".join(page.text)
        for told in ("0 of 2 scenarios pass", "First at shapeq<b>", "digest A",
                     "Differences that are allowed or expected", "XFAIL", "SKIP4"):
            self.assertIn(told, words.replace("SKIP 4", "SKIP4"))

    def test_green_says_so(self):
        words = "".join(Page(self.pages["green"]).text)
        self.assertIn("✓ PASS", words)
        self.assertIn("Nothing broke", words)
        self.assertNotIn("Layer and operation", words)

    def test_the_store_tells_the_same_bytes_read_only(self):
        for name, code in (("red", 1), ("green", 0)):
            folder = self.folder / f"again-{name}"
            folder.mkdir(exist_ok=True)
            database = self.folder / f"{name}.db"
            database.chmod(0o444)
            for again in ("a.html", "b.html"):
                done = tiny_project.run(["report", "last", "--db", str(database), "--report",
                                         f"html={folder / again}", "--quiet"], self.folder)
                self.assertEqual(done.returncode, code, done.stderr)
                self.assertEqual((folder / again).read_text(), self.pages[name])
            out = tiny_project.run(["report", "last", "--db", str(database), "--report", "html=-"],
                                   self.folder)
            self.assertEqual(out.stdout, self.pages[name])

    def test_a_changed_kernel_is_told_beside_the_rows_that_were_blessed(self):
        """The golden holds digests; the execution that gave them has the rows."""
        edited = self.folder / "edited-isobit"
        blob = pathlib.Path(tiny_project.program()).read_bytes()
        self.assertIn(KERNEL_CONSTANT, blob)
        edited.write_bytes(blob.replace(KERNEL_CONSTANT, EDITED_CONSTANT))
        edited.chmod(edited.stat().st_mode | stat.S_IXUSR)
        database = self.folder / "kernel.db"
        shutil.copy(self.folder / "green.yaml", self.folder / "kernel.yaml")
        text = (self.folder / "kernel.yaml").read_text().replace("name: green", "name: kernel")
        (self.folder / "kernel.yaml").write_text(text)
        self.isobit("bless", "kernel.yaml", "--reason", "test", "--db", database)
        done = subprocess.run([edited, "check", "kernel.yaml", "--db", str(database), "--report",
                               "html=kernel.html"], cwd=self.folder, capture_output=True, text=True)
        self.assertEqual(done.returncode, 1, done.stdout + done.stderr)
        page = (self.folder / "kernel.html").read_text()
        words = "".join(Page(page).text)
        for told in ("golden, as run", "other bits", "which gave the golden's bits: ",
                     "the last green one of this scenario", "executable"):
            self.assertIn(told, words)
        data = json.loads(re.search(r'id="data">(.*?)</script>', page, re.S)[1])
        first = data[0]["windows"][0]["rows"][0]
        self.assertTrue(first["differs"] and first["a"]["top"] and first["b"]["top"])
        self.assertEqual(data[0]["windows"][0]["layers"]["layers"], [])
        # A golden's rows that no execution here gave cannot be shown, and the page says so.
        with_golden = subprocess.run([edited, "check", "kernel.yaml", "--db", "fresh.db",
                                      "--report", "html=fresh.html"], cwd=self.folder)
        self.assertEqual(with_golden.returncode, 1)
        self.assertIn("holds no rows of golden", (self.folder / "fresh.html").read_text())

    # --- in a browser ---------------------------------------------------------------------------

    def browse(self, page, *words):
        """What headless Chromium prints; fails when its console complains of the page."""
        if not chromium():
            self.skipTest("chromium is not installed")
        done = subprocess.run(
            [chromium(), "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--enable-logging=stderr", "--virtual-time-budget=4000",
             f"--user-data-dir={self.folder / 'browser'}", *words, page.as_uri()],
            capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, 0, done.stderr[-2000:])
        complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
        self.assertEqual(complaints, [])
        return done.stdout

    def test_scripts_add_charts_sorting_and_filters(self):
        page = self.browse(self.folder / "red.html", "--dump-dom")
        charts = "Charts by d3" in page
        self.assertEqual("<svg" in page, charts)
        if charts:
            for kind in ("timeline", "heatmap", "histogram", "drift"):
                figure = re.search(rf'<figure[^>]*data-chart="{kind}".*?</figure>', page, re.S)[0]
                self.assertIn("</svg>", figure)
                self.assertNotIn("NaN", figure)
        self.assertIn('<button type="button">verdict</button>', page)
        self.assertIn('type="search"', page)
        self.assertIn("<select>", page)

    def test_screenshots_in_light_dark_and_narrow(self):
        sizes = set()
        for name, words in (("light", []), ("dark", ["--blink-settings=preferredColorScheme=0"]),
                            ("narrow", ["--window-size=375,2000"])):
            picture = pathlib.Path(os.environ.get("ISOBIT_PICTURES", self.folder)) / f"{name}.png"
            size = [] if name == "narrow" else ["--window-size=1280,2000"]
            self.browse(self.folder / "red.html", *size, *words, f"--screenshot={picture}")
            blob = picture.read_bytes()
            self.assertTrue(blob.startswith(b"\x89PNG"))
            sizes.add(len(blob))
        self.assertEqual(len(sizes), 3)  # three different pictures

    def test_accessible(self):
        source = axe_source()
        if source is None or not chromium():
            self.skipTest("axe.min.js or chromium is not installed "
                          "(pip install axe-playwright-python)")
        for name, text in self.pages.items():
            for mode in ([], ["--blink-settings=preferredColorScheme=0"]):
                self.assertEqual(self.violations(name, text, source, mode), [], name)

    def violations(self, name, text, source, mode):
        """Axe runs in a copy without the rules of content, with every fold open."""
        copy = re.sub(r"<meta http-equiv=[^>]*>", "", text)
        run = ("document.querySelectorAll('details').forEach(d => { d.open = true; });"
               "setTimeout(() => axe.run(document).then(found => {"
               "const pre = document.createElement('pre'); pre.id = 'axe';"
               "pre.textContent = JSON.stringify(found.violations.map(v => [v.id, v.help,"
               " v.nodes.slice(0, 3).map(n => n.html + ' ' + n.failureSummary)]));"
               "document.body.append(pre); }), 500);")
        copy = copy.replace("</body>", f"<script>{source.read_text()}</script>"
                                       f"<script>{run}</script></body>")
        page = self.folder / f"axe-{name}.html"
        page.write_text(copy)
        printed = self.browse(page, "--dump-dom", "--virtual-time-budget=20000", *mode)
        found = re.search(r'<pre id="axe">(.*?)</pre>', printed, re.S)
        self.assertIsNotNone(found, "axe gave nothing")
        return json.loads(html_text(found[1]))


def html_text(escaped):
    return html.unescape(escaped)


if __name__ == "__main__":
    tiny_project.program()
    sys.exit(unittest.main())

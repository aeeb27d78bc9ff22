"""Print a built book to one PDF: `python tools/pdf.py [HTML PDF]`. `make pdf` prints the published one.

Chromium prints every page of the table of contents, with folds open and equations set. pypdf joins them: a bookmark for
each page, numbers through the whole book, and links from page to page that stay inside the file.
"""

import io
import shutil
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pages
from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject

from lib import ROOT, BadInput

TITLE = "The Average Spectrogram"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
PAPER = {
    "format": "A4",
    "scale": 0.8,
    "margin": {"top": "18mm", "bottom": "20mm", "left": "18mm", "right": "18mm"},
}
FOOTER = f"""<p style="font: 8px sans-serif; color: #444; width: 100%; text-align: center">
{TITLE} · <span class="pageNumber"></span> of <span class="totalPages"></span></p>"""
READY = """async () => {
  document.documentElement.dataset.theme = "light";
  for (const fold of document.querySelectorAll("details")) fold.open = true;
  for (const image of document.images) image.loading = "eager";
  if (window.MathJax) await MathJax.startup.promise;
  await Promise.all([...document.images].map(image => image.decode().catch(() => {})));
  await document.fonts.ready;
}"""


def sheets(page: Page, **more: object) -> PdfReader:
    """What the browser shows, on paper."""
    return PdfReader(io.BytesIO(page.pdf(**PAPER, print_background=True, **more)))


def keep_inside(writer: PdfWriter, first: dict[Path, int]) -> None:
    """Links to files of the book lead to the sheet where that page begins; to other files, nowhere."""
    for sheet in writer.pages:
        for reference in sheet.get("/Annots", []):
            link = reference.get_object()
            address = urlsplit(str(link.get("/A", {}).get("/URI", "")))
            if address.scheme == "file":
                del link["/A"]
                start = first.get(Path(unquote(address.path)).with_suffix(""))
                if start is not None:
                    goal = ArrayObject([writer.pages[start].indirect_reference, NameObject("/Fit")])
                    link[NameObject("/Dest")] = goal


def pdf(page: Page, html: Path, target: Path, names: list[str]) -> None:
    """Print pages of a built book, named as in the table of contents, into one file. page: an empty one."""
    html = html.resolve()
    missing = [name for name in names if not (html / f"{name}.html").exists()]
    if missing:
        raise BadInput(f"{html / missing[0]}.html: missing; run `jupyter-book build book` first")
    writer, first = PdfWriter(), {}
    page.set_default_timeout(120_000)  # the machine may be busy
    for name in names:
        page.goto((html / f"{name}.html").as_uri())
        page.evaluate(READY)
        first[html / name] = len(writer.pages)
        writer.append(sheets(page), page.title().rpartition(" — ")[0])
    page.set_content(
        '<div style="break-after: page">&nbsp;</div>' * (len(writer.pages) - 1) + "&nbsp;"
    )
    numbers = sheets(
        page, display_header_footer=True, header_template="<p></p>", footer_template=FOOTER
    )
    for sheet, number in zip(writer.pages, numbers.pages, strict=True):
        sheet.merge_page(number)
        sheet.compress_content_streams()
    keep_inside(writer, first)
    writer.add_metadata({"/Title": TITLE})
    writer.compress_identical_objects()
    writer.write(target)


if __name__ == "__main__":
    build = ROOT / "book" / "_build"
    html, target = map(Path, sys.argv[1:]) if sys.argv[1:] else (build / "html", build / "book.pdf")
    chromium = shutil.which("chromium")
    if chromium is None:
        sys.exit("chromium: not found; apt-get install chromium")
    try:
        with sync_playwright() as playwright:
            page = playwright.chromium.launch(executable_path=chromium, args=FLAGS).new_page()
            pdf(page, html, target, pages.toc())
    except BadInput as error:
        sys.exit(str(error))
    print(f"printed {target}")

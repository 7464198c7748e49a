"""What a PDF says of itself, read without a PDF library: its objects, unpacked."""

import re
import zlib


def inside(content: bytes) -> bytes:
    """The file with what its compressed streams say after it."""
    parts = [content]
    for found in re.finditer(rb"stream\r?\n(.*?)\nendstream", content, re.DOTALL):
        try:
            # What packed data ends with may be a line end itself, and one more than that does no harm here.
            parts.append(zlib.decompressobj().decompress(found[1]))
        except zlib.error:
            continue
    return b"\n".join(parts)


def title_of(content: bytes) -> str:
    """The title in its metadata; empty when there is none."""
    found = re.search(rb"<dc:title>.*?<rdf:li[^>]*>(.*?)</rdf:li>", inside(content), re.DOTALL)
    return found[1].decode() if found else ""


def assert_tagged(content: bytes) -> None:
    """A whole file that screen readers can use: PDF/UA, tagged, with title, language and headings."""
    assert content.startswith(b"%PDF-1.")
    assert content.rstrip().endswith(b"%%EOF")
    said = inside(content)
    assert re.search(rb"/MarkInfo\s*<<[^>]*/Marked true", said)
    assert b"/StructTreeRoot" in said
    assert re.search(rb"/S\s*/H1\b", said), "the heading is one"
    assert re.search(rb"/Lang\s*\(en-GB\)", said)
    assert re.search(rb"/DisplayDocTitle true", said)
    assert re.search(rb"pdfuaid:part(>|=\")1", said)
    assert title_of(content)


def bookmarks(content: bytes) -> set[str]:
    """The titles in its outline."""
    found = re.findall(rb"/Title\s*(?:\(((?:\\.|[^)\\])*)\)|<([0-9a-fA-F]+)>)", inside(content))
    return {
        bytes.fromhex(coded.decode()).decode("utf-16")  # a byte order mark begins it
        if coded
        else re.sub(r"\\(.)", r"\1", plain.decode("latin-1"))
        for plain, coded in found
    }

"""What a browser would make of a page: its elements, its texts, its scripts, and everything in it that could load something."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from typing import Any

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    '=HYPERLINK("http://evil.example","x")',
    "<!--",
    "'\" onload=alert(3) &amp;",
]
PLANTED = [
    '<script src="//cdn.example/x.js"></script>', '<link rel="stylesheet" href="a.css">', "<style>a{background:url(x.png)}</style>",
    "<script>fetch('x')</script>", "<script>import('x')</script>", '<style>@import "x";</style>', "<img>", '<b onclick="x()">',
    "<script>location = 'https://evil.example'</script>", '<img src="https://evil.example/x.png">',
]  # fmt: skip


class Page(HTMLParser):
    """What a browser's parser sees: elements with their attributes, the text outside scripts, the content of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.raw: list[tuple[str, dict[str, str | None], str]] = []
        self.text: list[str] = []
        self._inside: str | None = None
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside = tag
            self.raw.append((tag, dict(attrs), ""))

    def handle_endtag(self, tag: str) -> None:
        self._inside = None

    def handle_data(self, data: str) -> None:
        if self._inside:
            tag, attributes, content = self.raw[-1]
            self.raw[-1] = (tag, attributes, content + data)
        else:
            self.text.append(data)

    def scripts(self) -> list[str]:
        return [content for tag, attributes, content in self.raw if tag == "script" and "type" not in attributes]

    def styles(self) -> list[str]:
        return [content for tag, _, content in self.raw if tag == "style"]

    def data(self) -> Any:
        (content,) = [content for tag, attributes, content in self.raw if attributes.get("type") == "application/json"]
        return json.loads(content)


def directives(page: Page) -> dict[str, list[str]]:
    """The content security policy: directive to its sources."""
    (policy,) = [a["content"] for tag, a in page.elements if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    return {name: sources.split() for name, _, sources in (part.strip().partition(" ") for part in policy.split(";"))}


def hashes(contents: list[str]) -> list[str]:
    """The sources that name these texts."""
    return [f"'sha256-{base64.b64encode(hashlib.sha256(c.encode()).digest()).decode()}'" for c in contents]


def references(page: str) -> list[str]:
    """Everything in a page that could load something; an image inlined as data: loads nothing."""
    page = re.sub(r'<img src="data:image/(png|svg\+xml);base64,[A-Za-z0-9+/=]*"', "<span", page)
    parsed = Page(page)
    loading = {"src", "href", "xlink:href", "srcset", "data", "action", "formaction", "poster", "background", "manifest", "ping", "style"}
    found = [f"<{tag} {name}>" for tag, attributes in parsed.elements for name in attributes if name in loading or name.startswith("on")]
    found += [
        f"<{tag}>"
        for tag, _ in parsed.elements
        if tag in {"link", "iframe", "object", "embed", "base", "img", "image", "use", "foreignobject"}
    ]
    code = "\n".join(content for _, attributes, content in parsed.raw if attributes.get("type") != "application/json")
    return found + re.findall(
        r"url\s*\(|@import|\bimport\b|\bfetch\b|XMLHttpRequest|WebSocket|sendBeacon|\beval\b|https?:(?!//www\.w3\.org/2000/svg)", code
    )

"""HTML and SVG as trees of elements: text and attributes are escaped when the tree is written, never by hand."""

import re
from collections.abc import Iterable, Mapping, Sequence
from xml.etree.ElementTree import Element, SubElement, tostring

Child = Element | str
_NOT_FOR_PAGES = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffe\uffff]")
NOTHING: Mapping[str, str] = {}


def node(tag: str, attributes: Mapping[str, str] = NOTHING, *children: Child) -> Element:
    """An element with what is in it, in order."""
    element = Element(tag, {name: _plain(value) for name, value in attributes.items()})
    for child in children:
        if isinstance(child, Element):
            element.append(child)
        elif len(element):
            element[-1].tail = (element[-1].tail or "") + _plain(child)
        else:
            element.text = (element.text or "") + _plain(child)
    return element


def div(class_: str, *children: Child) -> Element:
    """A ``div`` of a class."""
    return node("div", {"class": class_}, *children)


def section(title: str, *children: Child) -> Element:
    """A part of a page under a heading."""
    return node("section", NOTHING, node("h2", NOTHING, title), *children)


def soft(text: str) -> Element:
    """A paragraph of less weight."""
    return node("p", {"class": "soft"}, text)


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], numbers: bool = True) -> Element:
    """A table that scrolls by itself on a small screen; with ``numbers`` all columns but the first stand right."""
    element = node("table", {"class": "numbers"} if numbers else NOTHING)
    SubElement(element, "thead").append(node("tr", NOTHING, *(node("th", NOTHING, each) for each in head)))
    body = SubElement(element, "tbody")
    for row in rows:
        body.append(node("tr", NOTHING, *(node("td", NOTHING, each) for each in row)))
    return div("wide", element)


def html_text(element: Element) -> str:
    """The tree as text; elements of HTML that have no end stay without one."""
    return tostring(element, encoding="unicode", method="html")


def _plain(text: str) -> str:
    """Without what no page may hold."""
    return _NOT_FOR_PAGES.sub("\N{REPLACEMENT CHARACTER}", text)

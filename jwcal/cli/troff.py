"""Manual pages: the few marks of docstrings as troff, with the `man` macros."""

import inspect
import re

_BOLD = re.compile(r"``([^`]+)``|`([^`]+)`|(?<![\w-])(--[a-z][a-z0-9-]*)")


def plain(text):
    """Text with what troff would take for its own marks made harmless."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text.startswith((".", "'")) else text


def marked(text):
    """Text of a docstring: quoted code and options in bold."""
    parts = []
    end = 0
    for match in _BOLD.finditer(text):
        parts.append(plain(text[end : match.start()]) if match.start() > end else "")
        parts.append(f"\\fB{plain(next(g for g in match.groups() if g))}\\fR")
        end = match.end()
    parts.append(plain(text[end:]) if end < len(text) else "")
    # Only the beginning of a line can be mistaken for a request.
    return parts[0] + "".join(p.removeprefix("\\&") for p in parts[1:])


def header(name, section, version):
    """First lines of a page; no date, so that the page changes only when its content does."""
    return [f'.TH {plain(name.upper())} {section} "" "jwcal {version}" "jwcal manual"', ".nh", ".ad l"]


def section(title):
    """Heading of a section."""
    return [f".SH {title}"]


def paragraphs(docstring):
    """Lines for a docstring: paragraphs, numpydoc headings, lists."""
    lines = []
    blocks = re.split(r"\n\s*\n", inspect.cleandoc(docstring or ""))
    for block in (b for b in blocks if b.strip()):
        rows = block.split("\n")
        if rows[0].strip() == "\b":
            # The mark of click for "keep these lines".
            lines += example(rows[1:])
            continue
        if len(rows) > 1 and set(rows[1].strip()) == {"-"}:
            lines.append(f".SS {plain(rows[0].strip())}")
            rows = rows[2:]
            if not rows:
                continue
        lines.append(".PP")
        if rows[0].lstrip().startswith("- "):
            lines.pop()
            lines += _list(rows)
        elif all(row.startswith("    ") for row in rows):
            lines += [".EX", *(plain(row) for row in rows), ".EE"]
        else:
            lines.append(marked(" ".join(row.strip() for row in rows)))
    return lines


def _list(rows):
    items = []
    for row in rows:
        if row.lstrip().startswith("- "):
            items.append(row.lstrip()[2:])
        else:
            items[-1] += " " + row.strip()
    return [line for item in items for line in (".IP \\(bu 2", marked(item))]


def term(head, text):
    """Make an entry of a list of terms; `head` is set as it is, in bold."""
    return [".TP", f"\\fB{plain(head)}\\fR", marked(text) or "\\&"]


def example(lines):
    """Lines of literal text."""
    return [".PP", ".EX", *(plain(line) for line in lines), ".EE"]


def page(lines):
    """Join the lines of a page."""
    return "\n".join(lines) + "\n"

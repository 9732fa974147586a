#!/usr/bin/env python3
"""A preprocessor of mdBook: relative links that leave the book lead to the repository.

On GitHub `../halo-crypto/src/lib.rs` is a file beside the pages. In the book, which is served by itself, it would be nothing.
"""

import json
import posixpath
import re
import sys

LINK = re.compile(r"(\]\()((?:\.\./)[^)\s]*)(\))")


def leads_outside(page, target):
    """The path in the repository, if the target is not among the pages; they lie in docs."""
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), path))
    if path.startswith("docs/"):
        return None
    return path + ("#" + anchor if anchor else "")


def rewrite(items, repository):
    for item in items:
        chapter = item.get("Chapter") if isinstance(item, dict) else None
        if chapter is None:
            continue
        page = chapter["source_path"] or chapter["path"] or ""

        def link(match):
            path = leads_outside(page, match[2])
            return match[0] if path is None else f"{match[1]}{repository}/blob/main/{path}{match[3]}"

        chapter["content"] = LINK.sub(link, chapter["content"])
        rewrite(chapter["sub_items"], repository)


def main():
    if sys.argv[1:2] == ["supports"]:
        return
    context, book = json.load(sys.stdin)
    repository = context["config"]["output"]["html"]["git-repository-url"]
    rewrite(book.get("items", book.get("sections")), repository)
    json.dump(book, sys.stdout)


main()

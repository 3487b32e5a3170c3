# SPDX-License-Identifier: LGPL-2.1-or-later
"""A file of a host that has another content for a while."""
import contextlib


@contextlib.contextmanager
def written(path, text):
    """The file with this content; a file that did not exist is removed again."""
    before = path.read_text() if path.exists() else None
    path.write_text(text)
    try:
        yield
    finally:
        if before is None:
            path.unlink()
        else:
            path.write_text(before)

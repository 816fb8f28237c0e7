"""Lets the reference read the project's docstrings: its `Example:` is the parser's `Examples:`."""

import re

import griffe


class ExampleSections(griffe.Extension):
    """Renames the sections before they are parsed."""

    def on_instance(self, *, obj, **arguments):
        if obj.docstring is not None:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )

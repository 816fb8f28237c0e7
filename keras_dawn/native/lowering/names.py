"""Names that Keras's layers and variables have in generated Python."""

import keyword
import re


def identifier(name):
    """A Python identifier of ASCII letters for a layer's or variable's name; `None` for `None`."""
    if name is None:
        return None
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    return f"_{name}" if not name or name[0].isdigit() or keyword.iskeyword(name) else name

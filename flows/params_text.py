"""Changes one value in the text of a YAML file, and not a character beside it: comments, quotes and nulls stay."""

from collections.abc import Sequence

import yaml


def replaced(text: str, keys: Sequence[str], value: str) -> str:
    """Put `value`, which is YAML on one line, in the place of what the keys lead to.

    Raises:
        KeyError: if there is no such key.
    """
    node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = [below for name, below in pairs if name.value == key]
        if not found:
            raise KeyError(".".join(keys))
        (node,) = found
    assert node is not None, "yaml.compose gives none for an empty text alone, in which no key was found"
    begin, end = node.start_mark.index, node.end_mark.index
    old = text[begin:end].rstrip()  # a mapping in lines of its own ends where the next key begins
    return text[:begin] + ("" if old else " ") + value + text[begin + len(old) :]

"""What the [compiled build](../how-to/compiled-build.md) has to be told about classes, and whether it is what runs.

The same source runs compiled by mypyc and as it is. Uncompiled, what is told here means nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

__all__ = ["is_compiled", "mypyc_attr"]

if TYPE_CHECKING:
    from mypy_extensions import mypyc_attr
else:
    Class = TypeVar("Class", bound=type)

    def mypyc_attr(*flags: str, **values: Any) -> Any:
        """Tell the compiler about a class; see its documentation for what can be told.

        `allow_interpreted_subclasses=True`: classes that are not compiled may derive from it, as those of programs.
        `native_class=False`: it stays an ordinary class, because it derives from what was not compiled.
        """

        def same(cls: Class) -> Class:
            return cls

        return same


def is_compiled() -> bool:
    """Whether the modules in which messages spend their time were compiled.

    Example:
        ```python
        print("compiled" if madang.is_compiled() else "pure Python")
        ```
    """
    from madang import packet

    return not (packet.__file__ or "").endswith(".py")

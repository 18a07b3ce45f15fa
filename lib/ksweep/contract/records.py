"""Frozen records by the thousand."""

from typing import Any, TypeVar

T = TypeVar("T")


def record_of(kind: type[T], fields: dict[str, Any]) -> T:
    """An object of the frozen dataclass `kind`, several times as fast as by its constructor, which sets field after field.

    `fields` becomes the object's own: all of them, but for those whose default is a plain value. Nothing is checked.
    """
    record = object.__new__(kind)
    object.__setattr__(record, "__dict__", fields)
    return record

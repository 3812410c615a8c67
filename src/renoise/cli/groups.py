"""Groups of options: dataclasses whose fields are options, which commands share.

typer reads a command's options off its signature, so that every command would repeat every option that it shares. A
command takes a group as one parameter instead, and `flattened` puts the group's fields in its place for typer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, fields, is_dataclass
from functools import wraps
from typing import Any, get_type_hints


def flattened(command: Callable[..., str]) -> Callable[..., str]:
    """Return a command whose groups of options are spread out in its signature.

    Args:
        command: a function; each of its parameters is an option or an argument of typer's, or is annotated with a
            dataclass whose fields are annotated as options. No two of them have the same name.

    Examples:
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Size:
        ...     width: int = 8
        ...     height: int = 8
        >>> def area(size: Size) -> str:
        ...     return str(size.width * size.height)
        >>> str(inspect.signature(flattened(area)))
        '(*, width: int = 8, height: int = 8) -> str'
        >>> flattened(area)(width=3, height=2)
        '6'
    """
    signature = inspect.signature(command, eval_str=True)
    groups: dict[str, Any] = {}
    parameters = []
    for parameter in signature.parameters.values():
        group = parameter.annotation
        if isinstance(group, type) and is_dataclass(group):
            groups[parameter.name] = group
            parameters += _options(group)
        else:
            parameters.append(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY))

    @wraps(command)
    def run(**values: Any) -> str:
        made = {
            name: group(**{field.name: values.pop(field.name) for field in fields(group)})
            for name, group in groups.items()
        }
        return command(**values, **made)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return run


def _options(group: Any) -> list[inspect.Parameter]:
    """Return the fields of a group as parameters."""
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=inspect.Parameter.empty if field.default is MISSING else field.default,
            annotation=hints[field.name],
        )
        for field in fields(group)
    ]

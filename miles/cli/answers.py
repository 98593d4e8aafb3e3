"""What commands print: one JSON document for scripts, tables and progress bars for people."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

people = Console(stderr=True)


def print_json(document: dict[str, Any]) -> None:
    """The one JSON document of a command, on stdout."""
    print(json.dumps(document, ensure_ascii=False, default=str))


def remark(text: str) -> None:
    """A line beside the answer, on stderr."""
    people.print(text, highlight=False, markup=False, soft_wrap=True)


def complain(problem: object) -> None:
    """What went wrong, on stderr."""
    people.print(f"[bold red]Error:[/] {escape(str(problem))}", highlight=False, soft_wrap=True)


def answer(as_json: bool, document: dict[str, Any], title: str) -> None:
    """Print the outcome of a command: as JSON for scripts, as a table for people."""
    if as_json:
        print_json(document)
        return
    table = Table(title=escape(title), show_header=False, title_justify="left")
    for name, value in document.items():
        shown = f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(shown, dict):
            shown = ", ".join(f"{key} {count}" for key, count in shown.items()) or "–"
        if isinstance(shown, list | tuple):
            shown = f"{len(shown)}"
        table.add_row(name.replace("_", " "), "–" if shown is None else escape(str(shown)))
    Console().print(table)


@contextmanager
def progress(text: str, *, percent: bool = False) -> Iterator[Callable[[float, float | None], None]]:
    """A progress bar on stderr, with counts or the share that is done; yields `report(done, total)`."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    count = TaskProgressColumn() if percent else MofNCompleteColumn()
    columns = (TextColumn("{task.description}"), BarColumn(), count, TimeRemainingColumn())
    with Progress(*columns, console=people, transient=True, disable=not people.is_terminal) as bar:
        task = bar.add_task(text, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@contextmanager
def doing(text: str) -> Iterator[Callable[[str], None]]:
    """What is being done, on stderr, for as long as it takes; yields `describe(text)`."""
    if not people.is_terminal:
        yield lambda _: None
        return
    with people.status(escape(text)) as status:
        yield lambda said: status.update(escape(said))

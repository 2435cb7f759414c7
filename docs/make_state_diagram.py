"""Write the diagram and the table of docs/state-machine.md anew from taskq.domain.state.

python docs/make_state_diagram.py
"""

from __future__ import annotations

from pathlib import Path

from taskq.domain.state import TRANSITIONS, Event, TaskState, diagram

PAGE = Path(__file__).with_name("state-machine.md")


def main() -> None:
    """Rewrite the page in place."""
    PAGE.write_text(up_to_date(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def up_to_date(page: str) -> str:
    """The page with what is generated in it made anew.

    Arguments:
        page: the text of the page, which has a pair of marks for each generated part.
    """
    page = _replace(page, "diagram", f"```mermaid\n{diagram()}\n```")
    return _replace(page, "table", table())


def table() -> str:
    """Each event with the moves that it makes, as a Markdown table."""
    rows = [f"| {event.value} | {'<br>'.join(_moves(event))} |" for event in Event]
    return "\n".join(["| event | from → to |", "| --- | --- |", *rows])


def _moves(event: Event) -> list[str]:
    """The states before, grouped by the states that may follow."""
    befores: dict[str, list[str]] = {}
    for (each, before), afters in TRANSITIONS.items():
        if each == event:
            befores.setdefault(" or ".join(sorted(map(_name, afters))), []).append(_name(before))
    return [f"{', '.join(names)} → {after}" for after, names in befores.items()]


def _name(state: TaskState | None) -> str:
    return "nothing" if state is None else state.name


def _replace(page: str, part: str, text: str) -> str:
    start, end = f"<!-- begin {part} -->\n", f"<!-- end {part} -->"
    before, _, rest = page.partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}{text}\n{end}{after}"


if __name__ == "__main__":
    main()

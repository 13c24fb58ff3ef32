"""``drw people``: who may log in to the dashboard."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Final

from drw.registry import OK
from shared import people
from shared.errors import BadInput
from shared.names import shown
from shared.printable import is_utf8

if TYPE_CHECKING:
    from drw.registry import Commands, Context


_NO_TEXT: Final = "the password is no text in UTF-8, as browsers send it: type it at a terminal whose locale is UTF-8"


def register(commands: Commands) -> None:
    """Make the commands known."""
    group = commands.group("people", help="who may log in to the dashboard", example="drw people add ada")
    add = group.add(
        "add",
        _add,
        help="add a person, or give one a new password",
        description="Add a person, or give one a new password. It is asked for, or read from standard input.",
        example="drw people add ada",
        needs_database=False,
    )
    remove = group.add(
        "remove",
        _remove,
        help="let a person log in no more",
        example="drw people remove ada",
        needs_database=False,
    )
    for each in (add, remove):
        each.add_argument("name", help="how the person logs in, and what the audit says")
    group.add("list", _list, help="show their names", example="drw people list", needs_database=False)


def _people(context: Context) -> people.People:
    return people.People(context.settings.people_path())


def _add(context: Context) -> int:
    known, name = _people(context), context.args.name
    is_new = known.add(name, _password(name))
    if context.args.json:
        return context.print_json({"name": name, "added": is_new})
    print(f"{name} may log in to the dashboard" if is_new else f"{name} has a new password, and has to log in again")
    return OK


def _password(name: str) -> str:
    """Return a password: typed twice at a terminal, else the first line of standard input."""
    try:
        password = _typed(name) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
    except EOFError as error:
        raise BadInput("no password was typed: nothing was changed") from error
    except UnicodeDecodeError as error:
        raise BadInput(_NO_TEXT) from error
    if not is_utf8(password):
        raise BadInput(_NO_TEXT)
    return password


def _typed(name: str) -> str:
    first = getpass.getpass(f"password of {name}: ")
    people.check_length(first)
    if getpass.getpass("again: ") != first:
        raise BadInput("the two passwords differ: nothing was changed")
    return first


def _remove(context: Context) -> int:
    known, name = _people(context), context.args.name
    if not known.remove(name):
        raise BadInput(f"there is no {shown(name)}: 'drw people list' shows who there is")
    if context.args.json:
        return context.print_json({"name": name, "removed": True})
    print(f"{name} may log in no more")
    return OK


def _list(context: Context) -> int:
    names = _people(context).names()
    if context.args.json:
        return context.print_json(names)
    print("\n".join(names) or "nobody may log in to the dashboard: 'drw people add NAME' lets somebody")
    return OK

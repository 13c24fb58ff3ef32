"""The names of things: UIDs, program ids, run timestamps, directories and files.

Pure. Every format comes from the seed (``weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip`` and so on), and every
function that takes a name apart refuses what it could not have made, with :class:`~shared.errors.BadInput`: names
travel in messages and become paths.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final
from unicodedata import normalize

from shared.errors import BadInput

EXECUTIVES: Final = ("EA", "EU", "JAO", "NA")
"""Where something can run: the three ALMA Regional Centres and the observatory itself."""

DEFAULT_RECIPE: Final = "PipelineCalibration"

_UID = re.compile(r"uid://([A-Za-z0-9]{1,64})/([A-Za-z0-9]{1,64})/([A-Za-z0-9]{1,64})")
_DOCUMENT_ID = re.compile(r"uid___([A-Za-z0-9]{1,64})_([A-Za-z0-9]{1,64})_([A-Za-z0-9]{1,64})")
_PROGRAM_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]{0,63}")
_RECIPE = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
_TIMESTAMP = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}", re.ASCII)
_PRODUCTS_DIR = re.compile(r"([A-Za-z0-9][A-Za-z0-9.-]{0,63})_(\d{4}_\d\d_\d\dT\d\d_\d\d_\d\d\.\d{3})", re.ASCII)
_WEBLOG = re.compile(r"weblog-(?:[A-Za-z0-9]{1,64}-){3}(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})\.zip", re.ASCII)
_SHOWN = 80
_NAME_BYTES = 255


def shown(value: object) -> str:
    """Return ``value`` as it may stand in an error sentence: quoted, escaped, at most 80 characters.

    What fails to say what it is, is named by its type.
    """
    try:
        text = repr(value)
    except BaseException:  # noqa: BLE001 (somebody else's __repr__, which may raise anything)
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def uid(text: object) -> str:
    """Return ``text`` if it is an OUS UID such as ``uid://A003/X1/X1b``; raise BadInput otherwise."""
    if isinstance(text, str) and _UID.fullmatch(text):
        return text
    raise BadInput(
        f"{shown(text)} is not an OUS UID: it is uid:// and three parts of letters and digits, like uid://A003/X1/X1b"
    )


def document_id(ous_uid: str) -> str:
    """Return the document id of an OUS: ``uid://A003/X1/X1b`` is kept under ``uid___A003_X1_X1b``."""
    return uid(ous_uid).replace(":", "_").replace("/", "_")


def uid_of_document(doc_id: str) -> str:
    """Return the UID that is kept under a document id; the inverse of :func:`document_id`."""
    found = _DOCUMENT_ID.fullmatch(doc_id)
    if not found:
        raise BadInput(f"{shown(doc_id)} is not the document id of an OUS, like uid___A003_X1_X1b")
    return "uid://" + "/".join(found.groups())


def program_id(text: object) -> str:
    """Return ``text`` if it is a program id such as ``2015.1.00657.S``; raise BadInput otherwise.

    An underscore is refused because it separates program id and time in the names of products directories.
    """
    if isinstance(text, str) and _PROGRAM_ID.fullmatch(text):
        return text
    raise BadInput(
        f"{shown(text)} is not a program id: it begins with a letter or digit and has up to 64 letters, digits, "
        "dots and hyphens, like 2015.1.00657.S"
    )


def executive(text: object) -> str:
    """Return ``text`` if it names an executive; raise BadInput otherwise."""
    if isinstance(text, str) and text in EXECUTIVES:
        return text
    raise BadInput(f"{shown(text)} is not an executive: it is one of {', '.join(EXECUTIVES)}")


def recipe(text: object) -> str:
    """Return ``text`` if it can be a pipeline recipe such as ``PipelineCalibration``; raise BadInput otherwise."""
    if isinstance(text, str) and _RECIPE.fullmatch(text):
        return text
    raise BadInput(f"{shown(text)} is not a recipe: it is a word of letters, digits, '.', '_' and '-'")


def iso(moment: datetime) -> str:
    """Return an aware time as a run timestamp: UTC, to the millisecond, ``2018-07-19T07:10:03.781``."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="milliseconds")


def timestamp(text: object) -> str:
    """Return ``text`` if it is a run timestamp of a real moment; raise BadInput otherwise."""
    if isinstance(text, str) and _TIMESTAMP.fullmatch(text):
        try:
            datetime.fromisoformat(text)
        except ValueError:
            pass
        else:
            return text
    raise BadInput(f"{shown(text)} is not a run timestamp: it is a UTC time like 2018-07-19T07:10:03.781")


def moment(text: str) -> datetime:
    """Return the aware UTC time that a timestamp (with or without microseconds) stands for."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def run_timestamp(now: datetime, where: str) -> str:
    """Return the first timestamp from ``now`` on that the executive ``where`` may give to a run.

    A products directory is named by program and time alone, and all of them meet at JAO. So each executive
    uses its own milliseconds, those that leave its own remainder when divided by four: no two sites ever choose
    the same name, and none has to ask another.
    """
    start = now.astimezone(UTC)
    start = start.replace(microsecond=start.microsecond // 1000 * 1000)
    lag = (EXECUTIVES.index(executive(where)) - start.microsecond // 1000) % len(EXECUTIVES)
    return iso(start + timedelta(milliseconds=lag))


def products_dir(prog_id: str, run: str) -> str:
    """Return the name of a run's products directory, ``2015.1.00657.S_2018_07_19T07_10_03.781``."""
    return f"{program_id(prog_id)}_{timestamp(run).replace('-', '_').replace(':', '_')}"


def split_products_dir(name: object) -> tuple[str, str]:
    """Return program id and run timestamp of a products directory's name; the inverse of :func:`products_dir`."""
    found = _PRODUCTS_DIR.fullmatch(name) if isinstance(name, str) else None
    if not found:
        raise BadInput(
            f"{shown(name)} is not the name of a products directory, like 2015.1.00657.S_2018_07_19T07_10_03.781"
        )
    day, time = found[2].split("T")
    return found[1], timestamp(f"{day.replace('_', '-')}T{time.replace('_', ':')}")


def products_path(prog_id: str, run: str, ous_uid: str) -> str:
    """Return the path, relative to a cache, of the folder that holds the files of a run."""
    return f"{products_dir(prog_id, run)}/SOUS/GOUS/{document_id(ous_uid)}/products"


def _stem(ous_uid: str, run: str) -> str:
    return f"{_dashed(ous_uid)}-{timestamp(run)}"


def _dashed(ous_uid: str) -> str:
    return uid(ous_uid).removeprefix("uid://").replace("/", "-")


def weblog_stem(ous_uid: str) -> str:
    """Return what the names of all weblogs of an OUS begin with, ``weblog-X1-X1-Xa1-``, and no other OUS's."""
    return f"weblog-{_dashed(ous_uid)}-"


def weblog(ous_uid: str, run: str) -> str:
    """Return the name of a run's weblog, ``weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip``."""
    return f"weblog-{_stem(ous_uid, run)}.zip"


def weblog_name(text: object) -> str:
    """Return ``text`` if it is the name of a weblog; raise BadInput otherwise."""
    found = _WEBLOG.fullmatch(text) if isinstance(text, str) else None
    if found:
        timestamp(found[1])
        return found[0]
    raise BadInput(f"{shown(text)} is not the name of a weblog, like weblog-X1-X1-Xa1-2018-07-19T07:10:03.781.zip")


def _is_weblog(text: str) -> bool:
    try:
        weblog_name(text)
    except BadInput:
        return False
    return True


def report(ous_uid: str, run: str) -> str:
    """Return the name of a run's pipeline report, ``pl-report-X1-X1-Xa1-2018-07-19T07:10:03.781.xml``."""
    return f"pl-report-{_stem(ous_uid, run)}.xml"


def is_product(name: str, ous_uid: str, run: str) -> bool:
    """Tell whether a file in a products folder is a data product of that run: neither its weblog nor its report."""
    return name not in {weblog(ous_uid, run), report(ous_uid, run)}


def product_names(folder: str, product: str) -> tuple[str, ...]:
    """Return the names under which a product can be archived, in the order in which they are to be tried.

    ``folder`` is the run's (:func:`products_path`), ``product`` the path of the file in it. Its plain file name is what
    people look for, but any run may use it again. Its path below a cache is the run's alone, and says whose it is. A
    file in a subfolder has that only, and so has one that begins with ``_``, which CouchDB keeps for itself, and one
    that is named as a weblog is: that may be the name of another OUS's, which has no other.
    """
    path = f"{folder}/{product}"
    return (path,) if "/" in product or product.startswith("_") or _is_weblog(product) else (product, path)


def report_id(ous_uid: str, run: str) -> str:
    """Return the document id of a run's pipeline report, ``<timestamp>.<document id of the OUS>``."""
    return f"{timestamp(run)}.{document_id(ous_uid)}"


def file_name(text: object) -> str:
    """Return ``text`` if it can be the name of one file in one folder; raise BadInput otherwise.

    Refused are what could leave the folder or look like an option: ``/``, ``..``, a leading ``-`` or ``.``, control
    characters, and whatever is longer than the 255 bytes of a file system's names. What becomes such a name where a
    file system or a program takes look-alikes for one (a full-width ``/``) is refused too.
    """
    if isinstance(text, str) and _stays_in_its_folder(text) and _stays_in_its_folder(normalize("NFKC", text)):
        return text
    raise BadInput(
        f"{shown(text)} is not a file name: it may not be empty, begin with '-' or '.', nor hold '/' or control codes"
    )


def _stays_in_its_folder(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= _NAME_BYTES
        and name[0] not in "-."
        and "/" not in name
        and name.isprintable()
    )


def relative_path(text: object) -> str:
    """Return ``text`` if it is a path of plain file names below a folder; raise BadInput otherwise."""
    if not isinstance(text, str) or len(text) > 4096:  # noqa: PLR2004 (PATH_MAX)
        raise BadInput(f"{shown(text)} is not a path below a folder")
    for part in text.split("/"):
        file_name(part)
    return text

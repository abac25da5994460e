"""`lambda-pipeline dead-letters`: messages that are no valid observation, to look at, mend and send again."""

import codecs
import json
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lambda_pipeline.cli import common
from lambda_pipeline.errors import DeadLetterError

if TYPE_CHECKING:
    import sqlalchemy as sa

    from lambda_pipeline.domain.city_time import CityClock
    from lambda_pipeline.ingestion.redrive import Fix, Merge, Retried
    from lambda_pipeline.local.stack import Stack
    from lambda_pipeline.settings import Settings
    from lambda_pipeline.storage.dead_letters import Choice, StoredLetter

app = typer.Typer(
    no_args_is_help=True, help="Messages that could not be read: look at them, mend them, send them again."
)
_POSITION = re.compile(r"(?P<topic>[a-zA-Z0-9._-]{1,249})\[(?P<partition>\d{1,9})\]@(?P<offset>\d{1,18})", re.ASCII)
_NUMBER = re.compile(r"\d{1,18}", re.ASCII)
_SHOWN_BYTES, _SHOWN_ERROR = 100, 160
_LETTER = typer.Argument(..., metavar="ID|POSITION", help="Its number in the list, or topic[partition]@offset.")
_SINCE = typer.Option(None, "--since", metavar="TIME", help="Only what arrived since (a day or a time, in city time).")
_REASON = typer.Option(None, "--reason", metavar="TEXT", help="Only those whose reason contains this.")


@app.command("list")
def list_(
    limit: int = typer.Option(20, min=1, help="At most so many, the newest."),
    since: str | None = _SINCE,
    reason: str | None = _REASON,
    with_retried: bool = typer.Option(False, "--with-retried", help="Also those that were sent again."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """List dead letters, newest first: number, position, when it came (city time), the reason, and how it begins."""
    settings = common.start()
    clock = settings.city.clock()
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.storage.dead_letters import Choice, find_letters
    from lambda_pipeline.storage.engine import transaction

    choice = Choice(None, common.parse_instant(since, clock, "--since") if since else None, reason)
    with running_stack(settings, "dead-letters list", kafka=False) as stack:
        engine = _reader(stack)
        with transaction(engine, read_only=True) as database:
            found = find_letters(database, choice, limit=limit, with_retried=with_retried, payload_bytes=_SHOWN_BYTES)
        engine.dispose()
    if as_json:
        typer.echo(json.dumps([_as_json(letter, clock) for letter in found], indent=2))
        return
    if not found:
        typer.echo("No open dead letters." if choice.since is None and reason is None else "None.")
    for letter in found:
        typer.echo(f"{letter.id:>8}  {letter.position}  {_time(letter.appended_at, clock)}{_sent(letter, clock)}")
        typer.secho(f"          {_printable(letter.error, _SHOWN_ERROR)}", fg="yellow")
        typer.echo(f"          {_beginning(letter)}")


@app.command()
def show(
    letter: str = _LETTER,
    raw: bool = typer.Option(False, "--raw", help="Only the payload, byte for byte."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """Show everything that is known of one dead letter, and what it would be judged now."""
    _refuse_nonsense([letter])
    settings = common.start()
    clock = settings.city.clock()
    from lambda_pipeline.domain.observation import InvalidObservationError
    from lambda_pipeline.ingestion.redrive import judge_again
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.storage.dead_letters import Choice, find_letters
    from lambda_pipeline.storage.deployment import load_deployment
    from lambda_pipeline.storage.engine import transaction

    with running_stack(settings, "dead-letters show", kafka=False) as stack:
        engine = _reader(stack)
        with transaction(engine, read_only=True) as database:
            choice = Choice((_find(database, letter),))
            (found,) = find_letters(database, choice, with_retried=True)
            validator = load_deployment(database).validator()
        engine.dispose()
    if raw:
        sys.stdout.buffer.write(found.payload or b"")
        return
    try:
        judge_again(found.payload, validator, common.utc_now())
        now = "valid"
    except InvalidObservationError as error:
        now = str(error)
    if as_json:
        typer.echo(json.dumps({**_as_json(found, clock), "log_id": str(found.log_id), "judged_now": now}, indent=2))
        return
    known = {
        "number": found.id, "position": found.position, "log": found.log_id,
        "arrived": _time(found.appended_at, clock), "kept": _time(found.created_at, clock),
        "key": _printable(_text(found.key)[0]), "reason": _printable(found.error), "judged now": _printable(now),
        "sent again": _sent(found, clock).strip(" ()") or "no", "payload": _size(found),
    }  # fmt: skip
    for name, value in known.items():
        typer.echo(f"{name:<12}{value}")
    typer.echo(_printable(_text(found.payload)[0]))


@app.command()
def retry(
    letters: list[str] = typer.Argument(None, metavar="ID|POSITION…", help="Which; or --all."),
    everything: bool = typer.Option(False, "--all", help="All that are open."),
    since: str | None = _SINCE,
    reason: str | None = _REASON,
    fix: Path | None = typer.Option(
        None, metavar="FILE.json", help="Send this message in the place of the one letter."
    ),
    fields: list[str] = typer.Option(
        [], "--set", metavar="FIELD=VALUE", help="Send it with this value; may be repeated."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Say what would be sent, and change nothing."),
) -> None:
    """Send dead letters again, mended or as they are: through Kafka, to both layers, each counted once.

    For what became valid since (a location that the catalogue now knows, a lower LAMBDA_HISTORY_START), or can be
    mended with --fix or --set. What is late for a month that only the archive holds is brought into the archive
    instead. What is still invalid is not sent, and named with the reason; then it exits 1. A letter that was sent again
    is not open any more, and is not sent a second time.
    """
    if bool(letters) == everything:
        raise typer.BadParameter("name dead letters, or give --all.", param_hint="ID")
    if letters and (since or reason):
        raise typer.BadParameter("they choose among --all.", param_hint="--since/--reason")
    _refuse_nonsense(letters or [])
    mended = _fix(fix, fields, single=len(letters or ()) == 1)
    settings = common.start()
    from lambda_pipeline.local.stack import running_stack
    from lambda_pipeline.storage.dead_letters import Choice
    from lambda_pipeline.storage.engine import BATCH_TIMEOUTS, make_engine, transaction

    begin = common.parse_instant(since, settings.city.clock(), "--since") if since else None
    with running_stack(settings, "dead-letters retry", kafka=not dry_run) as stack:
        engine = make_engine(stack.addresses().writer_url, "dead-letters", BATCH_TIMEOUTS)
        ids = None
        if letters:
            with transaction(engine, read_only=True) as database:
                ids = tuple(dict.fromkeys(_open(database, one, settings.city.clock()) for one in letters))
        done, failed = _retry(stack, engine, Choice(ids, begin, reason), mended, dry_run=dry_run)
        engine.dispose()
    verb = "would be sent" if dry_run else "sent"
    typer.echo(f"{done} {verb}, {failed} not." if done or failed else "No open dead letters.")
    if failed:
        raise typer.Exit(1)


def _retry(stack: "Stack", engine: "sa.Engine", choice: "Choice", fix: "Fix", *, dry_run: bool) -> tuple[int, int]:
    """Send, and say of each letter what became of it; how many were sent and how many not."""
    from lambda_pipeline.ingestion.delivery import Delivery
    from lambda_pipeline.ingestion.redrive import retry_letters
    from lambda_pipeline.stream.topic import ensure_topic

    counts = [0, 0]

    def tell(found: "Retried") -> None:
        counts[bool(found.reason)] += 1
        typer.secho(f"{found.id:>8}  {_fate(found)}", fg="red" if found.reason else None, err=bool(found.reason))

    if dry_run:
        for found in retry_letters(engine, choice, fix, None, None):
            tell(found)
        return counts[0], counts[1]
    settings, connection = stack.settings, stack.addresses().connection()
    topic = ensure_topic(connection, settings.kafka_topic, settings.kafka_partitions)
    delivery = Delivery(connection.client_settings("dead-letters"), topic.name)
    try:
        for found in retry_letters(engine, choice, fix, delivery.send, topic, _merge(settings, engine)):
            tell(found)
    finally:
        delivery.close()
    return counts[0], counts[1]


def _merge(settings: "Settings", engine: "sa.Engine") -> "Merge | None":
    """What brings letters into the archive, where there is one."""
    if settings.archive_place is None:
        return None
    from lambda_pipeline.archive.archive import Archive

    return Archive(engine, settings.archive_place, settings.archive_access).merge


def _fate(found: "Retried") -> str:
    known = "; an observation of this place and time is stored already, and stays as it is" if found.is_known else ""
    if found.reason:
        return f"not sent: {_printable(found.reason)}"
    if found.fate == "valid":
        return f"valid now{known}"
    if found.fate == "archived":
        return f"brought into the archive{f' as {found.position}' if found.position else ''}{known}"
    return f"sent{f' to {found.position}' if found.position else ''}{known}"


def _fix(file: Path | None, fields: list[str], *, single: bool) -> "Fix":
    """How payloads are to be mended. Wrong usage where it cannot be read."""
    from lambda_pipeline.ingestion.redrive import Fix, as_fields, as_payload

    if file is None:
        try:
            return Fix(fields=as_fields(fields) or None)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--set") from error
    if fields or not single:
        raise typer.BadParameter("it is for one dead letter, and not beside --set.", param_hint="--fix")
    try:
        return Fix(payload=as_payload(file.read_bytes()))
    except OSError as error:
        raise typer.BadParameter(f"{file} cannot be read: {error.strerror}.", param_hint="--fix") from error
    except ValueError as error:
        raise typer.BadParameter(f"{file} is not JSON: {error}.", param_hint="--fix") from error


def _reader(stack: "Stack") -> "sa.Engine":
    from lambda_pipeline.storage.engine import make_engine

    return make_engine(stack.addresses().reader_url, "dead-letters")


def _refuse_nonsense(names: list[str]) -> None:
    """Wrong usage for what names no dead letter."""
    for name in names:
        if not (_NUMBER.fullmatch(name) or _POSITION.fullmatch(name)):
            raise typer.BadParameter(f"{name!r} is neither a number nor topic[partition]@offset.", param_hint="ID")


def _find(database: "sa.Connection", name: str) -> int:
    """The id of the letter that is meant. Raises DeadLetterError where there is none, or several."""
    from lambda_pipeline.storage.dead_letters import Choice, find_letters, letters_at

    found: list[int] = []
    if _NUMBER.fullmatch(name):
        letters = find_letters(database, Choice((int(name),)), with_retried=True, payload_bytes=0)
        found = [letter.id for letter in letters]
    elif place := _POSITION.fullmatch(name):
        found = letters_at(database, place["topic"], int(place["partition"]), int(place["offset"]))
    if len(found) == 1:
        return found[0]
    if found:
        several = ", ".join(map(str, found))
        raise DeadLetterError(f"{name} is several: the topic was recreated or cut short.", f"Name one of {several}.")
    raise DeadLetterError(
        f"there is no dead letter {name}.", "See `lambda-pipeline dead-letters list`; old ones are removed."
    )


def _open(database: "sa.Connection", name: str, clock: "CityClock") -> int:
    """The id of an open letter. Raises DeadLetterError for one that was sent again."""
    from lambda_pipeline.storage.dead_letters import Choice, find_letters

    number = _find(database, name)
    (letter,) = find_letters(database, Choice((number,)), with_retried=True, payload_bytes=0)
    if letter.retried_at is not None:
        raise DeadLetterError(f"{name} was {_sent(letter, clock).strip(' ()')} already.", "Nothing was sent.")
    return number


def _sent(letter: "StoredLetter", clock: "CityClock") -> str:
    if letter.retried_at is None:
        return ""
    where = f" to {letter.retried_position}" if letter.retried_position else ""
    return f"  (sent again {_time(letter.retried_at, clock)}{where})"


def _as_json(letter: "StoredLetter", clock: "CityClock") -> dict[str, Any]:
    """What programs are given; `payload` is its beginning in a list."""
    key, payload = _text(letter.key), _text(letter.payload, is_cut=_is_cut(letter))
    return {
        "id": letter.id,
        "position": letter.position,
        "appended_at": clock.local(letter.appended_at).isoformat(),
        "kept_at": clock.local(letter.created_at).isoformat(),
        "error": letter.error,
        "key": None if letter.key is None else key[0],
        "payload": None if letter.payload is None else payload[0],
        "payload_encoding": payload[1],
        "payload_bytes": letter.payload_bytes,
        "retried_at": None if letter.retried_at is None else clock.local(letter.retried_at).isoformat(),
        "retried_position": letter.retried_position,
    }


def _text(value: bytes | None, *, is_cut: bool = False) -> tuple[str, str]:
    """UTF-8 or hexadecimal, and which of them; where the value is cut within a character, without that."""
    try:
        return codecs.getincrementaldecoder("utf-8")().decode(value or b"", final=not is_cut), "utf-8"
    except UnicodeDecodeError:
        return (value or b"").hex(), "hex"


def _printable(text: str, most: int | None = None) -> str:
    """What a terminal may be shown: a message could hold what moves its cursor or sets its title."""
    shown = text if most is None or len(text) <= most else f"{text[:most]}…"
    return "".join(one if one.isprintable() or one in "\n\t" else repr(one)[1:-1] for one in shown)


def _beginning(letter: "StoredLetter") -> str:
    if letter.payload is None:
        return "no value"
    text = " ".join(_printable(_text(letter.payload, is_cut=_is_cut(letter))[0]).split())
    return f"{text}…" if _is_cut(letter) else text


def _is_cut(letter: "StoredLetter") -> bool:
    return len(letter.payload or b"") < (letter.payload_bytes or 0)


def _size(letter: "StoredLetter") -> str:
    return "none" if letter.payload is None else f"{letter.payload_bytes} bytes, {_text(letter.payload)[1]}"


def _time(moment: Any, clock: "CityClock") -> str:
    return f"{clock.local(moment):%Y-%m-%d %H:%M:%S %Z}"

"""Who may log in: the passwords of the roles that the migrations made, and a database of Dagster's own.

A password stands in one place, the address that a service is started with: change it there, and run the upgrade again.
The server is sent a SCRAM verifier, never the password, which its log and `pg_stat_activity` could show.
"""

import sqlalchemy as sa
from psycopg import sql

from lambda_pipeline.errors import SettingsError
from lambda_pipeline.storage.engine import session
from lambda_pipeline.storage.incoming import driver_connection

WRITER, READER = "lambda_writer", "lambda_reader"


def give_logins(owner: sa.Engine, writer_url: str, reader_url: str, dagster_url: str | None) -> list[str]:
    """Let the users of these addresses log in with the addresses' passwords; running it again changes nothing else.

    Dagster's user and database are made where they are missing, and nobody else may connect to either database from
    then on. An address on another server than the owner's is left alone. `owner` is a superuser's engine, on a database
    of the newest schema. Returns the users that may log in now.

    Raises SettingsError for an address without a password or with another user, DatabaseUnavailableError.
    """
    addresses = {"DATABASE_URL": (writer_url, WRITER), "LAMBDA_READER_DATABASE_URL": (reader_url, READER)}
    found = {setting: _parse(setting, url, role) for setting, (url, role) in addresses.items()}
    if dagster_url is not None:
        found["LAMBDA_DAGSTER_DATABASE_URL"] = _parse("LAMBDA_DAGSTER_DATABASE_URL", dagster_url)
    here = {setting: url for setting, url in found.items() if _server(url) == _server(owner.url)}
    with session(owner) as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")  # a database is not made in a transaction
        for setting, url in here.items():
            is_dagsters = setting == "LAMBDA_DAGSTER_DATABASE_URL"
            if is_dagsters and not _exists(connection, "pg_roles where rolname", url.username):
                _run(connection, "create role {}", url.username)
            _set_password(connection, url)
            if is_dagsters:
                if not _exists(connection, "pg_database where datname", url.database):
                    _run(connection, "create database {} owner {}", url.database, url.username)
                _run(connection, "revoke connect, temporary on database {} from public", url.database)
        _run(connection, "revoke connect on database {} from public", owner.url.database)
        _run(connection, f"grant connect on database {{}} to {WRITER}, {READER}", owner.url.database)
    return [str(url.username) for url in here.values()]


def _parse(setting: str, text: str, role: str | None = None) -> sa.URL:
    url = sa.make_url(text)
    form = f"postgresql://{role or 'dagster'}:password@host:5432/{'lambda' if role else 'dagster'}"
    if not url.username or not url.password or not url.database:
        raise SettingsError(f"{setting} names no user, password or database.", f"Write {form}.")
    if role is not None and url.username != role:
        raise SettingsError(f"{setting} names the user {url.username}, but {role} has the rights.", f"Write {form}.")
    return url


def _server(url: sa.URL) -> tuple[object, ...]:
    return url.host or url.query.get("host"), url.port or 5432


def _exists(connection: sa.Connection, what: str, name: str | None) -> bool:
    return bool(connection.execute(sa.text(f"select exists (select from {what} = :name)"), {"name": name}).scalar())  # noqa: S608


def _run(connection: sa.Connection, statement: str, *names: str | None) -> None:
    identifiers = [sql.Identifier(str(name)) for name in names]
    driver_connection(connection).execute(sql.SQL(statement).format(*identifiers))


def _set_password(connection: sa.Connection, url: sa.URL) -> None:
    driver = driver_connection(connection)
    user, password = str(url.username), str(url.password)
    verifier = driver.pgconn.encrypt_password(password.encode(), user.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("alter role {} login password {}")
    driver.execute(statement.format(sql.Identifier(user), sql.Literal(verifier)))

"""`db upgrade --logins`: who may log in afterwards, and what is refused."""

from collections.abc import Callable, Iterator

import psycopg
import pytest
import sqlalchemy as sa

from lambda_pipeline.errors import SettingsError
from lambda_pipeline.storage.logins import give_logins
from lambda_pipeline_tests.servers import Database

pytestmark = pytest.mark.integration
Address = Callable[..., str]


@pytest.fixture
def address(database: Database) -> Address:
    """An address on the database's server. It lies behind a socket there, which asks nobody for a password."""

    def make(user: str, password: str = "one", name: str = database.name) -> str:
        return str(
            sa.make_url(database.postgres.url(name, user)).set(password=password).render_as_string(hide_password=False)
        )

    return make


@pytest.fixture
def dagster(database: Database) -> Iterator[str]:
    """The name of Dagster's user and database, gone again afterwards."""
    name = f'dagster of "{database.name}"'
    yield name
    quoted = '"' + name.replace('"', '""') + '"'
    with database.postgres_connection() as connection:
        connection.execute(f"drop database if exists {quoted}")
        connection.execute(f"drop role if exists {quoted}")


def verifier(database: Database, user: str) -> str:
    """What the server keeps of a password."""
    return str(database.scalar("select rolpassword from pg_authid where rolname = :user and rolcanlogin", user=user))


def test_roles_get_the_passwords_of_the_addresses_and_dagster_a_database(
    database: Database, address: Address, dagster: str
) -> None:
    dagsters = address(dagster, name=dagster).replace("postgresql://", "postgresql+psycopg2://")
    for _ in range(2):
        users = give_logins(database.owner, address("lambda_writer"), address("lambda_reader"), dagsters)
        assert users == ["lambda_writer", "lambda_reader", dagster]
    for user in users:
        assert verifier(database, user).startswith("SCRAM-SHA-256$")
    owner = "select rolname from pg_database join pg_roles on pg_roles.oid = datdba where datname = :name"
    assert database.scalar(owner, name=dagster) == dagster
    with psycopg.connect(database.postgres.url(dagster, dagster)) as connection:
        connection.execute("create table mine ()")
    for name, user in ((dagster, "lambda_writer"), (dagster, "lambda_reader"), (database.name, dagster)):
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(database.postgres.url(name, user))


def test_a_changed_password_is_the_servers_after_the_next_upgrade(database: Database, address: Address) -> None:
    before = []
    for password in ("one", "p@ss/w0rd:%"):
        give_logins(database.owner, address("lambda_writer", password), address("lambda_reader", password), None)
        before.append((verifier(database, "lambda_writer"), verifier(database, "lambda_reader")))
    assert not set(before[0]) & set(before[1])


def test_an_address_on_another_server_is_left_alone(database: Database, address: Address) -> None:
    elsewhere = "postgresql+psycopg2://dagster:secret@elsewhere/dagster"
    users = give_logins(database.owner, address("lambda_writer"), address("lambda_reader"), elsewhere)
    assert users == ["lambda_writer", "lambda_reader"]


@pytest.mark.parametrize(
    ("writer", "reader", "dagster", "what"),
    [
        ("postgresql://lambda_writer@h/lambda", None, None, "DATABASE_URL names no user, password or database"),
        ("postgresql://:secret@h/lambda", None, None, "DATABASE_URL names no user, password or database"),
        ("postgresql://me:secret@h/lambda", None, None, "DATABASE_URL names the user me, but lambda_writer"),
        (None, "postgresql://lambda_writer:secret@h/lambda", None, "LAMBDA_READER_DATABASE_URL names the user"),
        (None, None, "postgresql://dagster@h/dagster", "LAMBDA_DAGSTER_DATABASE_URL names no user, password"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_before_anything_changes(
    database: Database, address: Address, writer: str | None, reader: str | None, dagster: str | None, what: str
) -> None:
    give_logins(database.owner, address("lambda_writer"), address("lambda_reader"), None)
    before = verifier(database, "lambda_writer")
    with pytest.raises(SettingsError, match=what) as caught:
        give_logins(
            database.owner, writer or address("lambda_writer"), reader or address("lambda_reader"), dagster
        )  # fmt: skip
    assert "secret" not in str(caught.value)
    assert verifier(database, "lambda_writer") == before

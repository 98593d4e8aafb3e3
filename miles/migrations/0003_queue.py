"""The job queue's own tables: procrastinate's schema, as the installed version ships it."""

from importlib.resources import files

from sqlalchemy import Connection


def apply(connection: Connection) -> None:
    schema = files("procrastinate.sql").joinpath("schema.sql").read_text(encoding="utf-8")
    cursor = connection.connection.cursor()
    cursor.execute(schema)  # without arguments psycopg leaves % alone and takes many statements

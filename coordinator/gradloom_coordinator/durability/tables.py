"""The coordinator's tables. What is in them must stay readable: raise SCHEMA_VERSION with every change.

Values that the wire has a message for are kept as its bytes; everything that is looked for has a column.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION = 1

metadata = MetaData()
# SQLite numbers rows by itself only in a column of exactly this type
_number = BigInteger().with_variant(Integer, "sqlite")

meta = Table(
    "meta", metadata, Column("key", Text, primary_key=True), Column("value", BigInteger, nullable=False)
)
"""``schema_version``, and ``starts``: how often a coordinator has started on this database."""

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    Column("holder", Text, nullable=False),
    Column("address", Text, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("expires_at", Float(53), nullable=False),  # by the database's clock
)
"""Who leads, where several coordinators stand ready; ``epoch`` is the ``starts`` of the one that does."""

jobs = Table(
    "jobs",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),  # in the order of submission
    Column("job", Text, nullable=False, unique=True),
    Column("spec", LargeBinary, nullable=False),
    Column("client_token", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
    Column("started_at", Float(53)),
    Column("ended_at", Float(53)),
    Column("manifest", LargeBinary),
    Column("view", LargeBinary),  # the job as it ended: rounds, scores, fingerprint, ...
    Column("model_path", Text),
)
events = Table(
    "events",
    metadata,
    Column("job", Text, primary_key=True),
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float(53), nullable=False),
    Column("kind", Text, nullable=False),
    Column("payload", LargeBinary, nullable=False),
)
checkpoints = Table(
    "checkpoints",
    metadata,
    Column("job", Text, primary_key=True),
    Column("round", BigInteger, primary_key=True, autoincrement=False),
    Column("uri", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("created_at", Float(53), nullable=False),
)
steering = Table(
    "steering",
    metadata,
    Column("number", _number, primary_key=True, autoincrement=True),
    Column("job", Text, nullable=False),
    Column("at_round", BigInteger, nullable=False),
    Column("who", Text, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("field", Text, nullable=False),
    Column("old", Text, nullable=False),
    Column("new", Text, nullable=False),
    UniqueConstraint(
        "job", "at_round", "field", "at"
    ),  # what is written again after a lost answer counts once
)

"""The settings of an algorithm as fields of a form, read from its JSON Schema. Pure."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from gradloom.jobs import AlgorithmDescription, JobView


@dataclass(frozen=True, slots=True)
class Field:
    """One thing that a person may set."""

    name: str
    default: str
    """As a person would write it; empty = it must be given."""
    meaning: str
    choices: tuple[str, ...] = ()
    """Empty = anything that is allowed."""
    allowed: str = ""
    """In words."""

    @property
    def hint(self) -> str:
        """What it means and what is allowed, in one line."""
        return f"{self.meaning} ({self.allowed})" if self.allowed else self.meaning


SYNCHRONIES = ("synchronous", "backup:1", "bounded:3", "asynchronous")
CODECS = ("none", "float16", "bfloat16", "int8", "topk:0.01", "dgc:0.01", "powersgd:4", "signsgd", "auto")
DOWNLINKS = ("none", "float16", "bfloat16", "int8", "topk:0.01")
SCHEDULING = (
    Field("synchrony", "synchronous", "when a round is over", allowed=", ".join(SYNCHRONIES)),
    Field("codec", "none", "how gradients travel", allowed=", ".join(CODECS)),
    Field("downlink", "none", "how parameters travel", allowed=", ".join(DOWNLINKS)),
    Field("placement", "balanced", "who computes what", ("balanced", "local", "round_robin", "random")),
    Field("speculation", "on", "whether tasks that take too long are copied", ("on", "off")),
    Field("share_weight", "1.0", "its share of the workers beside other jobs"),
)
"""What decides how any job runs; all of it may change while the job lives."""
SUGGESTIONS: Mapping[str, tuple[str, ...]] = {
    "synchrony": SYNCHRONIES,
    "codec": CODECS,
    "downlink": DOWNLINKS,
}


def settings_of(description: AlgorithmDescription) -> tuple[Field, ...]:
    """The settings of an algorithm, in the order of its schema."""
    properties = json.loads(description.settings_schema).get("properties", {})
    return tuple(_field(name, schema) for name, schema in properties.items())


def live_settings_of(job: JobView, description: AlgorithmDescription) -> tuple[Field, ...]:
    """Those that the coordinator lets change while the job lives; of one that has ended all, to look at."""
    found = settings_of(description)
    if job.state.final:
        return found
    allowed = {one.field for one in job.steerable}
    return tuple(field for field in found if f"settings.{field.name}" in allowed)


def in_force(job: JobView, field: Field) -> str:
    """What a job has for a field now, as a person would write it."""
    if field in SCHEDULING:
        return str(getattr(job.spec, field.name)) or field.default
    return job.spec.settings.get(field.name, field.default)


def _field(name: str, schema: Mapping[str, object]) -> Field:
    default = _text(schema["default"]) if "default" in schema else ""
    kinds = schema.get("anyOf", [schema])
    assert isinstance(kinds, list)
    allowed = " or ".join(words for kind in kinds if (words := _allowed(kind)))
    return Field(name, default, str(schema.get("description", "")), _choices(schema), allowed)


def _choices(schema: Mapping[str, object]) -> tuple[str, ...]:
    if schema.get("type") == "boolean":
        return ("true", "false")
    choices = schema.get("enum")
    return tuple(str(choice) for choice in choices) if isinstance(choices, list) else ()


def _allowed(schema: Mapping[str, object]) -> str:
    signs = {"exclusiveMinimum": ">", "minimum": "≥", "exclusiveMaximum": "<", "maximum": "≤"}
    bounds = " and ".join(f"{sign} {schema[key]}" for key, sign in signs.items() if key in schema)
    if schema.get("type") == "null":
        return "none"
    return f"a whole number {bounds}".rstrip() if schema.get("type") == "integer" else bounds


def _text(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case _:
            return str(value)

"""Writes the rules in rules/ once more, as the PrometheusRule that a Prometheus operator reads: `make rules`."""

from pathlib import Path

import yaml

HERE = Path(__file__).parent
RULES = sorted((HERE / "rules").glob("*.yml"))
OUT = HERE.parents[1] / "k8s" / "components" / "monitoring" / "rules.yaml"
HEAD = "# Written by `make rules` from dashboard/prometheus/rules: change those.\n"


def prometheus_rule() -> dict[str, object]:
    """The object, with the groups of all files."""
    groups = [group for path in RULES for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]]
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "gradloom", "labels": {"release": "kube-prometheus-stack"}},
        "spec": {"groups": groups},
    }


def text() -> str:
    """What the file must say."""
    return HEAD + yaml.safe_dump(prometheus_rule(), sort_keys=False, width=120, allow_unicode=True)


if __name__ == "__main__":
    OUT.write_text(text(), encoding="utf-8")

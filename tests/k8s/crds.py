"""The fields of other people's objects that we use, as JSON schemas: written down from their definitions, and strict.

cert-manager v1 (cert-manager.io/docs/reference/api-docs), Prometheus operator v1
(prometheus-operator.dev/docs/api-reference), KEDA v2 (keda.sh/docs/latest/reference/scaledobject-spec).
"""

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string", "minLength": 1}
COUNT: Schema = {"type": "integer", "minimum": 0}
GO_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(h|m|s))+$"}
PROMETHEUS_DURATION: Schema = {"type": "string", "pattern": r"^([0-9]+(y|w|d|h|m|s|ms))+$"}
LABELS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def record(required: str = "", **fields: Schema) -> Schema:
    """An object with these fields and no others."""
    return {
        "type": "object",
        "properties": fields,
        "required": required.split(),
        "additionalProperties": False,
    }


def many(of: Schema) -> Schema:
    """A list with something in it."""
    return {"type": "array", "items": of, "minItems": 1}


def one_of(*values: str) -> Schema:
    """One of some words."""
    return {"enum": list(values)}


def kind(api_version: str, name: str, spec: Schema) -> Schema:
    """A whole object."""
    metadata = record("name", name=TEXT, namespace=TEXT, labels=LABELS, annotations=LABELS)
    return record(
        "apiVersion kind metadata spec",
        apiVersion={"const": api_version},
        kind={"const": name},
        metadata=metadata,
        spec=spec,
    )


ISSUER = kind(
    "cert-manager.io/v1",
    "Issuer",
    {
        **record(selfSigned=record(), ca=record("secretName", secretName=TEXT)),
        "minProperties": 1,
        "maxProperties": 1,
    },
)
CERTIFICATE = kind(
    "cert-manager.io/v1",
    "Certificate",
    record(
        "secretName issuerRef",
        secretName=TEXT,
        commonName={**TEXT, "maxLength": 64},
        isCA={"type": "boolean"},
        subject=record(organizationalUnits=many(TEXT)),
        dnsNames=many(TEXT),
        ipAddresses=many(TEXT),
        duration=GO_DURATION,
        renewBefore=GO_DURATION,
        usages=many(one_of("digital signature", "server auth", "client auth")),
        privateKey=record(
            algorithm=one_of("RSA", "ECDSA", "Ed25519"),
            size={"enum": [256, 384, 521]},
            encoding=one_of("PKCS1", "PKCS8"),
            rotationPolicy=one_of("Never", "Always"),
        ),
        issuerRef=record("name", name=TEXT, kind=one_of("Issuer", "ClusterIssuer"), group=TEXT),
    ),
)
ENDPOINT = record(
    "port",
    port=TEXT,
    interval=PROMETHEUS_DURATION,
    scrapeTimeout=PROMETHEUS_DURATION,
    relabelings=many(record("action", action=one_of("replace"), targetLabel=TEXT, replacement=TEXT)),
)
SELECTOR = record("matchLabels", matchLabels=LABELS)
SERVICE_MONITOR = kind(
    "monitoring.coreos.com/v1",
    "ServiceMonitor",
    record("selector endpoints", selector=SELECTOR, endpoints=many(ENDPOINT)),
)
POD_MONITOR = kind(
    "monitoring.coreos.com/v1",
    "PodMonitor",
    record("selector podMetricsEndpoints", selector=SELECTOR, podMetricsEndpoints=many(ENDPOINT)),
)
RULE: Schema = {
    **record(
        "expr",
        alert=TEXT,
        record={"type": "string", "pattern": "^[a-zA-Z_:][a-zA-Z0-9_:]*$"},
        expr=TEXT,
        labels=LABELS,
        annotations=LABELS,
        **{"for": PROMETHEUS_DURATION},
    ),
    "oneOf": [{"required": ["alert"]}, {"required": ["record"]}],
}
PROMETHEUS_RULE = kind(
    "monitoring.coreos.com/v1",
    "PrometheusRule",
    record(
        "groups", groups=many(record("name rules", name=TEXT, interval=PROMETHEUS_DURATION, rules=many(RULE)))
    ),
)
SCALING_RULES = record(
    stabilizationWindowSeconds={**COUNT, "maximum": 3600},
    policies=many(
        record("type value periodSeconds", type=one_of("Pods", "Percent"), value=COUNT, periodSeconds=COUNT)
    ),
)
PROMETHEUS_TRIGGER = record(
    "type metadata",
    type=one_of("prometheus"),
    metricType=one_of("AverageValue", "Value"),
    metadata=record("serverAddress query threshold", serverAddress=TEXT, query=TEXT, threshold=TEXT),
)
SCALED_OBJECT = kind(
    "keda.sh/v1alpha1",
    "ScaledObject",
    record(
        "scaleTargetRef triggers",
        scaleTargetRef=record("name", apiVersion=TEXT, kind=TEXT, name=TEXT),
        minReplicaCount=COUNT,
        maxReplicaCount=COUNT,
        pollingInterval=COUNT,
        advanced=record(
            horizontalPodAutoscalerConfig=record(
                behavior=record(scaleUp=SCALING_RULES, scaleDown=SCALING_RULES)
            )
        ),
        triggers=many(PROMETHEUS_TRIGGER),
    ),
)
SCHEMAS = {
    schema["properties"]["kind"]["const"]: schema
    for schema in (ISSUER, CERTIFICATE, SERVICE_MONITOR, POD_MONITOR, PROMETHEUS_RULE, SCALED_OBJECT)
}
"""By kind."""

"""PromQL that several panels need, with our prefix and the dashboard's variables filled in."""

W = 'worker=~"$worker"'
J = 'job_id=~"$job_id"'


def rate(name: str, by: str, chosen: str = "") -> str:
    """Per second, summed by labels."""
    return f"sum by ({by}) (rate(gradloom_{name}{_selected(chosen)}[$__rate_interval]))"


def total_rate(name: str, chosen: str = "") -> str:
    """Per second, of all series together."""
    return f"sum(rate(gradloom_{name}{_selected(chosen)}[$__rate_interval]))"


def in_range(name: str, by: str, chosen: str = "") -> str:
    """How much it grew in the time that the dashboard shows, summed by labels."""
    return f"sum by ({by}) (increase(gradloom_{name}{_selected(chosen)}[$__range]))"


def quantile(q: float, name: str, by: str = "", chosen: str = "") -> str:
    """What a share ``q`` of the values of a histogram stay below."""
    labels = f"{by}, le" if by else "le"
    buckets = f"rate(gradloom_{name}_bucket{_selected(chosen)}[$__rate_interval])"
    return f"histogram_quantile({q:g}, sum by ({labels}) ({buckets}))"


def mean(name: str, by: str = "", chosen: str = "") -> str:
    """The mean of a histogram's values."""
    group = f"sum by ({by})" if by else "sum"
    sums, counts = (
        f"{group} (rate(gradloom_{name}_{part}{_selected(chosen)}[$__rate_interval]))"
        for part in ("sum", "count")
    )
    return f"{sums} / ({counts} > 0)"


def share(part: str, whole: str) -> str:
    """One rate over another; 0 where there is nothing to share."""
    return f"{part} / clamp_min({whole}, 1e-9)"


def _selected(chosen: str) -> str:
    return f"{{{chosen}}}" if chosen else ""

"""The samples of a page of metrics."""

from collections import defaultdict

from prometheus_client.parser import text_string_to_metric_families


def read_samples(text: str) -> defaultdict[str, float]:
    """The value of each sample, by its name and labels."""
    values: defaultdict[str, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            values[f"{sample.name}{{{labels}}}"] = sample.value
    return values

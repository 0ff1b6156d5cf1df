"""Prometheus' own parser."""

import math
import re
import urllib.request

from conftest import CONFIG, PATIENCE, ROOT, started
from openai import OpenAI
from prometheus_client.parser import text_string_to_metric_families

TOKEN = "an-operators-token-0123456789"
# A name that has to be escaped.
MODEL = 'a "b" \\ c'
MORE = """
[admin]
listen = "127.0.0.1:0"
token = "env::ADMIN_TOKEN"
[models.'a "b" \\ c']
pipeline = "default"
routing = ["main"]
[models.'a "b" \\ c'.providers.main]
type = "openai"
api_base = "env::DEMO"
api_key_location = "none"
"""


def scrape(operator):
    request = urllib.request.Request(f"{operator}/metrics", headers={"authorization": f"Bearer {TOKEN}"})
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        return {family.name: family for family in text_string_to_metric_families(answer.read().decode())}


def value(families, name, **labels):
    family = families[f"rust_proxy_{name}".removesuffix("_total").removesuffix("_count")]
    values = [
        sample.value
        for sample in family.samples
        if sample.name == f"rust_proxy_{name}" and labels.items() <= sample.labels.items()
    ]
    return sum(values)


def test_prometheus_reads_what_is_exported(logs, dev_api):
    config = logs / "metrics.toml"
    config.write_text(CONFIG.format(server="", plugins=ROOT / "config/plugins") + MORE)
    variables = {"DEMO": f"{dev_api}/v1/", "SCRIPTED": f"{dev_api}/v1/", "ADMIN_TOKEN": TOKEN}
    with started(logs / "metrics", "serve", "--config", config, **variables) as (url, printed):
        operator = re.search(r"http://[\d.:]+", printed.readline())[0]
        client = OpenAI(base_url=f"{url}/v1", api_key="unused", max_retries=0, timeout=PATIENCE)
        said = [{"role": "user", "content": "A banana, please"}]
        options = {"include_usage": True}
        usages = [list(client.chat.completions.create(model=MODEL, messages=said, stream=True, stream_options=options))[-1].usage]
        usages += [client.chat.completions.create(model=MODEL, messages=said).usage for _ in range(2)]
        families = scrape(operator)

    route = {"route": "/v1/chat/completions"}
    assert value(families, "requests_total", **route, status="2xx", end="complete") == 1
    assert value(families, "requests_total", **route, status="2xx", end="whole") == 2
    assert value(families, "first_byte_seconds_count", **route) == 3
    assert value(families, "plugin_exchanges_total", plugin="sensitive-word", generation="1") == 3
    for kind in ("prompt", "completion"):
        told = sum(getattr(usage, f"{kind}_tokens") for usage in usages)
        assert value(families, "upstream_tokens_total", model=MODEL, provider="main", kind=kind) == told > 0
    for family in families.values():
        assert family.type in ("counter", "gauge", "histogram"), family
        assert family.documentation, family
        counts = {str(labels(sample)): sample.value for sample in family.samples if sample.name.endswith("_count")}
        most = {str(labels(sample)): sample.value for sample in family.samples if sample.labels.get("le") == "+Inf"}
        assert counts == most
        assert not any(math.isnan(sample.value) for sample in family.samples)


def labels(sample):
    return {name: value for name, value in sample.labels.items() if name != "le"}

"""The same associations as the official generator makes of all shared pools."""

import gzip
import json
from collections import Counter

from jwcal.associations.generate import Generator
from jwcal.associations.names import file_name
from jwcal.associations.pool import read_pool
from tests.associations.conftest import SHARED


def signs(entries):
    return Counter(
        (file, kind, rule, candidate, target, tuple((n, tuple(sorted(map(tuple, m)))) for n, m in products))
        for file, kind, rule, candidate, target, products in entries
    )


def official(data):
    for each in data["associations"]:
        products = [(product["name"], product["members"]) for product in each["products"]]
        yield each["file"], each["asn_type"], each["asn_rule"], each["asn_id"], each["target"], products


def ours(associations):
    for each in associations:
        products = [(name, [(m.file, m.role) for m in members]) for name, members in each.products]
        yield (
            file_name(each),
            each.type,
            f"{each.origin}_{each.rule.rule}",
            each.candidate,
            each.target,
            products,
        )


def test_all_shared_pools(expected, rules):
    """Type, rule, product names, members, roles, targets and even the running numbers."""
    files = sorted(expected.glob("*.json.gz"))
    assert len(files) >= 50
    different = []
    for path in files:
        data = json.loads(gzip.decompress(path.read_bytes()))
        found = Generator(read_pool(SHARED / data["path"]), rules).associations()
        if signs(official(data)) != signs(ours(found)):
            different.append(path.name)
    assert not different

"""Load, check and extend rules with the official package; one JSON object a line, in and out."""

import json
import os
import sys


def main():
    """Answer {"path", "insert", "file"}, {"path", "check"} or {"path", "context", "headers"}."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("CRDS_SERVER_URL", "https://jwst-crds.invalid")
    from crds.core import log, rmap

    log.set_verbose(0)
    log.THE_LOGGER.logger.setLevel(60)
    for line in sys.stdin:
        job = json.loads(line)
        os.environ["CRDS_PATH"] = job["path"]
        try:
            answer = _answer(job, rmap)
        except Exception as exc:  # noqa: BLE001 - any failure is a refusal
            answer = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answer), file=out, flush=True)


def _answer(job, rmap):
    if "insert" in job:
        found = rmap.fetch_mapping(job["insert"], ignore_checksum=False)
        return {"selector": found.insert_reference(job["file"]).selector.format()}
    if "check" in job:
        found = rmap.load_mapping(job["check"], ignore_checksum=False)
        found.validate()
        return {"names": found.mapping_names(), "references": found.reference_names()}
    context = rmap.load_mapping(job["context"], ignore_checksum=False)
    return {"answers": [context.get_best_references(header) for header in job["headers"]]}


if __name__ == "__main__":
    main()

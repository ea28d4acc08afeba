"""Answer best-reference questions with the official package; one JSON object a line, in and out."""

import json
import os
import sys


def main():
    """Read {"path", "context", "headers"}, write the list of answers or the error of loading."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.setdefault("CRDS_SERVER_URL", "https://jwst-crds.invalid")
    from crds.core import heavy_client, log, rmap, utils

    log.set_verbose(0)
    log.THE_LOGGER.logger.setLevel(60)
    for line in sys.stdin:
        job = json.loads(line)
        os.environ["CRDS_PATH"] = job["path"]
        try:
            context = rmap.load_mapping(job["context"])
            answers = [_answer(context, h, heavy_client, utils) for h in job["headers"]]
        except Exception as exc:  # noqa: BLE001 - any failure to load is a refusal
            answers = {"error": f"{type(exc).__name__}: {exc}"}
        print(json.dumps(answers, default=_object), file=out, flush=True)


def _answer(context, header, heavy_client, utils):
    try:
        header = utils.condition_header(heavy_client.check_parameters(header))
        return context.get_best_references(context.minimize_header(header))
    except Exception as exc:  # noqa: BLE001 - as above
        return {"error": f"{type(exc).__name__}: {exc}"}


def _object(value):
    return f"NOT FOUND object {type(value).__name__}"


if __name__ == "__main__":
    main()

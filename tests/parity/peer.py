"""Run the official detector pipeline, unmodified and without its server, on a list of cases.

    python peer.py JOBS.json

JOBS.json is a list of objects: uncal, pipeline (class, by default Detector1Pipeline), refs (type to path),
out (folder), set (step.parameter to value), save (names of steps whose output to keep, or "all").  Runs
in the environment of make_peer_env.  Every folder `out` receives the products and `done.json`, the status
of each step.
"""

import json
import logging
import os
import sys
import tempfile
from pathlib import Path

CONTEXT = "jwst_0000.pmap"


def without_server(cache):
    """Make the reference client believe a context it never has to look into."""
    config = Path(cache) / "config" / "jwst"
    config.mkdir(parents=True)
    known = {
        "observatory": "jwst",
        "operational_context": CONTEXT,
        "latest_context": CONTEXT,
        "bad_files_list": [],
        "force_remote_mode": False,
        "last_synced": "never",
    }
    (config / "server_config").write_text(repr(known))
    os.environ.update(
        CRDS_PATH=str(cache),
        CRDS_CONTEXT=CONTEXT,
        CRDS_SERVER_URL="https://127.0.0.1:9/serverless",
        CRDS_READONLY_CACHE="1",
        STPIPE_DISABLE_CRDS_STEPPARS="true",
    )


def calibrate(job):
    """Run a pipeline on one exposure."""
    from unittest import mock

    import jwst.pipeline
    from stpipe import Step

    out = Path(job["out"])
    out.mkdir(parents=True, exist_ok=True)
    pipe = getattr(jwst.pipeline, job.get("pipeline", "Detector1Pipeline"))()
    pipe.output_dir = str(out)
    pipe.save_results = True
    # Of the detector pipeline only one step reads a flat, and only if it is told to.
    flat = "pipeline" in job or any(key.startswith("clean_flicker_noise.") for key in job.get("set", {}))
    for name in pipe.step_defs:
        step = getattr(pipe, name)
        for kind in step.reference_file_types:
            # A type without an override, even of a step that is off, would ask the server.
            setattr(
                step, f"override_{kind}", job["refs"].get(kind, "N/A") if kind != "flat" or flat else "N/A"
            )
        keep = job.get("save", [])
        if name not in {"ramp_fit", "gain_scale"} and (keep == "all" or name in keep):
            step.save_results = True
            step.output_dir = str(out)
    for key, value in job.get("set", {}).items():
        step, parameter = key.split(".")
        setattr(getattr(pipe, step), parameter, value)
    asked = Step.get_ref_override

    def override(step, kind):
        # Steps that run steps of their own do not hand overrides on.
        found = asked(step, kind)
        return job["refs"].get(kind, "N/A") if found is None else found

    with mock.patch.object(Step, "get_ref_override", override):
        result = pipe.run(job["uncal"])
    status = {}
    if result is not None:
        status = {k: v for k, v in result.meta.cal_step.instance.items() if isinstance(v, str)}
        result.close()
    (out / "done.json").write_text(json.dumps(status))


def main(path):
    """Run all jobs; a failing one leaves its message in done.json and stops no other."""
    with tempfile.TemporaryDirectory() as cache:
        without_server(cache)
        logging.basicConfig(level=logging.ERROR)
        for name in ("jwst", "stpipe", "stcal", "stdatamodels", "CRDS", "py.warnings"):
            logging.getLogger(name).setLevel(logging.ERROR)
        for job in json.loads(Path(path).read_text()):
            try:
                calibrate(job)
            except Exception as error:  # noqa: BLE001 - told in done.json
                Path(job["out"], "done.json").write_text(json.dumps({"failed": repr(error)}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

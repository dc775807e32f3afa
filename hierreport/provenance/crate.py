"""ro-crate-metadata.json: the run as a Provenance Run Crate (0.5, on RO-Crate 1.1), which standard tools read.

Built from the manifest alone, so that a fixed manifest gives a fixed crate. Profiles: https://w3id.org/ro/wfrun.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flow import CRATE, DIGEST, MANIFEST, STEPS
from .hashing import write_json

if TYPE_CHECKING:
    from rocrate.rocrate import ROCrate

WORKFLOW = "workflow/Snakefile"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"
PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    WORKFLOW_CRATE: ("Workflow RO-Crate", "1.0"),
}
TERMS = "https://w3id.org/ro/terms/workflow-run/context"  # sha256 and others
COMPLETED = "http://schema.org/CompletedActionStatus"

Entity = dict[str, Any]


def write(folder: Path, manifest: dict[str, Any]) -> None:
    """Write the crate of an analysis.

    Args:
        folder: ``results/<analysis>``.
        manifest: its manifest.json.
    """
    write_json(folder / CRATE, metadata(manifest))


def metadata(manifest: dict[str, Any]) -> Entity:
    """The crate's JSON-LD: entities in the order of the manifest."""
    from rocrate.rocrate import ROCrate

    crate = ROCrate(version="1.1")
    crate.metadata.extra_contexts.append(TERMS)
    crate.metadata["conformsTo"] = [{"@id": "https://w3id.org/ro/crate/1.1"}, {"@id": WORKFLOW_CRATE}]
    _root(crate, manifest)
    _files(crate, manifest)
    _run(crate, manifest, _software(crate, manifest))
    generated: Entity = crate.metadata.generate()
    root, entities = crate.root_dataset.id, {e["@id"]: e for e in generated["@graph"]}
    entities[root]["hasPart"] = [{"@id": e} for e in entities if e in _parts(manifest)]
    return {"@context": generated["@context"], "@graph": [_plain(e) for e in entities.values()]}


def _plain(entity: Entity) -> Entity:
    """An entity with its keys sorted, identifier and type first."""
    first = {k: entity[k] for k in ("@id", "@type")}
    return first | {k: entity[k] for k in sorted(entity) if k not in first}


def _add(crate: ROCrate, name_of: str, kind: str, /, **properties: Any) -> Entity:
    """Add a contextual entity; returns a reference to it."""
    from rocrate.model.contextentity import ContextEntity

    crate.add(ContextEntity(crate, name_of, properties={"@type": kind, **properties}))
    return {"@id": name_of}


def _root(crate: ROCrate, manifest: dict[str, Any]) -> None:
    config, root = manifest["config"], crate.root_dataset
    root["name"] = config.get("title") or manifest["analysis"]
    root["description"] = config.get("description") or f"A ladder of mixed models: {config['formula']}"
    root["datePublished"] = manifest["created"]
    root["license"] = _add(
        crate,
        "#license",
        "CreativeWork",
        name="Not stated",
        description="No licence is stated for these results; the owner of the data decides.",
    )
    root["conformsTo"] = [
        _add(crate, profile, "CreativeWork", name=name, version=version)
        for profile, (name, version) in PROFILES.items()
    ]
    root["mentions"] = [{"@id": "#run"}]
    root["mainEntity"] = {"@id": WORKFLOW}


def data_id(source: dict[str, Any]) -> str:
    """The name of a data file that lies outside of the crate: by its digest (RFC 6920), else by its path."""
    if source["sha256"] is None:
        return f"#data-{source['path']}"
    digest = base64.urlsafe_b64encode(bytes.fromhex(source["sha256"])).decode().rstrip("=")
    return f"ni:///sha-256;{digest}"


def _parts(manifest: dict[str, Any]) -> set[str]:
    return {a["path"] for a in manifest["artifacts"]} | {MANIFEST, DIGEST} | {data_id(s) for s in manifest["data"]}


def _files(crate: ROCrate, manifest: dict[str, Any]) -> None:
    """Every artifact, the manifest (which holds times, and so has no digest here) and the data."""
    from rocrate.model.file import File

    for a in manifest["artifacts"]:
        if a["path"] == WORKFLOW:
            continue
        crate.add(File(crate, dest_path=a["path"], properties={"name": a["path"], **_bytes(a)}))
    about = {
        "name": MANIFEST,
        "encodingFormat": "application/json",
        "description": "digests, versions, times and costs",
    }
    crate.add(File(crate, dest_path=MANIFEST, properties=about))
    about = {"name": DIGEST, "encodingFormat": "text/plain", "description": "the manifest's SHA-256"}
    crate.add(File(crate, dest_path=DIGEST, properties=about))
    for source in manifest["data"]:
        known = {} if source["sha256"] is None else _bytes(source)
        _add(
            crate,
            data_id(source),
            "File",
            name=Path(source["path"]).name,
            alternateName=source["path"],
            exampleOfWork={"@id": "#parameter-panel"},
            **known,
        )


def _bytes(entry: dict[str, Any]) -> Entity:
    return {"contentSize": str(entry["size"]), "sha256": entry["sha256"], "encodingFormat": entry["media_type"]}


def _software(crate: ROCrate, manifest: dict[str, Any]) -> list[str]:
    """The workflow, its steps, the tools behind them and the engine; returns the stages that ran."""
    from rocrate.model.computationalworkflow import ComputationalWorkflow

    package, machine = manifest["package"], manifest["environment"]
    listed = next((a for a in manifest["artifacts"] if a["path"] == WORKFLOW), None)
    stages = [s["stage"] for s in manifest["stages"]]
    steps, tools = [], []
    for position, stage in enumerate(stages):
        tools.append(
            _add(
                crate,
                f"#tool-{stage}",
                "SoftwareApplication",
                name=f"hierreport stage {stage}",
                softwareVersion=package["version"],
                identifier=package["code"][stage],
                description="identified by a digest of the source that the stage runs",
            )
        )
        rule = next(s.rule for s in STEPS if s.stage == stage)
        steps.append(
            _add(crate, f"#step-{stage}", "HowToStep", name=rule, position=str(position), workExample=tools[-1])
        )
    versions = {"Python": machine["python"], **machine["dependencies"]}
    requirements = [
        _add(crate, f"#software-{name}", "SoftwareApplication", name=name, softwareVersion=version)
        for name, version in versions.items()
    ]
    git = package.get("git") or {}
    language = _add(
        crate,
        "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
        "ComputerLanguage",
        name="Snakemake",
        identifier={"@id": "https://doi.org/10.1093/bioinformatics/bts480"},
        url={"@id": "https://snakemake.github.io"},
    )
    properties = {
        "name": f"hierreport {package['version']}",
        "version": git.get("commit") or package["version"],
        "programmingLanguage": language,
        "step": steps,
        "hasPart": tools,
        "softwareRequirements": requirements,
        "input": [_parameter(crate, key) for key in ("panel", *_set(manifest["config"]))],
        "output": [_add(crate, "#parameter-report", "FormalParameter", name="report", additionalType="File")],
        **(_bytes(listed) if listed else {}),
    }
    workflow = ComputationalWorkflow(crate, dest_path=WORKFLOW, properties=properties)
    crate.add(workflow)
    _add(
        crate,
        "#snakemake",
        "SoftwareApplication",
        name="Snakemake",
        softwareVersion=machine["dependencies"].get("snakemake", "unknown"),
    )
    return stages


def _set(config: dict[str, Any]) -> list[str]:
    """Keys of the configuration that have a value; the panel is the data."""
    return [k for k, v in config.items() if v not in (None, "", [], {}) and k != "panel"]


def _parameter(crate: ROCrate, key: str) -> Entity:
    kind = "File" if key == "panel" else "Text"
    return _add(crate, f"#parameter-{key}", "FormalParameter", name=key, additionalType=kind, valueRequired="False")


def _run(crate: ROCrate, manifest: dict[str, Any], stages: list[str]) -> None:
    """The run as a whole, and each stage of it."""
    data = [{"@id": data_id(s)} for s in manifest["data"]]
    by_path = {s["path"]: data_id(s) for s in manifest["data"]}
    config = manifest["config"]
    values = [
        _add(
            crate,
            f"#config-{key}",
            "PropertyValue",
            name=key,
            value=config[key] if isinstance(config[key], str) else json.dumps(config[key], sort_keys=True),
            exampleOfWork={"@id": f"#parameter-{key}"},
        )
        for key in _set(config)
    ]
    entries = {s["stage"]: s for s in manifest["stages"]}
    begun = sorted(s["started"] for s in manifest["stages"] if s["started"])
    results = [{"@id": a["path"]} for a in manifest["artifacts"]]
    _add(
        crate,
        "#run",
        "CreateAction",
        name=f"hierreport on {manifest['analysis']}",
        instrument={"@id": WORKFLOW},
        object=[*data, *values],
        result=results,
        startTime=begun[0] if begun else manifest["created"],
        endTime=manifest["created"],
        actionStatus={"@id": COMPLETED},
    )
    controls = []
    for stage in stages:
        entry = entries[stage]
        action = _add(
            crate,
            f"#action-{stage}",
            "CreateAction",
            name=f"hierreport stage {stage}",
            instrument={"@id": f"#tool-{stage}"},
            object=[{"@id": by_path.get(name, name)} for name in entry["inputs"]],
            result=[{"@id": a["path"]} for a in manifest["artifacts"] if a["stage"] == stage],
            startTime=entry["started"] or manifest["created"],
            endTime=entry["ended"] or manifest["created"],
            actionStatus={"@id": COMPLETED},
        )
        controls.append(
            _add(
                crate,
                f"#control-{stage}",
                "ControlAction",
                name=f"orchestrate {stage}",
                instrument={"@id": f"#step-{stage}"},
                object=action,
            )
        )
    _add(
        crate,
        "#organize",
        "OrganizeAction",
        name="Snakemake's run",
        instrument={"@id": "#snakemake"},
        object=controls,
        result={"@id": "#run"},
        startTime=begun[0] if begun else manifest["created"],
        endTime=manifest["created"],
    )

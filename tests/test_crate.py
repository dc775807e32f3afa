"""The Workflow Run RO-Crate: what its profiles ask for, by reading the file and by rocrate's own reader."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from report_fixtures import write_artifacts

from hierreport.provenance import crate, flow, manifest
from hierreport.report import render

rocrate = pytest.importorskip("rocrate.rocrate")

OPTIONS = {
    "panel": "demo.csv",
    "formula": "y ~ x + (1 | sector/firm)",
    "title": "Wages",
    "description": "Who earns what",
}
RUN = "https://w3id.org/ro/wfrun"
WORKFLOW_CRATE = "https://w3id.org/workflowhub/workflow-ro-crate/1.0"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of an analysis with their manifest and crate, on 14 November 2023."""
    place = tmp_path_factory.mktemp("crate") / "results" / "demo"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SOURCE_DATE_EPOCH", "1700000000")
        place.mkdir(parents=True)
        patch.chdir(place.parent.parent)
        Path("demo.csv").write_text("y,x,sector,firm\n1,2,3,4\n")
        write_artifacts(place)
        render(place, {})
        manifest.write(place, OPTIONS)
    return place


@pytest.fixture(scope="module")
def graph(folder: Path) -> dict[str, dict[str, Any]]:
    content = json.loads((folder / "ro-crate-metadata.json").read_text(encoding="utf-8"))
    assert content["@context"][0] == "https://w3id.org/ro/crate/1.1/context"
    assert content["@context"][1] == "https://w3id.org/ro/terms/workflow-run/context"
    entities = content["@graph"]
    found = {e["@id"]: e for e in entities}
    assert len(found) == len(entities)
    return found


def ids(value: Any) -> list[str]:
    return [v["@id"] for v in (value if isinstance(value, list) else [value])]


def kinds(entity: dict[str, Any]) -> set[str]:
    kind = entity["@type"]
    return set(kind if isinstance(kind, list) else [kind])


def test_the_descriptor_and_the_root_name_their_profiles(graph: dict[str, dict[str, Any]]) -> None:
    descriptor, root = graph["ro-crate-metadata.json"], graph["./"]
    assert ids(descriptor["about"]) == ["./"]
    assert ids(descriptor["conformsTo"]) == ["https://w3id.org/ro/crate/1.1", WORKFLOW_CRATE]
    profiles = [f"{RUN}/process/0.5", f"{RUN}/workflow/0.5", f"{RUN}/provenance/0.5", WORKFLOW_CRATE]
    assert ids(root["conformsTo"]) == profiles
    for profile in profiles:
        assert kinds(graph[profile]) == {"CreativeWork"} and graph[profile]["name"] and graph[profile]["version"]
    assert root["name"] == "Wages" and root["description"] == "Who earns what"
    assert root["datePublished"] == "2023-11-14T22:13:20Z" and root["license"]


def test_every_reference_leads_to_an_entity(graph: dict[str, dict[str, Any]]) -> None:
    outside = ("https://w3id.org/ro/crate/", "http://schema.org/", "https://doi.org/", "https://snakemake.github.io")

    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [value["@id"]]
        return [r for v in value for r in references(v)] if isinstance(value, list) else []

    for entity in graph.values():
        for key, value in entity.items():
            for reference in references(value) if key != "@type" else ():
                assert reference in graph or reference.startswith(outside), (entity["@id"], key, reference)


def test_the_workflow_is_the_main_entity_and_lies_in_the_crate(graph: dict[str, dict[str, Any]], folder: Path) -> None:
    (main,) = ids(graph["./"]["mainEntity"])
    workflow = graph[main]
    assert kinds(workflow) == {"File", "SoftwareSourceCode", "ComputationalWorkflow"}
    assert (folder / main).read_text(encoding="utf-8").startswith("# From a raw panel")
    assert kinds(graph[ids(workflow["programmingLanguage"])[0]]) == {"ComputerLanguage"}
    steps, tools = ids(workflow["step"]), ids(workflow["hasPart"])
    assert len(steps) == len(tools) == len(flow.STEPS)
    for step, tool in zip(steps, tools, strict=True):
        assert kinds(graph[step]) == {"HowToStep"} and ids(graph[step]["workExample"]) == [tool]
        assert kinds(graph[tool]) == {"SoftwareApplication"}
    for key in ("input", "output"):
        assert workflow[key] and all(kinds(graph[i]) == {"FormalParameter"} for i in ids(workflow[key]))


def test_the_run_is_an_action_with_inputs_results_and_times(graph: dict[str, dict[str, Any]], folder: Path) -> None:
    run = graph["#run"]
    assert kinds(run) == {"CreateAction"} and ids(graph["./"]["mentions"]) == ["#run"]
    assert ids(run["instrument"]) == ids(graph["./"]["mainEntity"])
    assert run["startTime"] <= run["endTime"] == "2023-11-14T22:13:20Z"
    data = [graph[i] for i in ids(run["object"]) if "File" in kinds(graph[i])]
    content = (folder.parent.parent / "demo.csv").read_bytes()
    assert [(d["name"], d["sha256"], d["contentSize"], d["encodingFormat"]) for d in data] == [
        ("demo.csv", hashlib.sha256(content).hexdigest(), str(len(content)), "text/csv")
    ]
    settings = {graph[i]["name"]: graph[i]["value"] for i in ids(run["object"]) if "PropertyValue" in kinds(graph[i])}
    assert settings["formula"] == OPTIONS["formula"] and settings["seed"] == "1"
    assert set(ids(run["result"])) == set(flow.artifacts(folder))


def test_every_stage_is_an_action_under_control_of_its_step(graph: dict[str, dict[str, Any]], folder: Path) -> None:
    organized = graph["#organize"]
    assert kinds(organized) == {"OrganizeAction"} and ids(organized["result"]) == ["#run"]
    made: list[str] = []
    for control in ids(organized["object"]):
        assert kinds(graph[control]) == {"ControlAction"}
        (step,), (action,) = ids(graph[control]["instrument"]), ids(graph[control]["object"])
        assert kinds(graph[action]) == {"CreateAction"}
        assert ids(graph[action]["instrument"]) == ids(graph[step]["workExample"])
        made += ids(graph[action]["result"])
    assert sorted(made) == flow.artifacts(folder)


def test_every_artifact_is_a_file_with_its_digest(graph: dict[str, dict[str, Any]], folder: Path) -> None:
    names = flow.artifacts(folder)
    assert len(names) > 40
    assert {*names, "manifest.json", "manifest.json.sha256"} <= set(ids(graph["./"]["hasPart"]))
    for name in names:
        entity, content = graph[name], (folder / name).read_bytes()
        assert "File" in kinds(entity), name
        assert entity["sha256"] == hashlib.sha256(content).hexdigest(), name
        assert entity["contentSize"] == str(len(content)), name
        assert "/" in entity["encodingFormat"], name


def test_rocrate_reads_it_again(folder: Path) -> None:
    read = rocrate.ROCrate(folder)
    assert read.mainEntity.id == "workflow/Snakefile" and read.metadata.version == "1.1"
    assert {e.id for e in read.data_entities} >= set(flow.artifacts(folder))
    assert read.dereference("#run")["instrument"] == read.mainEntity


def test_a_fixed_date_gives_the_same_bytes(folder: Path) -> None:
    recorded = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    first = (folder / "ro-crate-metadata.json").read_bytes()
    for stage in recorded["stages"]:  # what a run took is the manifest's alone
        stage |= {"wall_seconds": 12.5, "cpu_seconds": 3.25, "peak_memory_bytes": 1}
    crate.write(folder, recorded)
    assert (folder / "ro-crate-metadata.json").read_bytes() == first
    assert set(re.findall(r"20\d\d-\d\d-\d\d", first.decode())) == {"2023-11-14"}

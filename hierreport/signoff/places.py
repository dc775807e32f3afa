"""The places of the model document that only a person can fill in."""

from __future__ import annotations

from dataclasses import dataclass

RESPONSES = "responses"  # the form's block of answers to checks, by the check's name


@dataclass(frozen=True)
class Place:
    """A place for a person's words.

    Attributes:
        key: its name in the form.
        section: the section of the document it stands in.
        label: what is asked for, in a few words.
        ask: the question in full.
        lasting: it does not depend on the results (a name, a number), so that new results leave it confirmed.
    """

    key: str
    section: str
    label: str
    ask: str
    lasting: bool = False


PLACES = (
    Place("model_id", "control", "Model identifier", "Its identifier in the model inventory.", lasting=True),
    Place("owner", "control", "Owner", "Who answers for the model and its use: name and function.", lasting=True),
    Place("developer", "control", "Developer", "Who built the model: name and function.", lasting=True),
    Place(
        "tier",
        "control",
        "Risk tier",
        "The model's tier or materiality under your own policy, and why: how much depends on it, how complex it is.",
    ),
    Place(
        "intended_use",
        "intended_use",
        "Intended use",
        "Which decisions the model informs, for which portfolio or business, and how its output enters them.",
    ),
    Place("users", "intended_use", "Users", "Who uses the output, and what they must know to use it.", lasting=True),
    Place("not_for", "intended_use", "Not to be used for", "Uses that were considered and ruled out, and why."),
    Place(
        "data_source",
        "data",
        "Origin of the data",
        "Where the data come from: system, extraction, owner, transformations before this program read them.",
    ),
    Place(
        "data_fitness",
        "data",
        "Fitness of the data",
        "Why these groups, periods and variables represent what the model is used for; known gaps, breaks and proxies.",
    ),
    Place(
        "rationale",
        "theory",
        "Rationale",
        "Why these predictors, with which expected sign, and why their effects may differ between groups.",
    ),
    Place(
        "other_alternatives",
        "alternatives",
        "Alternatives outside of this program",
        "Other models or simpler rules that were tried or could do the job, and why they were not chosen.",
    ),
    Place(
        "outcomes_analysis",
        "outcomes",
        "Comparison with outcomes",
        "How the model's output compared with what happened: back-tests, benchmarks, earlier versions.",
    ),
    Place(
        "restrictions",
        "limitations",
        "Restrictions of use",
        "What users may not do in view of the limitations above, and how that is enforced.",
    ),
    Place(
        "adjustments",
        "limitations",
        "Adjustments",
        "Overlays or expert judgement applied to the output: size, reason, who approved them, when they end.",
    ),
    Place(
        "monitoring_plan",
        "monitoring",
        "Monitoring plan",
        "How often the model is run again, who looks at the results, and what is compared.",
        lasting=True,
    ),
    Place(
        "triggers",
        "monitoring",
        "Triggers",
        "Which changes call for a review, a new validation or an end of use.",
        lasting=True,
    ),
    Place(
        "software",
        "approval",
        "Assessment of the software",
        "Your own assessment of hierreport as software from outside: what was tested, with which version.",
        lasting=True,
    ),
    Place(
        "validation",
        "approval",
        "Independent validation",
        "Who validated the model, independent of its developer: name, function, date, findings, conclusion.",
    ),
    Place("approval", "approval", "Approval", "Who approved the use: name, function, date, conditions."),
    Place("next_review", "approval", "Next review", "When the model is reviewed next."),
)


def response(name: str, title: str) -> Place:
    """The place for the answer to a check that found a problem."""
    ask = "Accepted, mended or restricted: what follows from it for the use, and who decided."
    return Place(f"{RESPONSES}.{name}", "assumptions", f"Response to “{title}”", ask)

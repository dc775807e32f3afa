"""Where the topics of supervisory guidance on model risk are answered.

Topics, not paragraphs: the texts themselves are the reader's to check. SR 26-2's parts are those that OCC Bulletin
2026-13, its twin, lists among its highlights; SS1/23's principles are those of its publication page.
"""

from __future__ import annotations

from dataclasses import dataclass

ABOUT = (
    "This page says where the topics of two texts on model risk are answered in this document. It is an aid for "
    "readers, not a statement that the model, this document or its owner complies with either.",
    "SR 26-2, Revised Guidance on Model Risk Management, was issued on 17 April 2026 by the Federal Reserve, with the "
    "OCC (Bulletin 2026-13) and the FDIC; it replaced SR 11-7 of 2011 and SR 21-8 of 2021. By its "
    "own words it sets no enforceable standards, and is expected to be most relevant to banks with more than $30 "
    "billion of total assets.",
    "SS1/23, Model risk management principles for banks, was published by the Prudential Regulation Authority on 17 "
    "May 2023 and took effect on 17 May 2024. It sets out five principles.",
    "Which part a topic belongs to is this program's reading. Paragraph numbers are left out on purpose: look them up "
    "in the versions that are in force for you, and check whether either text has been amended since.",
)

DEVELOPMENT = "Model development and model use"
VALIDATION = "Model validation and monitoring"
GOVERNANCE = "Governance and controls"
VENDORS = "Vendor and other third-party products"
P1 = "Principle 1, model identification and model risk classification"
P2 = "Principle 2, governance"
P3 = "Principle 3, model development, implementation and use"
P4 = "Principle 4, independent model validation"
P5 = "Principle 5, model risk mitigants"


@dataclass(frozen=True)
class Topic:
    """A topic, the part of each text that it belongs to, the sections that answer it, and who answers."""

    name: str
    us: str
    uk: str
    sections: tuple[str, ...]
    answered: str


BOTH, PERSON = "this run and a person", "a person"
TOPICS = (
    Topic("Inventory, tier and materiality", GOVERNANCE, P1, ("control",), PERSON),
    Topic("Purpose and intended use", DEVELOPMENT, P3, ("intended_use",), PERSON),
    Topic("Data: origin, quality, fitness", DEVELOPMENT, P3, ("data",), BOTH),
    Topic("Theory and method", DEVELOPMENT, P3, ("theory",), BOTH),
    Topic("Alternatives", DEVELOPMENT, P3, ("alternatives",), BOTH),
    Topic("Testing of assumptions", DEVELOPMENT, P3, ("assumptions",), BOTH),
    Topic("Outcomes and sensitivity", VALIDATION, P4, ("outcomes",), BOTH),
    Topic("Limitations, restrictions, adjustments", DEVELOPMENT, P5, ("limitations",), BOTH),
    Topic("Ongoing monitoring", VALIDATION, P4, ("monitoring",), BOTH),
    Topic("Changes and documentation", GOVERNANCE, P3, ("changes",), "this run"),
    Topic("Independent validation", VALIDATION, P4, ("approval",), PERSON),
    Topic("Roles and approval", GOVERNANCE, P2, ("control", "approval"), PERSON),
    Topic("Software from outside", VENDORS, P2, ("approval",), BOTH),
)

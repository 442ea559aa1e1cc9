"""Questions to the user: asked once, answered where they are asked."""

from mcli.stage import Step, send

from .case import PIPES, TERMINAL, Case, python
from .conftest import Twins

CTRL_C, CTRL_D = b"\x03", b"\x04"


def app(*args: str) -> list[str | bytes]:
    return python("prompts.py", *args)


def answers(**said: str) -> list[Step]:
    """Wait for each question, then type the answer and the return key."""
    return [
        Step(question.replace("_", " ").encode() + rb"[^\n]*: $", send(f"{answer}\n".encode()))
        for question, answer in said.items()
    ]


CASES = [
    Case(id="prompt", argv=app("ask"), steps=answers(Name="Zoë", Number="41", Kind="small")),
    Case(
        id="prompt-again",
        argv=app("ask"),
        steps=[
            *answers(Name="Ann", Number="many"),
            Step(rb"Error: [^\n]*\n[^\n]*: $", send(b"3\n")),
            *answers(Kind=""),
        ],
    ),
    Case(id="prompt-stdin", argv=app("ask"), stdin=b"Ann\n1\nbig\n", stages=(PIPES,)),
    Case(id="prompt-stdin-ends", argv=app("ask"), stdin=b"Ann\n", stages=(PIPES,)),
    Case(
        id="prompt-ctrl-c",
        argv=app("interrupted"),
        steps=[*answers(Name="Ann"), Step(rb"\[reading\]", send(CTRL_C))],
        stages=(TERMINAL,),
        ending="exit 1",
    ),
    Case(
        id="prompt-ctrl-d",
        argv=app("ask"),
        steps=[Step(rb"Name: $", send(CTRL_D))],
        stages=(TERMINAL,),
        ending="exit 1",
    ),
    Case(
        id="prompt-edited",
        argv=app("ask"),
        steps=[
            Step(rb"Name: $", send(b"Bob\x7f\x7f\x7fAnn\n")),
            *answers(Number="1", Kind="big"),
        ],
        stages=(TERMINAL,),
    ),
    Case(
        id="confirm",
        argv=app("confirm"),
        steps=[
            Step(rb"Go on\? [^\n]*: $", send(b"y\n")),
            Step(rb"Sure\? [^\n]*: $", send(b"\n")),
            Step(rb"Stop\? [^\n]*: $", send(b"n\n")),
        ],
        ending="exit 1",
    ),
    Case(id="hidden", argv=app("hidden"), steps=answers(Secret="tell nobody")),
    Case(id="getpass", argv=app("get-pass"), steps=answers(Password="tell nobody")),
    Case(
        id="input",
        argv=app("plain-input"),
        steps=[Step(rb"Who\? $", send(b"me\n")), Step(rb"More\? $", send(CTRL_D))],
        stages=(TERMINAL,),
    ),
    Case(id="input-stdin", argv=app("plain-input"), stdin=b"me\n", stages=(PIPES,)),
    Case(id="option-prompt", argv=app("options"), steps=answers(Your_name="Ann", Age="")),
    Case(id="option-prompt-given", argv=app("options", "--name", "Ann"), steps=answers(Age="7")),
    Case(
        id="option-prompt-ctrl-c",
        argv=app("option-interrupted"),
        steps=[Step(rb"\[reading\]", send(CTRL_C))],
        stages=(TERMINAL,),
        jobs=0,
        ending="exit 1",
    ),
    Case(
        id="option-prompt-of-a-group",
        argv=app("parent", "both"),
        steps=answers(User="me", Colour="red"),
    ),
    Case(
        id="option-prompt-of-a-group-stdin",
        argv=app("parent", "both"),
        stdin=b"me\nred\n",
        stages=(PIPES,),
    ),
    Case(
        id="password-option",
        argv=app("password"),
        steps=answers(Password="abc", Repeat_for_confirmation="abc"),
    ),
    Case(
        id="confirmation-option",
        argv=app("confirmed"),
        steps=[Step(rb"Really\? [^\n]*: $", send(b"y\n"))],
        ending="exit 0",
    ),
    Case(
        id="option-then-body",
        argv=app("option-then-body"),
        steps=[*answers(Your_name="Ann", Colour="red"), Step(rb"it is\r\n", send(b"more\n\x04"))],
        stages=(TERMINAL,),
    ),
    Case(
        id="option-then-body-stdin",
        argv=app("option-then-body"),
        stdin=b"Ann\nred\nthe rest\nof it",
        stages=(PIPES,),
    ),
    Case(
        id="one-key",
        argv=app("key"),
        steps=[Step(rb"press\r\n", send(b"\x1b[A")), Step(rb"> $", send(b"text\n"))],
        stages=(TERMINAL,),
    ),
    Case(id="editor", argv=app("edit"), env={"EDITOR": "sed -i s/some/other/"}),
    Case(id="pager", argv=app("pager"), env={"PAGER": "cat"}),
]


def test_prompts(twins: Twins, case: Case, stage: str) -> None:
    """Each question is asked once, and what is typed is echoed, or not, as it would be here."""
    twins.check(case, stage)

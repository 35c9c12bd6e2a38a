"""Definitions of programs that are refused, each in one sentence, before anything runs."""

import json

import pytest

from mixhead.executor import ExecutorError
from mixhead.executor.program import read_program
from tests.executor.programs import definition, spec


def program(code: list, **other: object) -> bytes:
    return definition(inputs=[spec(2)], code=code, **other)


ADD = ["Add", [0, 0], {}, [spec(2)]]


@pytest.mark.parametrize(
    ("text", "code", "at", "why"),
    [
        (b"", "program", -1, "not JSON"),
        (b"\xff{}", "program", -1, "not JSON"),
        (b"[" * 100_000, "program", -1, "not JSON"),
        (b'{"version":NaN}', "program", -1, "NaN is not allowed"),
        (b"[]", "program", -1, "not an object of version, inputs"),
        (b'{"version":1}', "program", -1, "not an object of version, inputs"),
        (program([], more=1), "program", -1, "not an object of version, inputs"),
        (program([], version=2), "program", -1, "for version 2 of the kernels, this executor has 1"),
        (program([["Eval", [0], {}, [spec(2)]]]), "kernel", 0, 'has no kernel "Eval"'),
        (program([ADD, ["__import__", [0], {}, [spec(2)]]]), "kernel", 1, 'no kernel "__import__"'),
        (
            program([["Add", [0, 1], {}, [spec(2)]]]),
            "program",
            0,
            "Add: there is no slot 1; so far there are 1",
        ),
        (program([["Add", [0, -1], {}, [spec(2)]]]), "program", 0, "no slot -1"),
        (program([["Add", [0, True], {}, [spec(2)]]]), "program", 0, "no slot True"),
        (program([["Add", [0], {}, [spec(2)]]]), "program", 0, "Add takes 2 tensors, not 1"),
        (program([["Add", [0, 0, 0], {}, [spec(2)]]]), "program", 0, "Add takes 2 tensors, not 3"),
        (program([["Add", [0, 0], {"axis": 0}, [spec(2)]]]), "program", 0, "no attribute axis"),
        (program([["Add", [0, 0], [], [spec(2)]]]), "program", 0, "attributes that are no object"),
        (program([["Add", [0, 0], {}]]), "program", 0, "is not .kernel"),
        (program([["Add", [0, 0], {}, [["float64", [2]]]]]), "program", 0, "is not .dtype, shape"),
        (program([["Add", [0, 0], {}, [["float32", [-2]]]]]), "program", 0, "no shape"),
        (program([["Add", [0, 0], {}, [["float32", [1] * 9]]]]), "program", 0, "no shape of at most 8 sizes"),
        (program([["Add", [0, 0], {}, [["float32", [2**60]]]]]), "program", 0, "no device holds"),
        (program([["Reshape", [0], {}, [spec(2)]]]), "program", 0, "lacks the attribute shape"),
        (program([["Reshape", [0], {"shape": "2"}, [spec(2)]]]), "program", 0, "shape is '2', not list"),
        (program([["Reshape", [0], {"shape": [1.5]}, [spec(2)]]]), "program", 0, r"\[1.5\], not list"),
        (program([["Reshape", [0], {"shape": [2**80]}, [spec(2)]]]), "program", 0, "not list"),
        (program([["Reshape", [0], {"shape": [[2]]}, [spec(2)]]]), "program", 0, "not list"),
        (program([["Reshape", [0], {"shape": {"a": 1}}, [spec(2)]]]), "program", 0, "not list"),
        (program([], outputs=[1]), "program", -1, "its outputs: there is no slot 1"),
        (program([], literals=[spec(65)]), "program", -1, "literal of 65 numbers; 64 are allowed"),
        (definition(inputs="x"), "program", -1, "'x' is not a list"),
    ],
)
def test_a_wrong_definition_is_refused_with_the_reason(text: bytes, code: str, at: int, why: str) -> None:
    with pytest.raises(ExecutorError, match=why) as caught:
        read_program(text)
    assert (caught.value.code, caught.value.at) == (code, at)
    assert "\n" not in caught.value.message


def test_slots_are_numbered_inputs_literals_outputs() -> None:
    text = definition(
        inputs=[spec(2)],
        literals=[spec()],
        code=[["Add", [0, 1], {}, [spec(2)]], ["Multiply", [2, 0], {}, [spec(2)]]],
        outputs=[3],
    )
    first, second = read_program(text).code
    assert (first.inputs, first.first, second.inputs, second.first) == ((0, 1), 2, (2, 0), 3)
    assert json.loads(text)["outputs"] == [3]

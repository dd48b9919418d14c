"""Normal forms: what is the same answer in another notation, and what is none."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swarm.tasks.rewards.expressions import derivative, expression
from swarm.tasks.rewards.extracted import readings
from swarm.tasks.rewards.notations import bag, decimal, fraction, grid, integer, items, sentence
from swarm.tasks.rewards.propositions import conclusion, formula, some_conclusion
from swarm.tasks.rewards.roundings import half_up, to_digits, to_places
from swarm.tasks.rewards.singles import assignments, complex_number, duration, factors, hexadecimal, without_unit


@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_in_their_notations(number: int) -> None:
    for text in (
        str(number),
        f"{number:,}",
        f"{number:,}".replace(",", "{,}"),
        f"{number}.0",
        str(number).replace("-", "\N{MINUS SIGN}"),
    ):
        assert integer(text) == str(number)
        assert decimal(text) == number
    for text in (f"0{number}", f"{number}.", f"{number} ", f"x{number}", f"--{number}", f"{number}/1", ""):
        assert integer(text) != str(number) or text.strip() == str(number)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.50", "1/2"),
        (".5", "1/2"),
        ("1.59e-06", "159/100000000"),
        ("1.59 \\times 10^{-6}", "159/100000000"),
        ("1.59×10**-6", "159/100000000"),
        ("-1,234.5", "-2469/2"),
        ("00.5", None),
        ("1,23.4", None),
        ("-0.0", None),
        ("1e9999", None),
        ("nan", None),
        ("1/2", None),
        ("٣", None),
    ],
)
def test_decimals(text: str, value: str | None) -> None:
    assert decimal(text) == (None if value is None else Fraction(value))


def test_other_forms() -> None:
    assert fraction("\\dfrac{1}{2}") == fraction("1/2") == (1, 2) != fraction("2/4")
    assert fraction("-\\frac{3}{4}") == fraction("-3/4")
    assert fraction("01/2") is None
    assert items(integer)("[1, 2, 3]") == items(integer)("1 2 3") == items(integer)("1 → 2 → 3") == ("1", "2", "3")
    assert items(decimal)("['8.30', '-1']") == (Fraction(83, 10), -1)
    assert items(integer)("1 2 three") is None
    assert grid(integer)("[[1, 2], [3, 4]]") == grid(integer)("1 2\n3 4 \n") == (("1", "2"), ("3", "4"))
    assert bag(items(sentence))("b, a") == bag(items(sentence))("a, b")
    assert complex_number("3.0 - 2.0i") == complex_number("3-2j") == (3, -2)
    assert complex_number("-i") == (0, -1)
    assert complex_number("3") == (3, 0)
    assert complex_number("3 + 2") is None
    assert hexadecimal("0xAF") == "0xaf"
    assert hexadecimal("0x0af") is None
    assert duration("1 day, 02:03") == duration("1 days, 02:03") != duration("1 days, 2:03")
    assert factors("2^3 × 5") == factors("5 * 2*2*2") != factors("2 × 5")
    assert assignments("Ann is a fool, and Bob is a sage.") == assignments("Bob is a sage and Ann is a fool")
    assert assignments("Ann is a fool, Ann is a sage") is None


@pytest.mark.parametrize(
    ("text", "question", "number"),
    [
        ("9 apples", "How many apples are left?", "9"),
        ("9 red apples", "How many red apples are left?", "9"),
        ("1 apple", "How many apples are left?", "1"),
        ("90°", "What is the angle in degrees?", "90"),
        ("90 degrees", "Angles: 80°. The last one?", "90"),
        ("$9", "He pays $3. How many dollars are left?", "9"),
        ("9 pears", "How many apples are left?", "9 pears"),
        ("9 are left", "How many apples are left?", "9 are left"),
        ("9%", "How many apples are left?", "9%"),
        ("9%", "50% of 18 balls are red. How many red balls are there?", "9%"),
        ("9%", "He pays 9 of 100. What percentage is that?", "9"),
        ("$9", "An apple is $1. How many apples does he get?", "$9"),
        ("$9", "An apple is $1. How much are 9 of them?", "9"),
    ],
)
def test_a_unit_is_what_the_question_counts(text: str, question: str, number: str) -> None:
    assert without_unit(text, question) == number


def test_decoration_is_taken_off_as_a_whole_only() -> None:
    assert list(readings("**$\\boxed{9}$**.")) == ["**$\\boxed{9}$**.", "**$\\boxed{9}$**", "$\\boxed{9}$", "\\boxed{9}", "9"]
    for text in ('"9"', "'9'", "“9”", "*9*", "__9__", "\\textbf{9}", "\\mbox{9}", "$\\displaystyle 9$"):
        assert list(readings(text))[-1] == "9"
    for text in ('"9" "8"', "*9* *8*", "$9$ or $8$", "9 = 9", "**9** 8", "\\boxed{9} \\boxed{8}", "`9` `8`"):
        assert "9" not in list(readings(text))


def test_roundings() -> None:
    assert to_places(Fraction(1, 3), 2) == {Fraction(33, 100)}
    assert to_places(Fraction(1, 8), 2) == {Fraction(12, 100), Fraction(13, 100)}, "both, at a tie"
    assert to_digits(Fraction(-123456), 3) == {-123000}
    assert to_digits(Fraction(0), 3) == {0}
    assert f"{half_up(Fraction(-125, 1000), 2):f}" == "-0.13"


def test_arithmetic_is_exact_and_nothing_else() -> None:
    found = expression("(1/3 + 1/6) * 4 - -2")
    assert found is not None
    assert (found.number, found.numbers) == (4, ("1", "3", "1", "6", "4", "2"))
    for text in ("x", "1//2", "1 if 1 else 2", "01", "1_0", "0x1", "1/0", "2**65", "f(1)", ""):
        assert expression(text) is None
    polynomial = expression("x**3/3 + C - 2*x", "x")
    assert polynomial is not None
    assert derivative(polynomial.value) == expression("x^2 - 2", "x").value  # type: ignore[union-attr]
    assert expression("9**9**9", "x") is None
    assert expression("(((9**64)**64)**64)**64") is None


@pytest.mark.parametrize(
    ("text", "follows"),
    [
        ("R", True),
        ("(P ∧ R)", True),
        ("P and R", True),
        ("\\neg R \\lor P", True),
        ("P ∨ ¬P", False),  # a tautology
        ("P", False),  # a premise
        ("Q → R", False),
        ("¬Q ∨ R", False),  # the same premise in other words
        ("¬¬R", False),
        ("¬" * 100 + "R", False),
        ("(P ∧ Q) ∧ R", False),  # too long
        ("¬R", False),
        ("S", False),
        ("R R", False),
        ("R, by modus ponens", False),
        ("", False),
    ],
)
def test_conclusions(text: str, follows: bool) -> None:
    assert conclusion(text, ["P", "(Q → R)", "Q"], ["P", "Q", "R"]) is follows


def test_formulas_bind_as_usual_and_contradictions_have_no_conclusion() -> None:
    names = ["P", "Q", "R"]
    one, other = formula("¬P ∧ Q ∨ R → P ↔ Q", names), formula("((((¬P ∧ Q) ∨ R) → P) ↔ Q)", names)
    assert one is not None
    assert one == other
    assert formula("P → Q → R", names) is None, "written with brackets only"
    assert formula("(" * 99 + "P" + ")" * 99, names) is None
    assert some_conclusion(["P", "¬P"], names) is None
    assert some_conclusion(["(P ∧ Q)"], names) == "P"

"""Problems of simulation: a number that changes by rules, and a machine that reads letters.

A level is a number of rules.
"""

from __future__ import annotations

from random import Random

from swarm.tasks.code.drafts import Draft, draw, phrase

RULES = (1, 2, 3, 5)  # of each level, beside the "otherwise" rule
LETTERS = (2, 3, 4, 6)

# x is never negative, and never large for long: its remainder is taken after every step.
CONDITIONS = (
    phrase("x is even", "x % 2 == 0"),
    phrase("x is odd", "x % 2 == 1"),
    phrase("{k} divides x", "x % {k} == 0", k=range(3, 8)),
    phrase("x is greater than {k}", "x > {k}", k=range(20, 400, 20)),
    phrase("the last digit of x is greater than {k}", "x % 10 > {k}", k=range(2, 8)),
    phrase("the sum of the digits of x is odd", "sum(map(int, str(x))) % 2 == 1"),
    phrase("x has more than two digits", "x > 99"),
)
CHANGES = (
    phrase("replace x by x // {k}", "x // {k}", k=range(2, 6)),
    phrase("replace x by {a} * x + {b}", "{a} * x + {b}", a=range(2, 10), b=range(1, 30)),
    phrase("add {k} to x", "x + {k}", k=range(3, 100)),
    phrase("replace x by its square", "x * x"),
    phrase("replace x by the distance between x and {k}, a number that is not negative", "abs(x - {k})", k=range(50, 500)),
    phrase("reverse the decimal digits of x (zeros in front vanish)", "int(str(x)[::-1])"),
    phrase("add to x the sum of its decimal digits", "x + sum(map(int, str(x)))"),
    phrase("replace x by the sum of the squares of its decimal digits", "sum(int(d) ** 2 for d in str(x))"),
)
OUTCOMES = (
    phrase("Return x.", "values[-1]"),
    phrase("Return the largest value that x had, the first and the last included.", "max(values)"),
    phrase("Return the sum of all values that x had, the first and the last included.", "sum(values)"),
    phrase("Return the list of all values that x had, the first and the last included.", "values"),
    phrase("Return the list of the even values that x had, in order, the first and the last included.",
        "[value for value in values if value % 2 == 0]"),
)  # fmt: skip
BEGINNINGS = (
    phrase("Begin with x = n and do {k} times:", "n|range({k})", k=range(3, 13)),
    phrase("Begin with x = {k} and do n times:", "{k}|range(n)", k=range(1, 200)),
)

ACTIONS = (
    phrase("add {k} to the counter", "counter += {k}", k=range(1, 20)),
    phrase("subtract {k} from the counter", "counter -= {k}", k=range(1, 20)),
    phrase("replace the counter by {a} times itself, modulo {m} (as Python's %)", "counter = {a} * counter % {m}",
        a=range(2, 6), m=range(50, 150)),
    phrase("change the sign of the counter", "counter = -counter"),
    phrase("put {k} on top of the stack", "stack.append({k})", k=range(2, 30)),
    phrase("put the counter on top of the stack", "stack.append(counter)"),
    phrase("put the counter on top of the stack and set the counter to {k}", "stack.append(counter); counter = {k}", k=range(10)),
    phrase("take the top off the stack and add it to the counter (nothing happens if the stack is empty)",
        "counter += stack.pop() if stack else 0"),
    phrase("take the top off the stack and make it the counter (nothing happens if the stack is empty)",
        "counter = stack.pop() if stack else counter"),
    phrase("add the height of the stack to the counter", "counter += len(stack)"),
    phrase("turn the stack upside down", "stack.reverse()"),
)  # fmt: skip
READINGS = (
    phrase("Return the counter.", "counter"),
    phrase("Return the counter plus the sum of the numbers on the stack.", "counter + sum(stack)"),
    phrase("Return the list of the numbers on the stack, from the bottom to the top, with the counter as its last element.",
        "[*stack, counter]"),
    phrase("Return the list of the counter and the height of the stack.", "[counter, len(stack)]"),
)  # fmt: skip


def numbers(random: Random, level: int) -> Draft:
    """Draw a problem of a number x that changes by rules, several times."""
    begin_words, begin = draw(BEGINNINGS, random)
    first, times = begin.split("|")
    modulus = random.randint(300, 2000)
    outcome_words, outcome = draw(OUTCOMES, random)
    words: list[str] = []
    lines: list[str] = []
    for condition in random.sample(CONDITIONS, RULES[level]):
        (when, test), (then, change) = condition.filled(random), draw(CHANGES, random)
        words.append(f"- {'otherwise, ' if words else ''}if {when}, {then};")
        lines += [f"        {'elif' if lines else 'if'} {test}:", f"            x = {change}"]
    then, change = draw(CHANGES, random)
    words += [f"- otherwise {then};", f"- after that, in any case, replace x by x % {modulus}."]
    lines += ["        else:", f"            x = {change}"]
    question = "Write a function solve(n), where n is a whole number from 0 to 40.\n"
    question += "\n".join([begin_words, *words, outcome_words])
    head = ["def solve(n):", f"    x = {first}", "    values = [x]", f"    for _ in {times}:"]
    tail = [f"        x = x % {modulus}", "        values.append(x)", f"    return {outcome}", ""]
    return Draft(question, "\n".join(head + lines + tail), _whole_number)


def machines(random: Random, level: int) -> Draft:
    """Draw a problem of a machine with a counter and a stack that reads letters."""
    letters = random.sample("ABCDEFGHJKLMNPRSTUVWXYZ", LETTERS[level])
    first = random.randint(0, 20)
    words: list[str] = []
    lines: list[str] = []
    for letter, action in zip(letters, random.sample(ACTIONS, len(letters)), strict=True):
        does, code = action.filled(random)
        words.append(f"- {letter}: {does};")
        lines += [f'        {"elif" if lines else "if"} letter == "{letter}":', f"            {code}"]
    reading_words, reading = draw(READINGS, random)
    question = (
        f"Write a function solve(commands), where commands is a text of the letters {', '.join(letters)}. A machine has a "
        f"counter, which is {first} at first, and a stack of numbers, which is empty. It reads the letters from left to right:\n"
    )
    question += "\n".join([*words, reading_words])
    head = ["def solve(commands):", f"    counter, stack = {first}, []", "    for letter in commands:"]

    def commands(random: Random) -> str:
        return "".join(random.choice(letters) for _ in range(random.randint(0, 12)))

    return Draft(question, "\n".join([*head, *lines, f"    return {reading}", ""]), commands)


def _whole_number(random: Random) -> int:
    return random.randint(0, 40)

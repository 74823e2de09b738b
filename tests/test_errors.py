import moola.errors
from moola.api.window_classifier import NotFitted
from moola.errors import InvalidData, MoolaError, Problem

EXIT_CODES = {
    "MoolaError": 1,
    "OperationFailed": 1,
    "DeviceUnavailable": 1,
    "LabelConflict": 1,
    "TrainingDiverged": 1,
    "WrongUsage": 2,
    "InvalidData": 3,
    "NotPromoted": 4,
    "UntrustedFile": 5,
    "Interrupted": 130,
}


def family(error=MoolaError):
    return {error, *(member for child in error.__subclasses__() for member in family(child))}


def test_every_error_of_the_package_stands_on_the_one_page():
    # That of a classifier without a fit is scikit-learn's as well, which errors.py does not import.
    members = {member for member in family() if member.__module__.startswith("moola")} - {NotFitted}
    assert {member.__module__ for member in members} == {"moola.errors"}
    assert {member.__name__ for member in members} == set(moola.errors.__all__) - {"Problem"}


def test_the_list_of_names_is_sorted_and_exact():
    public = [name for name, value in vars(moola.errors).items() if getattr(value, "__module__", "") == "moola.errors"]
    assert sorted(moola.errors.__all__) == moola.errors.__all__
    assert sorted(public) == moola.errors.__all__


def test_exit_codes_are_those_of_the_contract():
    assert {name: getattr(moola.errors, name).exit_code for name in EXIT_CODES} == EXIT_CODES
    assert set(EXIT_CODES) == set(moola.errors.__all__) - {"Problem"}


def test_a_problem_reads_as_rule_count_row_and_detail():
    assert str(Problem("high must be a number", 1, 4)) == "high must be a number, but 1 does not, first at row 4"
    assert str(Problem("bars must be there", 3, None, "found 2")) == "bars must be there, but 3 do not: found 2"


def test_a_refused_file_lists_every_rule_and_one_next_step():
    problems = [Problem("a must hold", 2, 0), Problem("b must hold", 1, 5)]
    error = InvalidData.from_problems("bars.csv", problems, "Fix the file.")
    assert str(error).splitlines() == [
        "bars.csv breaks 2 rules:",
        "  - a must hold, but 2 do not, first at row 0",
        "  - b must hold, but 1 does not, first at row 5",
        "Fix the file.",
    ]
    assert error.problems == tuple(problems)
    assert str(InvalidData.from_problems("x", problems[:1], "")).startswith("x breaks 1 rule:")


def test_an_error_with_a_plain_message_has_no_problems():
    assert InvalidData("rows must be there").problems == ()

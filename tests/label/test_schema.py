"""Requests made from the page's own OpenAPI schema: whatever comes, an answer that the schema allows, never a 5xx."""

from __future__ import annotations

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.label.page_states import PORT, SHOWN, application, made_page_state

HOST = {"Host": f"127.0.0.1:{PORT}"}
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance, status_code_conformance]
BOUNDED = settings(max_examples=3, phases=[Phase.generate], suppress_health_check=list(HealthCheck))


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_any_request_is_answered_as_the_schema_says(tmp_path, mode):
    asked = []
    page_state = made_page_state(tmp_path)
    SHOWN.now = page_state
    for found in schemathesis.openapi.from_asgi("/openapi.json", application(), headers=HOST).get_all_operations():
        operation = found.ok()
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.query or operation.path_parameters):
            continue

        @BOUNDED
        @given(operation.as_strategy(generation_mode=mode), st.booleans())
        def ask(case, known):
            if known and "window_id" in case.path_parameters:
                # Nobody guesses the id of a window, and what lies behind it is to be reached too.
                case.path_parameters["window_id"] = page_state.window_list.window_id[0]
            case.call_and_validate(headers=HOST, checks=CHECKS)

        ask()
        asked.append(operation.label)
    page_state.store.close()
    assert {"PUT /api/label/{window_id}", "POST /api/undo/{window_id}", "GET /api/next"} <= set(asked)

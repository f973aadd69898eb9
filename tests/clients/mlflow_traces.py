"""Tracing, assessments and evaluation datasets with MLflow's client."""

import contextlib
import os
import sys
import time

import mlflow
from mlflow import MlflowClient
from mlflow.entities import AssessmentSource, Feedback, SpanType
from mlflow.exceptions import MlflowException


def refused(call, *texts):
    try:
        call()
    except MlflowException as error:
        told = f"{error.error_code}: {error}"
    else:
        raise AssertionError(f"{texts} was not raised")
    assert all(text in told for text in texts), told


@mlflow.trace(span_type=SpanType.RETRIEVER)
def find(question):
    return [{"page_content": "at nine", "metadata": {"n": 1.5, "yes": True, "none": None}}]


@mlflow.trace
def answer(question, fail=False):
    find(question)
    with mlflow.start_span("chat", span_type=SpanType.CHAT_MODEL) as span:
        span.set_inputs({"messages": [{"role": "user", "content": question}]})
        span.set_attribute("mlflow.chat.tokenUsage", {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12})
        span.add_event(mlflow.entities.SpanEvent("token", attributes={"n": 3}))
        if fail:
            raise ValueError("no flight")
        span.set_outputs("At nine. ✈")
    mlflow.update_current_trace(tags={"env": "prod"}, metadata={"mlflow.trace.session": "s-1"})
    return "At nine. ✈"


def tracing(client: MlflowClient) -> str:
    with mlflow.start_run() as run:
        answer("when?")
    with contextlib.suppress(ValueError):
        answer("never?", fail=True)
    mlflow.flush_trace_async_logging()
    good, bad = sorted(mlflow.search_traces(return_type="list", locations=["0"]), key=lambda one: one.info.request_time)
    assert (good.info.state, bad.info.state) == ("OK", "ERROR")
    assert [one.name for one in good.data.spans] == ["answer", "find", "chat"], good.data.spans
    root, found, chat = good.data.spans
    assert root.inputs["question"] == "when?" and root.outputs == "At nine. ✈" and root.parent_id is None
    assert found.outputs == find.__wrapped__("x") and found.span_type == "RETRIEVER" and found.parent_id == root.span_id
    assert chat.events[0].name == "token" and chat.get_attribute("mlflow.chat.tokenUsage")["input_tokens"] == 10
    assert any(one.name == "exception" for one in bad.data.spans[0].events)
    assert good.info.token_usage["total_tokens"] == 12 and good.info.tags["env"] == "prod"
    assert good.info.trace_metadata["mlflow.sourceRun"] == run.info.run_id
    assert good.info.request_preview and good.info.execution_duration >= 0
    assert mlflow.get_trace(good.info.trace_id).data.spans[0].outputs == "At nine. ✈"
    assert [one.info.trace_id for one in mlflow.search_traces(run_id=run.info.run_id, return_type="list")] == [
        good.info.trace_id
    ]
    refused(lambda: client.get_trace("tr-" + "0" * 32), "RESOURCE_DOES_NOT_EXIST", "not found")
    client.set_trace_tag(good.info.trace_id, "team", "a")
    client.delete_trace_tag(good.info.trace_id, "env")
    tags = client.get_trace(good.info.trace_id).info.tags
    assert tags["team"] == "a" and "env" not in tags
    refused(lambda: client.delete_trace_tag(good.info.trace_id, "env"), "No trace tag with key 'env'")
    return good.info.trace_id


def search(client: MlflowClient, good: str) -> None:
    def ids(text, **more):
        return [one.info.trace_id == good for one in client.search_traces(locations=["0"], filter_string=text, **more)]

    assert ids("status = 'OK'") == [True] and ids("attributes.status = 'ERROR'") == [False]
    assert ids("trace.name = 'answer'", order_by=["timestamp_ms ASC"]) == [True, False]
    assert ids("tags.team = 'a'") == [True] and ids("tags.team IS NULL") == [False]
    assert ids("request_metadata.`mlflow.trace.session` = 's-1'") == [True]
    assert ids("span.name = 'find' AND span.type = 'RETRIEVER'", order_by=["timestamp DESC"]) == [False, True]
    assert ids("span.name = 'find' AND span.type = 'TOOL'") == [] and ids("span.status = 'ERROR'") == [False]
    assert ids("trace.text LIKE '%At nine%' AND status = 'OK'") == [True]
    assert ids("span.attributes.mlflow.spanOutputs LIKE '%✈%' AND span.name = 'chat'") == [True]
    assert ids(f"trace.timestamp_ms > {int(time.time() * 1_000) + 10_000}") == []
    assert len(ids("trace.execution_time_ms >= 0")) == 2
    assert ids("state = 'ok' or tags.team is null", order_by=["timestamp ASC"]) == [True, False]
    page = client.search_traces(locations=["0"], max_results=1)
    rest = client.search_traces(locations=["0"], max_results=1, page_token=page.token)
    assert len({one.info.trace_id for one in [*page, *rest]}) == 2
    for wrong in ("status > 5", "foo.bar = 'x'", "span.nothing = 'x'", "name = 'x"):
        refused(
            lambda wrong=wrong: client.search_traces(locations=["0"], filter_string=wrong), "INVALID_PARAMETER_VALUE"
        )


def assessments(client: MlflowClient, trace: str) -> None:
    person = AssessmentSource("HUMAN", "ana")
    first = mlflow.log_feedback(trace_id=trace, name="good", value=True, rationale="yes", source=person)
    mlflow.log_expectation(trace_id=trace, name="answer", value={"time": "nine"}, source=person)
    mlflow.log_assessment(trace, Feedback(name="score", value=0.75, metadata={"a": "b"}))
    failed = mlflow.log_feedback(trace_id=trace, name="broken", error=ValueError("no judge"))
    assert mlflow.get_assessment(trace, failed.assessment_id).error.error_message == "no judge"
    found = {one.name: one for one in mlflow.get_trace(trace).info.assessments}
    assert found["good"].value is True and found["good"].source.source_id == "ana" and found["good"].rationale == "yes"
    assert found["answer"].value == {"time": "nine"} and found["score"].value == 0.75
    assert found["score"].metadata["a"] == "b" and found["score"].source.source_type == "CODE"
    again = mlflow.override_feedback(trace_id=trace, assessment_id=first.assessment_id, value=False, source=person)
    assert not mlflow.get_assessment(trace, first.assessment_id).valid
    changed = mlflow.update_assessment(trace, again.assessment_id, Feedback(name="good", value="maybe", rationale="hm"))
    assert (changed.value, changed.rationale, changed.source.source_id) == ("maybe", "hm", "ana")
    assert len(client.search_traces(locations=["0"], filter_string="feedback.good = 'maybe'")) == 1
    assert len(client.search_traces(locations=["0"], filter_string="feedback.score >= 0.5")) == 1
    mlflow.delete_assessment(trace, again.assessment_id)
    assert mlflow.get_assessment(trace, first.assessment_id).valid
    refused(lambda: mlflow.get_assessment(trace, "a-none"), "Assessment with ID 'a-none' not found for trace")


def links(client: MlflowClient, trace: str) -> None:
    run = client.create_run("0").info.run_id
    client.link_traces_to_run([trace], run)
    assert [one.info.trace_id for one in client.search_traces(locations=["0"], filter_string=f"run_id = '{run}'")] == [
        trace
    ]
    prompt = mlflow.genai.register_prompt(name="asked", template="Say {{word}}.")
    client.link_prompt_versions_to_trace([prompt], trace)
    found = client.search_traces(locations=["0"], filter_string='prompt = "asked/1"')
    assert [one.info.trace_id for one in found] == [trace]


def datasets(trace: str) -> None:
    from mlflow.genai import datasets

    made = datasets.create_dataset(name="questions", experiment_id="0", tags={"team": "a"})
    made.merge_records(
        [
            {"inputs": {"q": "when?"}, "expectations": {"time": "nine"}},
            {"inputs": {"q": "where?"}, "tags": {"hard": "yes"}},
        ]
    )
    made.merge_records([{"inputs": {"q": "when?"}, "expectations": {"gate": "B"}}])
    made.merge_records([mlflow.get_trace(trace)])
    found = datasets.get_dataset(name="questions")
    assert found.dataset_id == made.dataset_id and found.experiment_ids == ["0"] and found.tags["team"] == "a"
    table = found.to_df()
    rows = {one["inputs"].get("q", "trace"): one for one in table.to_dict("records")}
    assert rows["when?"]["expectations"] == {"time": "nine", "gate": "B"} and rows["where?"]["tags"]["hard"] == "yes"
    assert len(table) == 3 and rows["trace"]["source_type"] == "TRACE" and rows["trace"]["source_id"] == trace
    datasets.set_dataset_tags(dataset_id=made.dataset_id, tags={"state": "ready"})
    datasets.delete_dataset_tag(dataset_id=made.dataset_id, key="team")
    tags = datasets.get_dataset(dataset_id=made.dataset_id).tags
    assert tags["state"] == "ready" and "team" not in tags
    assert [one.name for one in datasets.search_datasets(filter_string="tags.state = 'ready'")] == ["questions"]
    assert datasets.search_datasets(filter_string="name = 'other'") == []
    other = mlflow.create_experiment("more")
    datasets.add_dataset_to_experiments(dataset_id=made.dataset_id, experiment_ids=[other])
    assert datasets.get_dataset(dataset_id=made.dataset_id).experiment_ids == ["0", other]
    datasets.remove_dataset_from_experiments(dataset_id=made.dataset_id, experiment_ids=["0"])
    assert [one.name for one in datasets.search_datasets(experiment_ids=[other])] == ["questions"]
    assert found.delete_records([table["dataset_record_id"][0]]) == 1
    datasets.delete_dataset(dataset_id=made.dataset_id)
    refused(lambda: datasets.get_dataset(dataset_id=made.dataset_id), "RESOURCE_DOES_NOT_EXIST", "not found")


def evaluating() -> None:
    from mlflow.genai import datasets, scorer

    @scorer
    def exact(outputs, expectations):
        return outputs == expectations["answer"]

    experiment = mlflow.set_experiment("judging")
    made = datasets.create_dataset(name="asked", experiment_id=experiment.experiment_id)
    made.merge_records(
        [
            {"inputs": {"question": "when?"}, "expectations": {"answer": "At nine. ✈"}},
            {"inputs": {"question": "where?"}, "expectations": {"answer": "At B."}},
        ]
    )
    done = mlflow.genai.evaluate(data=made, predict_fn=answer, scorers=[exact])
    assert done.metrics == {"exact/mean": 0.5}, done.metrics
    found = mlflow.search_traces(run_id=done.run_id, return_type="list")
    assert sorted(it.value for one in found for it in one.info.assessments if it.name == "exact") == [False, True]
    mlflow.set_experiment(experiment_id="0")


def deleting(client: MlflowClient, trace: str) -> None:
    assert client.delete_traces("0", trace_ids=[trace]) == 1
    refused(lambda: client.get_trace(trace), "not found")
    assert client.delete_traces("0", max_timestamp_millis=int(time.time() * 1_000) + 10_000) == 1
    assert client.search_traces(locations=["0"]) == []


if __name__ == "__main__":
    os.environ["MLFLOW_ENABLE_ASYNC_TRACE_LOGGING"] = "true"
    mlflow.set_tracking_uri(sys.argv[1])
    mlflow.set_experiment(experiment_id="0")
    client = MlflowClient()
    trace = tracing(client)
    search(client, trace)
    assessments(client, trace)
    links(client, trace)
    datasets(trace)
    evaluating()
    deleting(client, trace)
    print("done")

"""Reads an ExportTraceServiceRequest by the schema that OpenTelemetry publishes (PyPI:
opentelemetry-proto) and compares its spans with the history in the JSON export.

usage: otlp_request.py REQUEST HISTORY.json requests|tasks|awaits|polls
"""

import collections
import json
import sys

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from visible import visible


def attributes(owner):
    made = {}
    for attribute in owner.attributes:
        assert attribute.key and attribute.key not in made, attribute
        made[attribute.key] = getattr(attribute.value, attribute.value.WhichOneof("value"))
    return made


def main():
    request = ExportTraceServiceRequest()
    with open(sys.argv[1], "rb") as file:
        request.ParseFromString(file.read())
    level = sys.argv[3]
    with open(sys.argv[2]) as file:
        history = json.load(file)
    units, awaits, polls = (history[name] for name in ("units", "awaits", "polls"))
    unix = lambda time: time - history["clock"]["monotonic_ns"] + history["clock"]["unix_ns"]
    end = history["end_ns"]

    spans = []
    for resource in request.resource_spans:
        of = attributes(resource.resource)
        assert of["process.pid"] == history["process"]["pid"]
        assert of["process.executable.path"] == visible(history["process"]["exe"])
        assert of["service.name"]
        for scope in resource.scope_spans:
            assert scope.scope.name == "asynctrace"
            spans.extend(scope.spans)
    by_id = {span.span_id: span for span in spans}
    assert len(by_id) == len(spans), "span ids are unique"
    for span in spans:
        assert len(span.trace_id) == 16 and any(span.trace_id)
        assert len(span.span_id) == 8 and any(span.span_id)
        assert span.kind == Span.SPAN_KIND_INTERNAL
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        if span.parent_span_id:
            assert by_id[span.parent_span_id].trace_id == span.trace_id
        for link in span.links:
            assert by_id[link.span_id].trace_id == link.trace_id, "links lead to spans"
            assert attributes(link)["asynctrace.link"] in ("woken_by", "spawned_by", "aborted_by", "part_of")

    own = {}
    for index, unit in enumerate(units):
        mine = [i for i, a in enumerate(awaits) if a["task"] == index and a["parent"] is None
                and not a["former_parents"] and history["awaited"][a["awaited"]]["by"] is None]
        own[index] = mine[0] if mine else None

    # Requests that are inside another one, in their own task or in one that it spawned, are none.
    requests = {request["root"]: request["id"] for request in history["requests"]}
    def above(index):
        instance = awaits[index]
        if instance["parent"] is not None:
            return instance["parent"]
        mine = own[instance["task"]]
        if mine is not None and mine != index:
            return mine
        spawned = units[instance["task"]]["spawned"]
        return spawned["by"]["within"] if spawned else None
    def request_of(index):
        found = None
        while index is not None:
            if index in requests:
                found = index
            index = above(index)
        return found
    requests = {index: number for index, number in requests.items() if request_of(index) == index}

    expected = collections.Counter()
    for index, unit in enumerate(units):
        if unit["kind"] == "task" and (level != "requests" or own[index] in requests):
            until = unit["end"]["time_ns"] if unit["end"] else end
            name = unit["future"] or ("(blocking work)" if unit["blocking"] else "(future not known)")
            expected["task", visible(name), unix(unit["first_ns"]), unix(until)] += 1
    name_of = lambda a: visible(history["awaited"][a["awaited"]]["future"])
    key_of = lambda a: (name_of(a), unix(a["start_ns"]), unix(end if a["end_ns"] is None else a["end_ns"]))
    shown = collections.defaultdict(list)
    for index, instance in enumerate(awaits):
        if own[instance["task"]] != index and (level in ("awaits", "polls") or index in requests):
            expected[("await",) + key_of(instance)] += 1
            shown[key_of(instance)].append(index)
    if level == "polls":
        for poll in polls:
            begin, until = poll["begin_ns"], poll["end_ns"]
            begin = until if begin is None else begin
            until = end if until is None else until
            expected["poll", "poll", unix(begin), unix(until)] += 1
    key = lambda span: (span.name, span.start_time_unix_nano, span.end_time_unix_nano)
    found = collections.Counter((attributes(span)["asynctrace.kind"],) + key(span) for span in spans)
    assert found == expected, f"missing {expected - found}, too many {found - expected}"

    roots = [span for span in spans if not span.parent_span_id]
    assert len(roots) == len({span.trace_id for span in spans})
    numbered = collections.Counter(attributes(span).get("asynctrace.request") for span in spans)
    assert {n for n in numbered if n is not None} == set(requests.values()), numbered
    for span in spans:
        of = attributes(span)
        if "asynctrace.request" in of:
            assert not span.parent_span_id, "a request is the root of its trace"
        if of["asynctrace.kind"] != "await":
            assert of["asynctrace.kind"] == "poll" or span.parent_span_id or level == "requests" or \
                "asynctrace.request" in of or of["asynctrace.task"], span
            continue
        candidates = shown[key(span)]
        found = []
        for index in candidates:
            instance = awaits[index]
            awaited = history["awaited"][instance["awaited"]]
            if index in requests:
                parent = None
            elif instance["parent"] is None or own[instance["task"]] == instance["parent"]:
                parent = visible(units[instance["task"]]["future"] or "(future not known)")
            else:
                parent = name_of(awaits[instance["parent"]])
            found.append((parent, instance["waiting_ns"], instance["end_ns"] is None,
                          awaited["file"], awaited["line"], awaited["by"] and visible(awaited["by"])))
        parent = by_id[span.parent_span_id].name if span.parent_span_id else None
        this = (parent, of["asynctrace.waiting_ns"], "asynctrace.open" in of, of.get("code.file.path"),
                of.get("code.line.number"), of.get("code.function.name"))
        assert this in found, (this, found)

    # What was done for a request is in its trace, across tasks; all else by task.
    sizes = collections.Counter(span.trace_id for span in spans if attributes(span)["asynctrace.kind"] != "poll")
    expected_sizes = collections.Counter()
    for index, unit in enumerate(units):
        if unit["kind"] != "task":
            continue
        within = own[index]
        if within is None and unit["spawned"]:
            within = unit["spawned"]["by"]["within"]
        request = request_of(within) if within is not None else None
        if level != "requests" or (own[index] in requests and request == own[index]):
            expected_sizes["task", index if request is None else ("request", request)] += 1
    for index, instance in enumerate(awaits):
        if own[instance["task"]] == index:
            continue
        request = request_of(index)
        if level in ("awaits", "polls") or index in requests:
            expected_sizes["task", instance["task"] if request is None else ("request", request)] += 1
    assert sorted(sizes.values()) == sorted(expected_sizes.values()), (sizes, expected_sizes)

    # Each wake-up that caused a poll is a link, or an event when no task did it; each spawn by a
    # task is a link.
    woken = [history["wakes"][p["wake"]] for p in polls if p["wake"] is not None]
    by_task = [w for w in woken if units[w["by"]["unit"]]["kind"] == "task"]
    kinds = collections.Counter(attributes(link)["asynctrace.link"] for span in spans for link in span.links)
    spawns = [u for u in units if u["kind"] == "task" and u["spawned"]
              and units[u["spawned"]["by"]["unit"]]["kind"] == "task"]
    if level in ("awaits", "polls"):
        dropped = sum(span.dropped_links_count for span in spans)
        assert kinds["woken_by"] + dropped == len(by_task), (kinds, dropped, len(by_task))
        dropped = sum(span.dropped_events_count for span in spans)
        assert sum(len(span.events) for span in spans) + dropped == len(woken) - len(by_task)
    if level != "requests":
        assert kinds["spawned_by"] == len(spawns)
    panicked = [u for u in units if u["kind"] == "task" and u["end"] and u["end"]["outcome"] == "panicked"]
    failed = [span for span in spans if attributes(span)["asynctrace.kind"] == "task" and span.status.code == Status.STATUS_CODE_ERROR]
    assert level == "requests" or len(failed) == len(panicked)
    print(f"ok {len(spans)} spans, {len(roots)} traces, {sum(kinds.values())} links")


main()

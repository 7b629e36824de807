"""Reads a Perfetto trace by the schema that Perfetto publishes (PyPI: perfetto), draws its slices
as trace_processor does, and compares them with the history in the JSON export.

usage: perfetto_trace.py TRACE HISTORY.json requests|tasks|awaits|polls
"""

import collections
import json
import sys

from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import BuiltinClock, Trace, TracePacket
from perfetto.protos.perfetto.trace.perfetto_trace_pb2 import TrackDescriptor, TrackEvent

from visible import visible


Event = collections.namedtuple("Event", "time order kind track name category notes flows_from flows_to")
Slice = collections.namedtuple("Slice", "track name category begin end notes enclosing")


def read(path):
    trace = Trace()
    with open(path, "rb") as file:
        trace.ParseFromString(file.read())
    packets = list(trace.packet)
    first = packets[0]
    assert first.sequence_flags & TracePacket.SEQ_INCREMENTAL_STATE_CLEARED
    assert first.trace_packet_defaults.timestamp_clock_id == BuiltinClock.BUILTIN_CLOCK_MONOTONIC
    snapshot = first.clock_snapshot
    assert snapshot.primary_trace_clock == BuiltinClock.BUILTIN_CLOCK_MONOTONIC
    clocks = {clock.clock_id: clock.timestamp for clock in snapshot.clocks}
    interned = collections.defaultdict(dict)
    tracks = {}
    events = []
    for order, packet in enumerate(packets):
        assert packet.trusted_packet_sequence_id == 1
        if order:
            assert packet.sequence_flags & TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        data = packet.interned_data
        for table, text in (
            ("event_names", "name"), ("event_categories", "name"),
            ("debug_annotation_names", "name"), ("debug_annotation_string_values", "str"),
        ):
            for entry in getattr(data, table):
                assert entry.iid and entry.iid not in interned[table], (table, entry)
                value = getattr(entry, text)
                interned[table][entry.iid] = value.decode() if isinstance(value, bytes) else value
        if packet.HasField("track_descriptor"):
            track = packet.track_descriptor
            assert track.uuid and track.uuid not in tracks
            if track.parent_uuid:
                assert track.parent_uuid in tracks, "a parent is described before its children"
            if not (track.HasField("process") or track.HasField("thread")):
                none = TrackDescriptor.SIBLING_MERGE_BEHAVIOR_NONE
                assert track.sibling_merge_behavior == none and track.name
            tracks[track.uuid] = track
        if packet.HasField("track_event"):
            event = packet.track_event
            assert packet.HasField("timestamp") and event.track_uuid in tracks
            notes = {}
            for note in event.debug_annotations:
                name = interned["debug_annotation_names"][note.name_iid]
                kind = note.WhichOneof("value") or "string_value_iid"
                if kind == "string_value_iid":
                    value = interned["debug_annotation_string_values"][note.string_value_iid]
                else:
                    value = getattr(note, kind)
                assert name not in notes
                notes[name] = value
            named = event.type != TrackEvent.TYPE_SLICE_END
            events.append(Event(
                packet.timestamp, order, event.type, event.track_uuid,
                interned["event_names"][event.name_iid] if named else None,
                interned["event_categories"][event.category_iids[0]] if named else None,
                notes, list(event.flow_ids), list(event.terminating_flow_ids),
            ))
    return clocks, tracks, events


def draw(events):
    """Slices of each track, as trace_processor stacks them: in order of time, and of the file."""
    stacks = collections.defaultdict(list)
    slices, instants, flows = [], [], collections.defaultdict(lambda: [None, None])
    for event in sorted(events, key=lambda event: (event.time, event.order)):
        stack = stacks[event.track]
        if event.kind == TrackEvent.TYPE_SLICE_BEGIN:
            stack.append(event)
        elif event.kind == TrackEvent.TYPE_SLICE_END:
            assert stack, f"an end without a begin at {event.time}"
            begin = stack.pop()
            outer = stack[-1] if stack else None
            slices.append(Slice(event.track, begin.name, begin.category, begin.time, event.time,
                                begin.notes, outer and (outer.name, outer.time)))
        else:
            inside = stack[-1] if stack else None
            instants.append((event, inside))
        for flow in event.flows_from:
            assert flows[flow] == [None, None], f"flow {flow} forks"
            flows[flow][0] = event
        for flow in event.flows_to:
            assert flows[flow][0] is not None and flows[flow][1] is None, f"flow {flow} ends twice, or first"
            flows[flow][1] = event
    assert not any(stacks.values()), "slices that never end"
    return slices, instants, flows


def main():
    clocks, tracks, events = read(sys.argv[1])
    level = sys.argv[3]
    with open(sys.argv[2]) as file:
        history = json.load(file)
    units, awaits, polls, wakes = (history[name] for name in ("units", "awaits", "polls", "wakes"))
    end = history["end_ns"]
    assert clocks == {3: history["clock"]["monotonic_ns"], 1: history["clock"]["unix_ns"]}
    slices, instants, flows = draw(events)
    found = collections.Counter((s.category, s.name, s.begin, s.end) for s in slices)

    # Every slice that there should be, and no other.
    expected = collections.Counter()
    own = {}
    for index, unit in enumerate(units):
        if unit["kind"] == "task":
            until = unit["end"]["time_ns"] if unit["end"] else end
            if level != "requests":
                name = unit["future"] or ("(blocking work)" if unit["blocking"] else "(future not known)")
                expected["task", visible(name), unit["first_ns"], until] += 1
            mine = [i for i, a in enumerate(awaits) if a["task"] == index and a["parent"] is None
                    and not a["former_parents"] and history["awaited"][a["awaited"]]["by"] is None]
            own[index] = mine[0] if mine else None
    name_of = lambda a: visible(history["awaited"][a["awaited"]]["future"])
    until_of = lambda a: end if a["end_ns"] is None else a["end_ns"]
    for request in history["requests"]:
        until = end if request["end_ns"] is None else request["end_ns"]
        expected["request", visible(request["what"]), request["start_ns"], until] += 1
    assert all(s.enclosing is None for s in slices if s.category == "request")
    if level in ("awaits", "polls"):
        for index, instance in enumerate(awaits):
            if own[instance["task"]] != index:
                expected["await", name_of(instance), instance["start_ns"], until_of(instance)] += 1
    # Of a poll whose end is not known, either it goes on or it is a moment, like one whose begin is
    # not known.
    moments = collections.Counter((e.name, e.time) for e, _ in instants if e.category == "poll")
    if level == "polls":
        for poll in polls:
            name = visible(units[poll["task"]]["future"] or "(future not known)")
            begin, until = poll["begin_ns"], poll["end_ns"]
            if begin is None:
                assert moments[name, until] > 0, poll
                moments[name, until] -= 1
            elif until is None and moments[name, begin] > 0:
                moments[name, begin] -= 1
            else:
                expected["poll", name, begin, end if until is None else until] += 1
    assert not +moments, moments
    assert found == expected, f"missing {expected - found}, too many {found - expected}"

    # What an await stands in, on its track or on the one above, is its parent.
    by_slice = collections.defaultdict(list)
    for index, instance in enumerate(awaits):
        by_slice[name_of(instance), instance["start_ns"], until_of(instance)].append(index)
    on_track = collections.defaultdict(set)
    for s in slices:
        on_track[s.track].add((s.name, s.begin))
    def shown(index):
        instance = awaits[index]
        if own[instance["task"]] == index:
            unit = units[instance["task"]]
            return visible(unit["future"] or "(future not known)"), unit["first_ns"]
        return name_of(instance), instance["start_ns"]
    beside = 0
    for s in slices:
        if s.category != "await":
            continue
        parents = [awaits[index]["parent"] for index in by_slice[s.name, s.begin, s.end]]
        wanted = [shown(parent) for parent in parents if parent is not None]
        if s.enclosing is None:
            beside += 1
            above = tracks[s.track].parent_uuid
            assert not wanted or any(parent in on_track[above] for parent in wanted), s
        else:
            assert s.enclosing in wanted, (s, wanted)
        instance = awaits[by_slice[s.name, s.begin, s.end][0]]
        awaited = history["awaited"][instance["awaited"]]
        if awaited["file"]:
            assert s.notes["at"] == f"{awaited['file']}:{awaited['line']}", s
        assert s.notes["waiting ns"] in [awaits[i]["waiting_ns"] for i in by_slice[s.name, s.begin, s.end]]
        assert ("open" in s.notes) == (instance["end_ns"] is None), s
    if level == "polls":
        effective = {p["wake"] for p in polls if p["wake"] is not None}
        spawned = {p["task"] for p in polls if p["cause"] == "spawn"}
        assert len(flows) == len(effective) + len(spawned), (len(flows), len(effective), len(spawned))
        for flow, (begin, until) in flows.items():
            assert begin is not None and until is not None, f"flow {flow} has one end"
            assert begin.time <= until.time and until.category == "poll"
            assert begin.category in ("wake", "spawn")
        assert collections.Counter(e.time for e, _ in instants if e.category == "wake") == \
            collections.Counter(w["time_ns"] for w in wakes)
        wakes_at = collections.defaultdict(list)
        for wake in wakes:
            wakes_at[wake["time_ns"]].append(wake)
        for event, inside in instants:
            if event.category != "wake" or len(wakes_at[event.time]) != 1:
                continue
            by = wakes_at[event.time][0]["by"]["poll"]
            if by is not None and polls[by]["begin_ns"] is not None and polls[by]["end_ns"] is not None:
                assert inside and inside.time == polls[by]["begin_ns"], "a wake-up stands in the poll that did it"
        threads = {t.thread.tid for t in tracks.values() if t.HasField("thread")}
        assert threads <= {u["tid"] for u in units if u["kind"] == "thread"}, threads
        polling = {units[p["thread"]]["tid"] for p in polls if p["thread"] is not None}
        assert polling <= threads, (polling, threads)
    losses = [e for e, _ in instants if e.category == "loss"]
    gaps = sum(len(unit["gaps_ns"]) for unit in units) if level != "requests" else 0
    assert len(losses) == len(history["losses"]) + gaps
    tasks = [t for t in tracks.values() if t.HasField("process")]
    assert len(tasks) == 1 and tasks[0].process.pid == history["process"]["pid"]
    print(f"ok {len(slices)} slices, {len(instants)} moments, {len(flows)} flows, {beside} beside")


main()

#!/usr/bin/env python3
"""Prints what a recording says, a JSON object for each task and one for the whole file.

usage: read_recording.py FILE [asynctrace.proto]
Written from docs/recording-format.md. Needs protoc and Python's protobuf (on Debian
protobuf-compiler and python3-protobuf); nothing of asynctrace but the schema.
"""
import collections, json, pathlib, subprocess, sys, tempfile, zlib

def compile_schema(path):
    with tempfile.TemporaryDirectory() as out:
        subprocess.run(["protoc", f"-I{path.parent}", f"--python_out={out}", path], check=True)
        sys.path.insert(0, out)
        return __import__(f"{path.stem}_pb2")

def packets(data, pb):
    """Every whole packet, and then how the file ends."""
    at, complete = 8, False
    if data[:8] != b"\x89ATRC\r\n\x1a":
        sys.exit("not a recording")
    while at < len(data):
        length = int.from_bytes(data[at:at + 4], "little")
        payload = data[at + 8:at + 8 + length]
        if len(payload) < length or at + 8 > len(data):
            return (yield "cut off")
        if zlib.crc32(data[at:at + 4] + payload) != int.from_bytes(data[at + 4:at + 8], "little"):
            return (yield "damaged")
        packet = pb.Packet.FromString(payload)
        complete = packet.WhichOneof("content") == "end"
        yield packet
        at += 8 + length
    yield "complete" if complete else "open"

ARGUMENTS = {"SPAWNED": 1, "POLL_BEGIN": 1, "WAKE_BY_VALUE": 2, "WAKE_BY_REFERENCE": 2, "GAP": 1,
             "WAKER_CLONED": 1, "WAKER_DROPPED": 1, "FINISHED": 1, "FUTURE_POLL": 3, "ABORTED": 1}

def events(packet, pb, suspensions):
    """Each event as (unit, sequence number, time, kind, arguments, cause)."""
    arguments, causes, marks = iter(packet.arguments), iter(packet.causes), iter(packet.marks)
    following, time, address, last = list(packet.sequences), packet.time, 0, {}
    calls = iter(packet.syscalls)
    signed = lambda number: number >> 1 ^ -(number & 1)
    for byte, owner, step in zip(packet.kinds, packet.owners, packet.times):
        time += step
        sequence, following[owner] = following[owner], following[owner] + 1
        added = byte & 31 >= 24
        kind = "added" if added else pb.Kind.Name(byte & 31)
        count = next(arguments) if added else ARGUMENTS.get(kind, 0)
        taken = [next(arguments) for _ in range(count)]
        if kind == "POLL_END":
            taken.append(next(arguments))
            taken += [next(arguments)] if taken[0] & 32 else []
        elif kind == "AWAIT_CHANGED":
            packed = next(arguments)
            suspension = suspensions[(packed >> 2) - 1]
            told, places = last.get((owner, packed >> 2), ([0] * 16, []))
            changed = next(arguments) if packed & 1 else 0
            told = [next(marks) if changed >> n & 1 else mark for n, mark in enumerate(told)]
            if packed & 2:
                places = []
                for _ in range(list(suspension.places).count(0)):
                    address += signed(next(arguments))
                    places.append(address)
            last[owner, packed >> 2] = told, places
            taken = [suspension, told, places]
        elif kind in ("BLOCKED", "PREEMPTED"):
            taken = [next(calls) - 1] if packet.syscalls else []
        cause = None
        if byte & 64:
            cause = packet.units[owner], sequence - next(causes)
        elif byte & 128:
            unit = next(causes)
            cause = packet.units[unit], packet.sequences[unit] + signed(next(causes))
        yield packet.units[owner], sequence, time, kind, taken, cause

def main(file, schema=pathlib.Path(__file__).parent / "../tracer-user/proto/asynctrace.proto"):
    pb = compile_schema(pathlib.Path(schema))
    strings, states, suspensions = [], [], []
    totals, tasks = collections.Counter(), {}
    name = lambda id: strings[id - 1] if id else None
    for packet in packets(pathlib.Path(file).read_bytes(), pb):
        if isinstance(packet, str):
            break
        if packet.HasField("segment"):
            strings, states, suspensions = [], [], []
        strings += packet.strings
        states += packet.states
        suspensions += packet.suspensions
        totals["lost"] += sum(loss.count for loss in packet.losses.lost)
        totals["dropped"] += packet.losses.dropped
        descriptions = iter(packet.events.descriptions)
        for unit, _, time, kind, taken, cause in events(packet.events, pb, suspensions):
            totals["events"] += 1
            totals[kind] += 1
            totals["causes"] += cause is not None
            if kind == "DESCRIBED" and (what := next(descriptions)).HasField("task"):
                task = tasks.setdefault(unit, {"polls": 0, "awaits": collections.Counter()})
                task.update(task=what.task.task_id, future=name(what.task.future))
            elif kind == "POLL_BEGIN" and unit in tasks:
                tasks[unit]["polls"] += 1
            elif kind == "AWAIT_CHANGED" and unit in tasks:
                stack = [states[id - 1] for id in taken[0].states]
                place = [f" at {name(it.file)}:{it.line}" for it in stack if it.line][-1:]
                leaf = name(stack[-1].future) if stack else name(taken[0].missing)
                tasks[unit]["awaits"]["".join([leaf, *place])] += 1
    for unit, task in tasks.items():
        print(json.dumps({"unit": unit, **task}))
    print(json.dumps({"ending": packet, "tasks": len(tasks), **totals}))

main(*sys.argv[1:])

#!/usr/bin/python3
"""Make and unmake the causes for which a password reset fails, in a DC's own database and configuration (root, on the
DC's machine, in its world: `lab/break` and `lab/mend` see to that).

breaks/ says for every cause of keyback what is done, to whom, and on which Samba it shows. A breakage writes down what was
there before it changes it (breaks/*.json in the DC's directory, one file each); mending puts exactly that back and
compares. Breakages that touched the same object are unmade newest first and the others made again, so they may be mended
in any order. What a directory cannot forget is not restored: uSNChanged, whenChanged, replPropertyMetaData.
"""
import argparse
import json
import os
import sys

sys.dont_write_bytecode = True   # the lab may lie on a read-only mount
from breaks import MADE, NOT_MADE, Plain, Record, World, undo, undo_step   # noqa: E402
from breaks.record import sam   # noqa: E402


def records_of(world):
    found = []
    for name in sorted(os.listdir(world.records)):
        if name.endswith(".json"):
            path = f"{world.records}/{name}"
            with open(path, encoding="ascii") as text:
                found.append(Record(world, None, None, path, json.load(text)))
            found[-1].cause, found[-1].user = found[-1].state["cause"], found[-1].state["user"]
    return found


def make(world, cause, user):
    """Breaks; nothing is left half done."""
    number = max([int(os.path.basename(r.path)[:4]) for r in records_of(world)], default=0) + 1
    record = Record(world, cause, user, f"{world.records}/{number:04}.json")
    record.state["name"] = sam(record) if user else None
    if user:
        record.keep(user, "nTSecurityDescriptor")
    try:
        world.transaction(lambda: MADE[cause][3](record))
        for action in record.later:
            action()
    except BaseException:
        for step in reversed(record.steps):
            if step["do"] == "file":
                undo_step(world, step, [])
        if any(step["do"] == "restart" for step in record.steps):
            world.restart()
        if os.path.exists(record.path):
            os.unlink(record.path)
        raise
    record.save()
    return record


def mend(world, chosen):
    """Undoes the chosen records, newest first, and makes again those that stood on them."""
    every = records_of(world)
    paths, touched, again = {r.path for r in chosen}, set(), []
    for record in every:   # oldest first: what came after a chosen one and touches the same
        if record.path in paths:
            touched.update(record.state["touches"])
        elif touched & set(record.state["touches"]):
            touched.update(record.state["touches"])
            again.append(record)
    differs = []
    for record in sorted(chosen + again, key=lambda r: r.path, reverse=True):
        differs += undo(world, record)
    for record in again:
        make(world, record.cause, record.user)
    return differs if not records_of(world) else []


def print_list():
    rows = [(cause, *entry[:3]) for cause, entry in MADE.items()]
    rows += [(cause, "-", "-", "not in the lab: " + why) for cause, why in NOT_MADE.items()]
    width = max(len(row[0]) for row in rows)
    for cause, who, where, what in rows:
        print(f"{cause:{width}}  {who:6}  {where:4}  {what}")


def check_cause(cause):
    if cause not in MADE and cause not in NOT_MADE:
        raise Plain(f"there is no cause {cause} (see lab/break --list)")


def break_command(world, args):
    check_cause(args.cause)
    if args.cause in NOT_MADE:
        raise Plain(f"{args.cause} cannot be shown by the lab: {NOT_MADE[args.cause]}")
    entry = MADE[args.cause]
    needs_user = entry[0] == "user" or "USER" in entry[2] or args.cause.endswith(":ou")
    user = world.find_user(args.user or "ada") if needs_user else None
    record = next((r for r in records_of(world) if (r.cause, r.user) == (args.cause, user)), None)
    if record:
        print(f"lab/break: {args.cause} is broken already", file=sys.stderr)
    else:
        record = make(world, args.cause, user)
        print(f"lab/break: {args.cause}{' of ' + record.state['name'] if user else ''}: {entry[2]}", file=sys.stderr)
    said = {"CAUSE": args.cause, "USER": record.state["name"] or "", **record.state["says"]}
    for name, value in said.items():
        print(f"export BREAK_{name}='{value}'")


def mend_command(world, args):
    chosen = records_of(world)
    if args.cause:
        check_cause(args.cause)
        chosen = [r for r in chosen if r.cause == args.cause]
    if args.user:
        names = [r.state["name"] for r in chosen]
        user = None if args.user in names else world.find_user(args.user)
        chosen = [r for r in chosen if args.user == r.state["name"] or user and r.user == user]
    differs = mend(world, chosen)
    for record in reversed(chosen):
        print(f"lab/mend: {record.cause}{' of ' + record.state['name'] if record.user else ''} is mended", file=sys.stderr)
    if not chosen:
        print("lab/mend: nothing of that is broken", file=sys.stderr)
    if differs:
        raise Plain("not as it was before: " + ", ".join(differs))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", choices=["break", "mend", "list"])
    parser.add_argument("cause", nargs="?")
    parser.add_argument("user", nargs="?")
    for option in ("dir", "mark", "ip", "samba", "connector"):
        parser.add_argument("--" + option)
    args = parser.parse_args()
    if args.command == "list":
        print_list()
        return
    try:
        {"break": break_command, "mend": mend_command}[args.command](World(args), args)
    except Plain as what:
        print(f"lab/{args.command}: {what}", file=sys.stderr)
        raise SystemExit(2) from None


if __name__ == "__main__":
    main()

"""What a breakage changed, and how it is put back. Also what breakages of several subjects need."""
import json
import os
import re
import signal

from .world import Plain, b64, unb64, write_file

SECRETS = ["unicodePwd", "dBCSPwd", "ntPwdHistory", "lmPwdHistory", "supplementalCredentials"]
BYPASS_PASSWORD_HASH = "local_oid:1.3.6.1.4.1.7165.4.3.12:0"


class Record:
    """What a breakage must put back, written down before each change."""

    def __init__(self, world, cause, user, path=None, state=None):
        self.world, self.cause, self.user, self.path, self.later = world, cause, user, path, []
        self.state = state or {"cause": cause, "user": user, "name": None, "steps": [], "touches": [], "says": {}}

    @property
    def steps(self):
        return self.state["steps"]

    def note(self, touches, **step):
        self.steps.append(step)
        if touches not in self.state["touches"]:
            self.state["touches"].append(touches)
        self.save()

    def save(self):
        new = self.path + ".new"
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as out:
            json.dump(self.state, out)
        os.replace(new, self.path)

    def says(self, **what):
        self.state["says"].update(what)

    # changes, each with its undo

    def keep(self, target, *attributes):
        found = self.world.read(target, list(attributes))
        guid = target if "=" not in target else self.world.guid(target)
        for attribute in attributes:
            self.note(guid, do="attribute", guid=guid, attribute=attribute, values=b64(found.get(attribute, [])))
        return guid

    def keep_secrets(self, target):
        """For a password that is about to change. One step: Samba takes the hashes only together."""
        found = self.world.read(target, SECRETS)
        self.note(target, do="secrets", guid=target, values={a: b64(found.get(a, [])) for a in SECRETS})
        self.keep(target, "pwdLastSet")

    def set(self, target, values, controls=None):
        self.keep(target, *values)
        self.world.modify(target, values, controls)

    def dacl(self, target, change):
        """`change` takes the flags and ACEs (SDDL) and returns new ones."""
        self.keep(target, "nTSecurityDescriptor")
        dn = target if "=" in target else self.world.dn(target)
        self.world.seeder.write_dacl(dn, *change(*self.world.seeder.read_dacl(dn)))

    def add_aces(self, target, *aces):
        self.keep(target, "nTSecurityDescriptor")
        self.world.seeder.add_aces(target if "=" in target else self.world.dn(target), *aces)

    def create(self, dn, **values):
        self.note(dn.lower(), do="created", dn=dn)
        self.world.db.add(dict({"dn": dn}, **values))
        self.state["touches"].append(self.world.guid(dn))

    def move(self, guid, parent):
        old = self.world.read(guid, ["nTSecurityDescriptor"])
        # the server computes the descriptor anew for each place; it is compared after mending
        self.note(guid, do="attribute", guid=guid, attribute="nTSecurityDescriptor", values=b64(old["nTSecurityDescriptor"]))
        self.note(guid, do="moved", guid=guid, dn=str(old.dn))
        self.world.db.rename(str(old.dn), re.split(r"(?<!\\),", str(old.dn), maxsplit=1)[0] + "," + parent)

    def member(self, group_dn, member_dn):
        group = self.world.guid(group_dn)
        self.note(group, do="member", group=group, member=self.world.guid(member_dn))
        self.state["touches"].append(self.world.guid(member_dn))
        self.world.seeder.modify(group_dn, {"member": member_dn}, flag=self.world.ldb.FLAG_MOD_ADD)

    def file(self, path, text, mode=0o644):
        if os.path.exists(path):
            with open(path, "rb") as old:
                self.note(path, do="file", path=path, values=b64([old.read()]), mode=os.stat(path).st_mode & 0o777)
        else:
            self.note(path, do="file", path=path, values=[], mode=0)
        write_file(path, text.encode() if isinstance(text, str) else text, mode)

    def restarts(self):
        """Noted before the first file changes: undone last, when all files are back."""
        self.note("dc", do="restart")


def undo(world, record):
    """Puts everything back. Returns what differs from before, in words."""
    after = []
    world.transaction(lambda: [undo_step(world, step, after) for step in reversed(record.steps)])
    world.finish()
    for action in dict.fromkeys(after):
        action()
    differs, seen = [], set()
    for step in record.steps:   # the first word on each attribute is how it was
        if step["do"] == "attribute" and (step["guid"], step["attribute"]) not in seen:
            seen.add((step["guid"], step["attribute"]))
            try:
                now = b64(world.read(step["guid"], [step["attribute"]]).get(step["attribute"], []))
            except Plain:
                continue   # an object of the breakage's own
            if now != step["values"]:
                differs.append(f"{step['attribute']} of {world.dn(step['guid'])}")
    os.unlink(record.path)
    return differs


def undo_step(world, step, after):
    do = step["do"]
    if do == "attribute":
        try:
            world.restore(step["guid"], step["attribute"], unb64(step["values"]))
        except Plain:
            pass   # it was created after this step, and is gone
    elif do == "secrets":
        values = {a: unb64(v) for a, v in step["values"].items()}
        now = world.read(step["guid"], SECRETS)
        if any([bytes(v) for v in now.get(a, [])] != values[a] for a in SECRETS):
            world.modify(step["guid"], {a: v for a, v in values.items() if v or a in now}, controls=[BYPASS_PASSWORD_HASH])
    elif do == "moved":
        world.db.rename(world.dn(step["guid"]), step["dn"])
    elif do == "created":
        world.purged.append(step["dn"])
    elif do == "member":
        group, member = world.dn(step["group"]), world.dn(step["member"])
        if member in [str(m) for m in world.read(step["group"], ["member"]).get("member", [])]:
            message = world.ldb.Message(world.ldb.Dn(world.db, group))
            message["member"] = world.ldb.MessageElement(member, world.ldb.FLAG_MOD_DELETE, "member")
            world.db.modify(message, controls=["local_oid:1.3.6.1.4.1.7165.4.3.29:0"])   # the link vanishes without a trace
    elif do == "deleted":
        undelete(world, step)
    elif do == "file":
        if step["values"]:
            write_file(step["path"], unb64(step["values"])[0], step["mode"])
        elif os.path.exists(step["path"]):
            os.unlink(step["path"])
    elif do == "restart":
        after.append(world.restart)
    elif do == "continue":
        after.append(lambda: world.signal(signal.SIGCONT))
    else:
        raise Plain(f"the record names an unknown step {do}")


def undelete(world, step):
    guid = step["guid"]
    message = world.ldb.Message(world.ldb.Dn(world.db, world.dn(guid)))
    message["isDeleted"] = world.ldb.MessageElement([], world.ldb.FLAG_MOD_DELETE, "isDeleted")
    message["distinguishedName"] = world.ldb.MessageElement(step["dn"], world.ldb.FLAG_MOD_REPLACE, "distinguishedName")
    world.db.modify(message, controls=["show_recycled:1", "show_deleted:1"])
    undo_step(world, {"do": "secrets", "guid": guid, "values": {a: step["values"].get(a, []) for a in SECRETS}}, [])
    later = ("pwdLastSet", "nTSecurityDescriptor")
    for attribute in [a for a in step["values"] if a not in later] + [a for a in later if a in step["values"]]:
        if attribute not in SECRETS:
            world.restore(guid, attribute, unb64(step["values"][attribute]))
    for attribute in step["absent"]:
        world.restore(guid, attribute, [])
    for attribute, guids in step["links"].items():
        for holder in guids:
            world.seeder.modify(world.dn(holder), {attribute: step["dn"]}, flag=world.ldb.FLAG_MOD_ADD)


# what breakages of several subjects need


def sam(record):
    return record.world.value(record.user, "sAMAccountName")


def parent_of(dn):
    return re.split(r"(?<!\\),", dn, maxsplit=1)[1]


def own_ou(record, what, above=None):
    """An OU of the breakage's own, below the user's OU or a given one, and the user in it."""
    world, dn = record.world, record.world.dn(record.user)
    ou = f"OU={what} {sam(record)},{above or parent_of(dn)}"
    if not world.exists(ou):
        record.create(ou, objectClass="organizationalUnit")
    record.move(record.user, ou)
    return ou


def the_connector(record):
    return record.world.connector()


def the_user(record):
    return record.user

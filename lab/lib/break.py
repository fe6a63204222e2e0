#!/usr/bin/python3
"""Make and unmake the causes for which a password reset fails, in a DC's own database and configuration (root, on the
DC's machine, in its world: `lab/break` and `lab/mend` see to that).

TABLE, at the foot, says for every cause of keyback what is done, to whom, and on which Samba it shows. A breakage writes
down what was there before it changes it (breaks/*.json in the DC's directory, one file each); mending puts exactly that
back and compares. Breakages that touched the same object are unmade newest first and the others made again, so they may
be mended in any order. What a directory cannot forget is not restored: uSNChanged, whenChanged, replPropertyMetaData.
"""
import argparse
import base64
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time

sys.dont_write_bytecode = True   # the lab may lie on a read-only mount
RESET, CHANGE = "00299570-246d-11d0-a768-00aa006e0529", "ab721a53-1e2f-11d0-9819-00aa0040529b"
LOCKOUT_TIME, PWD_LAST_SET = "28630ebf-41d5-11d1-a9c1-0000f80367c1", "bf967a0a-0de6-11d0-a285-00aa003049e2"
SECRETS = ["unicodePwd", "dBCSPwd", "ntPwdHistory", "lmPwdHistory", "supplementalCredentials"]
BYPASS_PASSWORD_HASH = "local_oid:1.3.6.1.4.1.7165.4.3.12:0"
WHOLE_SD = "sd_flags:1:15"
CHECK_PASSWORD = """#!/bin/sh
# Samba's `check password script`, in place of a password filter: the rules are in the file beside it, "RULE NAME" a line.
# The password comes on standard input; any exit code but 0 refuses it.
read -r password
refuses() { grep -qix "$1 $SAMBA_CPS_ACCOUNT_NAME" "$0.rules"; }
lower() { printf %s "$1" | tr "[:upper:]" "[:lower:]"; }
refuses filter && exit 1
refuses contains_name || exit 0
# as Windows: the whole account name, or a part of the display name, each of three characters or more, in any case
set -f
for part in "$SAMBA_CPS_ACCOUNT_NAME" $(printf %s "$SAMBA_CPS_FULL_NAME" | tr ",.\\-_#\\t" "      "); do
  [ ${#part} -ge 3 ] || continue
  case $(lower "$password") in *"$(lower "$part")"*) exit 1;; esac
done
exit 0
"""


class Plain(Exception):
    """Something to tell the person in one sentence."""


def b64(values):
    return [base64.b64encode(bytes(v)).decode() for v in values]


def unb64(values):
    return [base64.b64decode(v) for v in values]


def filetime_now():
    return str(int(time.time() * 10**7) + 116444736000000000)


class World:
    """The DC: its directory on disk, its database, its processes."""

    def __init__(self, args):
        from seed import ANY_PWD_LAST_SET, Seeder
        import ldb
        self.ldb, self.any_pwd_last_set = ldb, ANY_PWD_LAST_SET
        self.dir, self.ip, self.samba, self.connector_upn = args.dir, args.ip, args.samba, args.connector
        self.purged, self.remove_raw = [], []
        self.mark = f"keyback-lab:{args.mark} "
        self.records = self.dir + "/breaks"
        os.makedirs(self.records, mode=0o700, exist_ok=True)
        os.chmod(self.records, 0o755)   # the password script in it is run by the DC; the records are 0600
        self.seeder = Seeder(self.dir)
        self.db, self.base = self.seeder.db, self.seeder.base

    # reading

    def find_user(self, name):
        """The objectGUID of the user with this sAMAccountName, userPrincipalName or DN."""
        quoted = self.ldb.binary_encode(name)
        found = self.db.search(self.base, self.ldb.SCOPE_SUBTREE, attrs=["objectGUID"],
                               expression=f"(&(objectClass=user)(|(sAMAccountName={quoted})(userPrincipalName={quoted})(distinguishedName={quoted})))")
        if len(found) != 1:
            raise Plain(f"there is no user {name}" if not found else f"several users are called {name}: give the sAMAccountName")
        return self.guid_text(found[0]["objectGUID"][0])

    def guid_text(self, raw):
        return str(self.db.schema_format_value("objectGUID", raw).decode())

    def read(self, target, attributes):
        """An object by GUID or DN; deleted ones too."""
        dn = f"<GUID={target}>" if re.fullmatch("[0-9a-f-]{36}", target) else target
        controls = ["show_recycled:1", WHOLE_SD]
        try:
            return self.db.search(dn, self.ldb.SCOPE_BASE, attrs=attributes, controls=controls)[0]
        except (self.ldb.LdbError, IndexError):
            raise Plain(f"{target} is not there any more") from None

    def dn(self, guid):
        return str(self.read(guid, ["1.1"]).dn)

    def guid(self, dn):
        return self.guid_text(self.read(dn, ["objectGUID"])["objectGUID"][0])

    def value(self, target, attribute, default=None):
        found = self.read(target, [attribute]).get(attribute)
        return default if found is None else str(found[0])

    def exists(self, dn):
        try:
            return bool(self.db.search(dn, self.ldb.SCOPE_BASE, attrs=["1.1"]))
        except self.ldb.LdbError:
            return False

    def connector(self):
        return self.find_user(self.connector_upn)

    def connector_sid(self):
        return self.seeder.sid(self.value(self.connector(), "sAMAccountName"))

    # processes

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="replace") as text:
                    ours = self.mark in text.read()
                if ours and os.path.basename(os.readlink(f"/proc/{pid}/exe")) in ("samba", "winbindd", "smbd"):
                    found.append(int(pid))
            except OSError:
                pass   # it has ended, or is a kernel thread
        return found

    def signal(self, number):
        for pid in self.processes():
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def stop(self):
        self.signal(signal.SIGCONT)
        self.signal(signal.SIGTERM)
        for turn in range(200):
            if not self.processes():
                break
            if turn >= 100:
                self.signal(signal.SIGKILL)
            time.sleep(0.05)
        if os.path.exists(self.dir + "/run/samba.pid"):
            os.unlink(self.dir + "/run/samba.pid")

    def start(self):
        """Starts it as the breakages that are in force want it, and waits until it answers."""
        if os.path.exists(self.records + "/down"):
            return
        env = dict(os.environ)
        if os.path.exists(self.records + "/faketime"):
            with open(self.records + "/faketime", encoding="ascii") as text:
                env.update(LD_PRELOAD=self.records + "/libfaketime.so.1", FAKETIME=text.read(), DONT_FAKE_MONOTONIC="1", FAKETIME_DONT_RESET="1",
                           LDB_MODULES_DISABLE_DEEPBIND="1")   # else 4.17's modules call the C library past libfaketime
        log = self.dir + "/log/break.err"
        with open(log, "a", encoding="utf-8") as out:
            subprocess.run(["sh", "-c", 'ulimit -n 16384; exec samba -D -s "$0"', self.dir + "/etc/smb.conf"], env=env, stdin=subprocess.DEVNULL,
                           stdout=out, stderr=out, check=True)
        anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
        for _ in range(300):
            try:
                socket.create_connection((self.ip, 88), 2).close()
                with socket.create_connection((self.ip, 636), 2) as raw, anybody.wrap_socket(raw):
                    return
            except OSError:
                time.sleep(0.1)
        raise Plain(f"the DC did not come back; see {log} and log/samba.log beside it")

    def restart(self):
        self.stop()
        self.start()

    # writing, without a record: for mending, and for what Record has noted

    def modify(self, target, values, controls=None):
        """Replaces; an empty list deletes."""
        message = self.ldb.Message(self.ldb.Dn(self.db, self.dn(target) if "=" not in target else target))
        for attribute, value in values.items():
            value = value if isinstance(value, (list, bytes)) else str(value)
            message[attribute] = self.ldb.MessageElement(value, self.ldb.FLAG_MOD_REPLACE, attribute)
        self.db.modify(message, controls=controls)

    def restore(self, guid, attribute, values):
        now = [bytes(v) for v in self.read(guid, [attribute]).get(attribute, [])]
        if now == values:
            return
        if attribute == "lockoutTime" and not values:   # Samba lets nobody take it away again, only set it to 0
            self.modify(guid, {attribute: "0"})
            self.remove_raw.append((guid, attribute))
            return
        controls = {"nTSecurityDescriptor": [WHOLE_SD], "pwdLastSet": [self.any_pwd_last_set]}.get(attribute, ["relax:0"])
        self.modify(guid, {attribute: values}, controls=controls + ["show_recycled:1"])

    def transaction(self, work):
        self.db.transaction_start()
        try:
            work()
        except BaseException:
            self.db.transaction_cancel()
            raise
        self.db.transaction_commit()

    def finish(self):
        """What must wait for the end of the transaction."""
        purged = [self.guid(dn) for dn in self.purged if self.exists(dn)]
        # descriptors are passed on at the end of a transaction, to objects that must still be there
        for controls in ([], ["relax:0", "show_recycled:1"]):   # the object, then its tombstone: as if it had never been
            self.transaction(lambda controls=controls: [self.db.delete(f"<GUID={guid}>", controls=controls) for guid in purged])
        for guid, attribute in self.remove_raw:
            self.replace_raw(guid, attribute, [])
        self.purged, self.remove_raw = [], []

    def replace_raw(self, target, attribute, value):
        """Below Samba's modules and their rules, in the file of the domain's partition. Not inside a transaction."""
        raw = self.ldb.Ldb(f"{self.dir}/private/sam.ldb.d/{self.base.upper()}.ldb")
        message = self.ldb.Message(self.ldb.Dn(raw, target if "=" in target else self.dn(target)))
        message[attribute] = self.ldb.MessageElement(value, self.ldb.FLAG_MOD_REPLACE, attribute)
        raw.modify(message)


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


def write_file(path, content, mode):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
    os.chmod(path, mode)


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


# --- the breakages: each takes a Record, whose world and user (a GUID) say where


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


def delegations(world, dn, right):
    """The explicit ACEs on an OU that give the connector exactly this right."""
    _, aces = world.seeder.read_dacl(dn)
    mine = [a.strip("()").split(";") for a in aces]
    sid = world.connector_sid()
    return ["(" + ";".join(a) + ")" for a in mine if a[0] == "OA" and "ID" not in a[1] and a[3].lower() == right and a[5] == sid]


def delegated_ou(record, right):
    dn = parent_of(record.world.dn(record.user))
    while dn.lower() != record.world.base.lower():
        if delegations(record.world, dn, right):
            return dn
        dn = parent_of(dn)
    raise Plain(f"{sam(record)} lacks it already: no OU above delegates it to {record.world.connector_upn}")


def undelegated(right):
    """The delegation is made OU by OU and one OU was forgotten: what nobody but USER notices.

    The ACE on the delegated OU then reaches its direct children only (CINPIO); each OU below gets it for itself, but not
    the new OU into which USER moves. Everybody else keeps the right, and inheritance is on everywhere: no other cause fits.
    """
    def do(record):
        world, top = record.world, delegated_ou(record, right)
        aces = delegations(world, top, right)
        ou = f"OU=Forgotten {sam(record)},{top}"
        record.keep(top, "nTSecurityDescriptor")
        if not any("NP" in ace.split(";")[1] for ace in aces):   # else it is so already, for another user
            below = world.db.search(top, world.ldb.SCOPE_ONELEVEL, "(|(objectClass=organizationalUnit)(objectClass=container))", attrs=["1.1"])
            for child in below:
                if str(child.dn).upper() != ou.upper():
                    record.add_aces(str(child.dn), *aces)
            narrow = [";".join([ace.split(";")[0], "CINPIO", *ace.split(";")[2:]]) for ace in aces]
            record.dacl(top, lambda flags, old: (flags, [a for a in old if a not in aces and "ID" not in a.split(";")[1]] + narrow))
        if parent_of(world.dn(record.user)).upper() != ou.upper():
            own_ou(record, "Forgotten", top)
        else:
            for ace in delegations(world, ou, right):
                record.dacl(ou, lambda flags, old, ace=ace: (flags, [a for a in old if a != ace]))
    return do


def undelegated_ou(right):
    def do(record):
        world, top = record.world, delegated_ou(record, right)
        aces = delegations(world, top, right)
        record.dacl(top, lambda flags, old: (flags, [a for a in old if a not in aces and "ID" not in a.split(";")[1]]))
    return do


def deny_for(sid):
    def do(record):
        record.add_aces(record.user, f"(OD;;CR;{RESET};;{sid})")
    return do


def deny_by_group(record):
    world = record.world
    names = [f"{kind}-{sam(record)}" for kind in ("no-reset", "inner")]
    outer, inner = (f"CN={name},CN=Users,{world.base}" for name in names)
    for name, dn in zip(names, (outer, inner)):
        record.create(dn, objectClass="group", sAMAccountName=name)
    record.member(inner, world.dn(world.connector()))
    record.member(outer, inner)
    record.add_aces(record.user, f"(OD;;CR;{RESET};;{world.seeder.sid(names[0])})")


def deny_by_ou(record):
    ou = own_ou(record, "Denied")
    record.add_aces(ou, f"(OD;CIIO;CR;{RESET};bf967aba-0de6-11d0-a285-00aa003049e2;{record.world.connector_sid()})")


def inheritance_off(record):
    record.dacl(record.user, lambda flags, old: ("PAI", [a for a in old if "ID" not in a.split(";")[1]]))


def inheritance_off_ou(record):
    ou = own_ou(record, "Closed")
    record.dacl(ou, lambda flags, old: ("PAI", [a for a in old if "ID" not in a.split(";")[1]]))


def stamp(record):
    """What SDProp does to a protected account, which Samba never does."""
    from seed import ADMINSDHOLDER
    world = record.world
    holder = "CN=AdminSDHolder,CN=System," + world.base
    if not world.seeder.read_dacl(holder)[0].startswith("P"):
        record.dacl(holder, lambda flags, old: ("PAI", ADMINSDHOLDER))
    record.dacl(record.user, lambda flags, old: ("PAI", world.seeder.read_dacl(holder)[1]))
    record.set(record.user, {"adminCount": "1"})


def protected(nested):
    def do(record):
        world, admins = record.world, f"CN=Domain Admins,CN=Users,{record.world.base}"
        if nested:
            name = "admins-" + sam(record)
            group = f"CN={name},CN=Users,{world.base}"
            record.create(group, objectClass="group", sAMAccountName=name)
            record.member(admins, group)
            admins = group
        record.member(admins, world.dn(record.user))
        stamp(record)
    return do


def cannot_change(record):
    record.add_aces(record.user, f"(OD;;CR;{CHANGE};;WD)", f"(OD;;CR;{CHANGE};;PS)")


def pso(record, **rules):
    """A policy of USER's own: what applies to USER now, with some rules changed."""
    world = record.world
    dn = f"CN=Only {sam(record)},CN=Password Settings Container,CN=System,{world.base}"
    if world.exists(dn):
        record.set(dn, rules)
        return dn
    now = world.value(record.user, "msDS-ResultantPSO")
    kept = ["msDS-PasswordHistoryLength", "msDS-MinimumPasswordLength", "msDS-MinimumPasswordAge", "msDS-MaximumPasswordAge",
            "msDS-LockoutThreshold", "msDS-LockoutDuration", "msDS-LockoutObservationWindow", "msDS-PasswordComplexityEnabled",
            "msDS-PasswordReversibleEncryptionEnabled"]
    if now:
        values = {a: world.value(now, a) for a in kept}
    else:
        old = ["pwdHistoryLength", "minPwdLength", "minPwdAge", "maxPwdAge", "lockoutThreshold", "lockoutDuration", "lockOutObservationWindow"]
        values = {new: world.value(world.base, a) for new, a in zip(kept, old)}
        properties = int(world.value(world.base, "pwdProperties"))
        values["msDS-PasswordComplexityEnabled"] = "TRUE" if properties & 1 else "FALSE"
        values["msDS-PasswordReversibleEncryptionEnabled"] = "FALSE"
    values.update({"objectClass": "msDS-PasswordSettings", "msDS-PasswordSettingsPrecedence": "1", "msDS-PSOAppliesTo": world.dn(record.user)}, **rules)
    record.state["touches"].append(record.user)
    record.create(dn, **values)
    return dn


def policy_length(record):
    pso(record, **{"msDS-MinimumPasswordLength": "20"})
    record.says(PASSWORD="Short-Pass9!")


def policy_complexity(record):
    pso(record, **{"msDS-PasswordComplexityEnabled": "TRUE"})
    record.says(PASSWORD="onlysmalllettersandnothingelse")


def policy_history(record):
    pso(record, **{"msDS-PasswordHistoryLength": "24", "msDS-MinimumPasswordAge": "0"})


def policy_min_age(record):
    record.set(record.user, {"pwdLastSet": filetime_now()}, controls=[record.world.any_pwd_last_set])
    pso(record, **{"msDS-MinimumPasswordAge": str(-864 * 10**9)})
    record.says(PASSWORD="Another-Pass-0042!")


def pso_unreadable(record):
    dn = pso(record, **{"msDS-MinimumPasswordLength": "20"})
    sid = record.world.connector_sid()
    record.dacl(dn, lambda flags, old: ("PAI", [a.replace("ID;", ";", 1) for a in old if a.strip("()").split(";")[5] != sid]))
    record.says(PASSWORD="Short-Pass9!")


def password_script(rule, password):
    def do(record):
        world, script = record.world, record.world.records + "/check-password"
        record.restarts()
        record.file(script, CHECK_PASSWORD, 0o755)
        old = ""
        if os.path.exists(script + ".rules"):
            with open(script + ".rules", encoding="utf-8") as text:
                old = text.read()
        record.file(script + ".rules", f"{old}{rule} {sam(record)}\n")
        conf = world.dir + "/etc/smb.conf"
        with open(conf, encoding="utf-8") as text:
            lines = text.read()
        record.file(conf, lines if script in lines else lines.replace("[global]\n", f"[global]\n\tcheck password script = {script}\n", 1))
        record.later.append(world.restart)
        record.says(PASSWORD=password.format(sam=sam(record).capitalize()))
    return do


def hide(record):
    ou = own_ou(record, "Hidden")
    sid = record.world.connector_sid()
    record.add_aces(ou, f"(D;;LC;;;{sid})")


def disable(guid_of):
    def do(record):
        guid = guid_of(record)
        control = int(record.world.value(guid, "userAccountControl"))
        record.set(guid, {"userAccountControl": str(control | 2)})
    return do


def lock(guid_of):
    def do(record):
        record.set(guid_of(record), {"lockoutTime": filetime_now(), "badPwdCount": "5", "badPasswordTime": filetime_now()}, controls=["relax:0"])
    return do


def expire(record):
    from seed import LONG_AGO
    record.set(record.user, {"accountExpires": LONG_AGO})


def out_of_scope(record):
    world, ou = record.world, "OU=Outside," + record.world.base
    if not world.exists(ou):
        record.create(ou, objectClass="organizationalUnit")
    record.move(record.user, ou)


# a tombstone keeps none of these, and coming back sets them anew
NOT_WRITTEN = {"objectGUID", "objectSid", "objectClass", "objectCategory", "distinguishedName", "cn", "name", "instanceType", "whenCreated", "whenChanged",
               "uSNCreated", "uSNChanged", "replPropertyMetaData", "dn", "sAMAccountType", "primaryGroupID"}
LINKS = {"memberOf": "member", "msDS-PSOApplied": "msDS-PSOAppliesTo"}   # kept on the other side
COMES_BACK = ["lastKnownParent", "isRecycled", "adminCount", "operatorCount", "accountExpires", "logonHours", "lmPwdHistory", "ntPwdHistory",
              "badPwdCount", "badPasswordTime", "lastLogon", "lastLogoff", "logonCount", "codePage", "countryCode"]


def delete(record):
    world = record.world
    found = world.read(record.user, ["*", "nTSecurityDescriptor"] + SECRETS)
    links = {forward: [world.guid(str(dn)) for dn in found.get(back, [])] for back, forward in LINKS.items()}
    values = {a: b64(found[a]) for a in found.keys() if a not in NOT_WRITTEN and world.db.get_linkId_from_lDAPDisplayName(a) % 2 == 0}
    record.note(record.user, do="deleted", guid=record.user, dn=str(found.dn), values=values, links=links,
                absent=[a for a in COMES_BACK if a not in values and a not in SECRETS])
    record.state["touches"].extend(guid for guids in links.values() for guid in guids)
    world.db.delete(str(found.dn))


def twin(record, values):
    """A second user beside USER, with something that only one may have."""
    world, name = record.world, "twin-" + sam(record)
    dn = f"CN={name},{parent_of(world.dn(record.user))}"
    if world.exists(dn):
        record.set(dn, values)
    else:
        record.state["touches"].append(record.user)
        record.create(dn, objectClass="user", sAMAccountName=name[:20], userAccountControl="514")
        if values:
            world.modify(dn, values)
    return dn


def duplicate_anchor(record):
    found = record.world.read(record.user, ["mS-DS-ConsistencyGuid", "objectGUID"])
    twin(record, {"mS-DS-ConsistencyGuid": bytes(found.get("mS-DS-ConsistencyGuid", found["objectGUID"])[0])})


def duplicate_proxy(record):
    world, address = record.world, f"shared-{sam(record)}@{record.world.seeder.dns_domain}"
    old = [bytes(v) for v in world.read(record.user, ["proxyAddresses"]).get("proxyAddresses", [])]
    record.set(record.user, {"proxyAddresses": old + [b"smtp:" + address.encode()]})
    twin(record, {"proxyAddresses": "SMTP:" + address.capitalize()})


def duplicate_upn(record):
    upn = record.world.value(record.user, "userPrincipalName")
    dn = twin(record, {})
    record.later.append(lambda: record.world.replace_raw(dn, "userPrincipalName", upn))


def duplicate_upn_mail(record):
    twin(record, {"mail": record.world.value(record.user, "userPrincipalName")})


def reserved_characters(record):
    record.set(record.user, {"userPrincipalName": f"{sam(record)}%&co@{record.world.seeder.dns_domain}"})


def no_mail(record):
    record.set(record.user, {"mail": []})


def the_connector(record):
    return record.world.connector()


def the_user(record):
    return record.user


def connector_password(record):
    guid = the_connector(record)
    record.keep_secrets(guid)
    for password in ("Nobody-Knows-0814!", "Nobody-Knows-0815!"):   # twice: the one before still binds for an hour
        record.world.modify(guid, {"clearTextPassword": password.encode("utf-16-le")})


def connector_expired(record):
    from seed import LONG_AGO
    guid = the_connector(record)
    control = int(record.world.value(guid, "userAccountControl"))
    record.set(guid, {"userAccountControl": str(control & ~0x10000)})
    record.set(guid, {"pwdLastSet": LONG_AGO}, controls=[record.world.any_pwd_last_set])


def stopped(record):
    record.restarts()
    record.file(record.world.records + "/down", "")
    record.later.append(record.world.stop)


def frozen(record):
    record.note("dc", do="continue")
    record.later.append(lambda: record.world.signal(signal.SIGSTOP))


def certificate(expired=False, name=None, other_ca=False):
    """As lib/dc makes it, but for one thing."""
    def do(record):
        world, work = record.world, record.world.records + "/tls"
        tls = world.dir + "/tls"
        shutil.rmtree(work, ignore_errors=True)
        os.makedirs(work, mode=0o700)

        def openssl(*words):
            subprocess.run(["openssl", *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=work)
        key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        with open(tls + "/ca.cnf", encoding="utf-8") as text:
            conf = text.read().replace(tls, work)
        fqdn = re.search("DNS:([^,\n]*)", conf)[1]
        if name:
            conf = re.sub("subjectAltName=.*", f"subjectAltName=DNS:{name}", conf)
        write_file(work + "/ca.cnf", conf.encode(), 0o600)
        write_file(work + "/db", b"", 0o600)
        write_file(work + "/serial", os.urandom(8).hex().upper().encode() + b"\n", 0o600)
        ca, ca_key = tls + "/ca.pem", tls + "/ca.key"
        if other_ca:
            ca, ca_key = work + "/ca.pem", work + "/ca.key"
            openssl("req", "-x509", *key, "-keyout", ca_key, "-out", ca, "-days", "3650", "-subj", "/CN=nobody's CA",
                    "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-new", *key, "-keyout", "key.pem", "-out", "req.pem", "-subj", f"/CN={name or fqdn}")
        now = time.time()
        begin, end = (time.strftime("%Y%m%d%H%M%SZ", time.gmtime(now + days * 86400)) for days in (-30, -1 if expired else 825))
        openssl("ca", "-batch", "-config", "ca.cnf", "-cert", ca, "-keyfile", ca_key, "-in", "req.pem", "-out", "cert.pem", "-notext",
                "-startdate", begin, "-enddate", end)
        record.restarts()
        for part, mode in (("cert.pem", 0o644), ("key.pem", 0o600)):
            with open(f"{work}/{part}", "rb") as new:
                record.file(f"{tls}/{part}", new.read(), mode)
        shutil.rmtree(work)
        record.later.append(world.restart)
    return do


def clock_skew(record):
    if not os.path.exists(record.world.records + "/libfaketime.so.1"):
        raise Plain("this needs Debian's package libfaketime: apt-get install --no-install-recommends libfaketime")
    record.restarts()
    record.file(record.world.records + "/faketime", "+10m")
    record.later.append(record.world.restart)


def table():
    """cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how) or (reason,)."""
    from_group = "denies Reset Password on USER, explicitly, to "
    own = "keyback's own state, not the directory's: "
    return {
        "rights.reset_missing": ("user", "both", "USER is in a new OU below the delegated one that nobody delegated; all others keep the right", undelegated(RESET)),
        "rights.reset_missing:ou": ("domain", "both", "the ACE is taken from the OU that delegates it: everybody below it", undelegated_ou(RESET)),
        "rights.deny_ace": ("user", "both", from_group + "Domain Users, the connector's primary group", deny_for("DU")),
        "rights.deny_ace:everyone": ("user", "both", from_group + "Everyone", deny_for("WD")),
        "rights.deny_ace:group": ("user", "both", from_group + "a group that holds a group that holds the connector (seen at its next bind)", deny_by_group),
        "rights.deny_ace:ou": ("user", "both", "USER is in a new OU that denies Reset Password to the connector, inherited", deny_by_ou),
        "rights.inheritance_off": ("user", "both", "USER's DACL is protected, its inherited ACEs removed", inheritance_off),
        "rights.inheritance_off:ou": ("user", "both", "USER is in a new OU whose DACL is protected", inheritance_off_ou),
        "rights.inheritance_off:former": ("user", "both", "USER was an administrator once: adminCount=1 and AdminSDHolder's DACL, but in no such group", stamp),
        "rights.protected_object": ("user", "both", "USER is in Domain Admins and stamped as SDProp would: adminCount=1, AdminSDHolder's DACL, protected", protected(False)),
        "rights.protected_object:nested": ("user", "both", "the same through a group in Domain Admins", protected(True)),
        "rights.unlock_attribute_missing": ("user", "both", "as rights.reset_missing, for Write lockoutTime", undelegated(LOCKOUT_TIME)),
        "rights.unlock_attribute_missing:ou": ("domain", "both", "as rights.reset_missing:ou, for Write lockoutTime", undelegated_ou(LOCKOUT_TIME)),
        "rights.pwdlastset_missing": ("user", "both", "as rights.reset_missing, for Write pwdLastSet", undelegated(PWD_LAST_SET)),
        "rights.pwdlastset_missing:ou": ("domain", "both", "as rights.reset_missing:ou, for Write pwdLastSet", undelegated_ou(PWD_LAST_SET)),
        "rights.cannot_change": ("user", "both", "'User cannot change password': Change Password denied to Everyone and SELF; a change fails, a reset does not", cannot_change),
        "policy.length": ("user", "both", "a PSO of USER's own demands 20 characters", policy_length),
        "policy.complexity": ("user", "both", "a PSO of USER's own demands complexity", policy_complexity),
        "policy.contains_name": ("domain", "both", "the DC refuses passwords that hold USER's name, as Windows does, by a `check password script` (restarts the DC)", password_script("contains_name", "{sam}-Pass-0042!")),
        "policy.history": ("user", "4.24", "a PSO of USER's own keeps 24 passwords: the present one fails, where the policy hints control is sent", policy_history),
        "policy.min_age": ("user", "4.24", "a PSO of USER's own demands a day between two passwords, and the last was set now; shows where the policy hints control is sent", policy_min_age),
        "policy.pso_unreadable": ("user", "both", "a PSO of USER's own demands 20 characters and the connector may not read it", pso_unreadable),
        "policy.filter_or_unknown": ("domain", "both", "a password filter (`check password script`) refuses whatever USER gets (restarts the DC)", password_script("filter", "Another-Pass-0042!")),
        "policy.hints_unsupported": ("4.17 never offers policy hints and 4.24 always does: start the other one",),
        "policy.banned": (own + "give it a blocklist",),
        "target.disabled": ("user", "both", "USER is disabled; a reset works, signing in does not (533)", disable(the_user)),
        "target.locked": ("user", "both", "USER is locked out since now; a reset alone leaves it so (775)", lock(the_user)),
        "target.expired": ("user", "both", "USER's account expired in 2019; a reset works, signing in does not (701)", expire),
        "target.not_found": ("user", "both", "USER is in a new OU whose contents the connector may not list", hide),
        "target.out_of_scope": ("user", "both", "USER is moved to OU=Outside", out_of_scope),
        "target.deleted": ("user", "both", "USER is deleted; the tombstone stays", delete),
        "target.duplicate_anchor": ("user", "both", "a twin's mS-DS-ConsistencyGuid is USER's source anchor", duplicate_anchor),
        "target.duplicate_proxy_address": ("user", "both", "USER and a twin get the same proxyAddress, in different case", duplicate_proxy),
        "target.duplicate_upn": ("user", "both", "a twin has USER's userPrincipalName, as two DCs at once can make it (LDAP refuses it)", duplicate_upn),
        "target.duplicate_upn:mail": ("user", "both", "a twin's mail is USER's userPrincipalName", duplicate_upn_mail),
        "target.reserved_characters": ("user", "both", "USER's userPrincipalName holds % and &", reserved_characters),
        "target.no_mail": ("user", "both", "USER has no mail", no_mail),
        "target.wrong_password": ("what a person types, not a state: type another current password",),
        "target.outrun": ("a race: set the password while a job runs",),
        "connector.bind_failed": ("domain", "both", "the connector's password was changed", connector_password),
        "connector.disabled": ("domain", "both", "the connector is disabled", disable(the_connector)),
        "connector.locked": ("domain", "both", "the connector is locked out since now", lock(the_connector)),
        "connector.password_expired": ("domain", "both", "the connector's password was set in 2019 and may expire", connector_expired),
        "dc.name_resolution": ("the name is resolved on the client's side: give keyback a name that does not exist",),
        "dc.unreachable": ("domain", "both", "the DC is stopped: connection refused", stopped),
        "dc.unreachable:frozen": ("domain", "both", "the DC's processes are stopped (SIGSTOP): it accepts connections and says nothing", frozen),
        "dc.tls_untrusted": ("domain", "both", "the certificate comes from another CA (restarts the DC)", certificate(other_ca=True)),
        "dc.tls_expired": ("domain", "both", "the certificate expired yesterday (restarts the DC)", certificate(expired=True)),
        "dc.tls_name_mismatch": ("domain", "both", "the certificate is for other.example (restarts the DC)", certificate(name="other.example")),
        "dc.clock_skew": ("domain", "both", "the DC's clock is ten minutes ahead, by libfaketime (restarts the DC)", clock_skew),
        "dc.read_only": ("a second DC, not a state of this one: lab/up --join DIR --rodc --dir DIR2 --ip IP2 --host NAME2 starts a read-only one",),
        **{cause: (own + how,) for cause, how in {
            "agent.offline": "stop the agent", "agent.heartbeat_stale": "freeze the agent", "relay.unreachable": "stop the relay",
            "writeback.disabled": "switch it off in the configuration", "sync.stopped": "stop the agent", "sync.error": "break connector.bind_failed and run a cycle",
            "sync.stale": "stop the agent", "outcome.unknown": "break dc.unreachable:frozen during a job", "input.password": "type one", "input.name": "type one",
            "input.form": "send another form", "proof.wrong_code": "type one", "proof.expired": "wait", "proof.too_many_tries": "try too often",
            "mail.unreachable": "stop the mail gateway", "message.refused": "pin another key", "agent.cap_user": "reset one person four times", "agent.cap_agent": "reset 31 people in an hour",
            "agent.cap_ou": "set ou_hour and reset more people", "agent.stopped": "go on after agent.cap_agent",
            "agent.quarantined": "put back an old journal", "agent.unasked": "hold the server up for a minute",
            "key.enrolment_refused": "type an old code", "store.unavailable": "fill its disk",
            "journal.unavailable": "fill its disk", "config.invalid": "write a wrong line"}.items()},
        "dc.busy": ("Samba answers 51 only to a bind while requests are pending on the same connection; a held write lock makes it wait, not refuse",),
        "dc.protocol": ("a Samba DC speaks LDAP: point keyback at another kind of server",),
        "dc.unspecified": ("no known answer of a Samba DC is missing in the catalogue",),
    }


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
        world.transaction(lambda: table()[cause][3](record))
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
    rows = [(cause, *(entry[:3] if len(entry) == 4 else ("-", "-", "not in the lab: " + entry[0]))) for cause, entry in table().items()]
    width = max(len(row[0]) for row in rows)
    for cause, who, where, what in rows:
        print(f"{cause:{width}}  {who:6}  {where:4}  {what}")


def check_cause(cause):
    if cause not in table():
        raise Plain(f"there is no cause {cause} (see lab/break --list)")


def break_command(world, args):
    check_cause(args.cause)
    entry = table()[args.cause]
    if len(entry) == 1:
        raise Plain(f"{args.cause} cannot be shown by the lab: {entry[0]}")
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

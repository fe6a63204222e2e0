"""The DC as a breakage sees it: its directory on disk, its database, its processes. Reads and changes; notes nothing."""
import base64
import os
import re
import signal
import socket
import ssl
import subprocess
import time

WHOLE_SD = "sd_flags:1:15"


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


def write_file(path, content, mode):
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as out:
        out.write(content)
    os.chmod(path, mode)

#!/usr/bin/python3
"""Put what a seed file describes into a DC's own database (root, on the DC's machine; the DC may run).

All statements run in one transaction, about 20 ms for each user with a password. May be run again: existing objects
are kept; their attributes, flags, password and rights are set again.

One statement a line; # starts a comment; words are quoted as in a shell. NAME is a sAMAccountName; PATH is OUs from the
top: Staff/Sales is OU=Sales,OU=Staff,<domain>.

  ou PATH...
  user NAME ou=PATH [pw=P] [given= sn= display= mail= upn= phone= mobile= proxy=a,b anchor=yes class=inetOrgPerson cn=]
       [flags=F,F..]
       flags: disabled, expired (accountExpires is past), pwold (password expired), mustchange (pwdLastSet=0), locked,
              neverexpires, nopwdreq, smartcard, nohours (no logon hours), workstation (only PC1),
              cannotchange (denies Change Password to Everyone and SELF)
  group NAME ou=PATH [members=a,b]          member GROUP a,b          (members: users or groups)
  policy [minlen= complexity=on|off history= minage=DAYS maxage=DAYS lockout=N duration=MIN window=MIN]
  pso NAME prec=N [the keys of policy] apply=user,group               (not given: 7, on, 24, 0, 42, 0, 30, 30)
  connector NAME ou=PATH pw=P scope=PATH[,PATH] rights=R,R..  [class=user|inetOrgPerson|both]
       rights on the scope, for descendants of that class: reset change lockoutTime pwdLastSet read anchor all
       rights elsewhere: unexpire dirsync (domain root)  pso (Password Settings Container)  deleted (Deleted Objects)
       writeback = reset,change,lockoutTime,pwdLastSet,unexpire
  ace TARGET 'SDDL-ACE'...   TARGET: NAME, PATH, a DN, or / for the domain; {NAME} in the ACE is that account's SID;
                             denies go first
  block TARGET               inheritance off, inherited ACEs dropped ("protected DACL")
  protect NAME...            as Windows' SDProp leaves a protected account: AdminSDHolder's DACL, inheritance off,
                             adminCount=1 (Samba runs no SDProp)
  harden prewin2000          Authenticated Users out of "Pre-Windows 2000 Compatible Access"
  set TARGET attr=value...   delete TARGET

Leaves in the DC's directory: seed.env (the first connector and the first user's password, for lab.env) and locked
(the DNs of accounts that the file wants locked, base64; lab/up locks them again at each first start).
"""
import argparse
import base64
import shlex
import sys
import time
import uuid

import ldb
from samba.auth import system_session
from samba.dcerpc import security
from samba.ndr import ndr_pack, ndr_unpack
from samba.param import LoadParm
from samba.samdb import SamDB

CLASS_GUID = {"user": "bf967aba-0de6-11d0-a285-00aa003049e2", "inetOrgPerson": "4828cc14-1437-45bc-9b07-ad6f015e5f28"}
CHANGE_PASSWORD = "CR;ab721a53-1e2f-11d0-9819-00aa0040529b"
# the middle of an object ACE: rights;object type
RIGHT = {
    "reset": "CR;00299570-246d-11d0-a768-00aa006e0529",
    "change": CHANGE_PASSWORD,
    "lockoutTime": "WP;28630ebf-41d5-11d1-a9c1-0000f80367c1",
    "pwdLastSet": "WP;bf967a0a-0de6-11d0-a285-00aa003049e2",
    "anchor": "RPWP;23773dc2-b63a-11d2-90e1-00c04fd91ab1",
    "read": "LCRPLORC;",
    "all": "CCDCLCSWRPWPDTLOCRSDRCWDWO;",
}
WRITEBACK = ["reset", "change", "lockoutTime", "pwdLastSet", "unexpire"]
# Windows' default AdminSDHolder DACL in outline: no inheritance, Everyone and SELF may change the password with the
# old one, nobody has delegated anything
ADMINSDHOLDER = [
    "(A;;LCRPLORC;;;AU)", "(A;;CCDCLCSWRPWPLOCRRCWDWO;;;DA)", "(A;;CCDCLCSWRPWPLOCRRCWDWO;;;EA)",
    "(A;;CCDCLCSWRPWPLOCRSDRCWDWO;;;BA)", "(A;;CCDCLCSWRPWPDTLOCRSDRCWDWO;;;SY)",
    f"(OA;;{CHANGE_PASSWORD};;WD)", f"(OA;;{CHANGE_PASSWORD};;PS)", "(OA;;RPWP;bf967a7f-0de6-11d0-a285-00aa003049e2;;CA)",
]
FILETIME_EPOCH = 116444736000000000   # 1970 in 100 ns since 1601
LONG_AGO = "132000000000000000"       # April 2019
NEVER = "-9223372036854775808"
# samba's own control that lets pwdLastSet be any time, not only 0 and -1
ANY_PWD_LAST_SET = "local_oid:1.3.6.1.4.1.7165.4.3.20:0"


def days(text):
    return str(-int(float(text) * 864 * 10**9))


def minutes(text):
    return str(-int(text) * 600000000)


def pairs(words):
    """Splits `k=v` words from plain ones."""
    return dict(w.split("=", 1) for w in words if "=" in w), [w for w in words if "=" not in w]


class Seeder:
    """One run over a seed file: the open database, and what lab/up wants to know afterwards."""

    def __init__(self, directory):
        self.lp = LoadParm()
        self.lp.load(directory + "/etc/smb.conf")
        self.db = SamDB(directory + "/private/sam.ldb", session_info=system_session(), lp=self.lp)
        self.base = self.db.domain_dn()
        self.dns_domain = self.lp.get("realm").lower()
        self.domain_sid = security.dom_sid(self.db.get_domain_sid())
        self.locked, self.env = [], {}

    # names

    def ou_dn(self, path):
        return ",".join("OU=" + part for part in reversed(path.strip("/").split("/"))) + "," + self.base

    def find(self, name):
        found = self.db.search(self.base, ldb.SCOPE_SUBTREE, f"(sAMAccountName={ldb.binary_encode(name)})", attrs=["objectSid"])
        return found[0] if len(found) else None

    def dn(self, target):
        if target == "/":
            return self.base
        if "=" in target:
            return target if target.upper().endswith(self.base.upper()) else target + "," + self.base
        account = self.find(target)
        return str(account.dn) if account else self.ou_dn(target)

    def sid(self, name):
        return str(ndr_unpack(security.dom_sid, self.find(name)["objectSid"][0]))

    # writing

    def modify(self, dn, values, flag=ldb.FLAG_MOD_REPLACE, controls=None):
        message = ldb.Message(ldb.Dn(self.db, str(dn)))
        for attribute, value in values.items():
            message[attribute] = ldb.MessageElement(value if isinstance(value, (list, bytes)) else str(value), flag, attribute)
        self.db.modify(message, controls=controls)

    def ensure(self, dn, object_class, **attributes):
        """Adds the object unless it is there. Looks first: a failed add dooms the transaction."""
        if len(self.db.search(self.base, ldb.SCOPE_SUBTREE, f"(distinguishedName={ldb.binary_encode(dn)})", attrs=["1.1"])):
            return False
        self.db.add(dict({"dn": dn, "objectClass": object_class}, **attributes))
        return True

    # security descriptors

    def read_dacl(self, dn):
        found = self.db.search(dn, ldb.SCOPE_BASE, attrs=["nTSecurityDescriptor"], controls=["show_deleted:1", "sd_flags:1:4"])
        sddl = ndr_unpack(security.descriptor, found[0]["nTSecurityDescriptor"][0]).as_sddl(self.domain_sid)
        dacl = sddl[sddl.index("D:") + 2:]
        start = dacl.find("(")
        return dacl[:start], [ace + ")" for ace in dacl[start:].split(")") if ace.startswith("(")]

    def write_dacl(self, dn, flags, aces):
        descriptor = security.descriptor.from_sddl(f"D:{flags}{''.join(aces)}", self.domain_sid)
        self.modify(dn, {"nTSecurityDescriptor": ndr_pack(descriptor)}, controls=["show_deleted:1", "sd_flags:1:4"])

    def add_aces(self, dn, *aces):
        flags, old = self.read_dacl(dn)
        new = [ace for ace in aces if ace not in old]
        if new:
            explicit = [ace for ace in old if "ID" not in ace.split(";")[1]] + new
            denies = [ace for ace in explicit if ace.split(";")[0] in ("(D", "(OD")]
            # explicit denies, explicit allows; the server adds the inherited ones
            self.write_dacl(dn, flags, denies + [ace for ace in explicit if ace not in denies])

    # statements

    def do_ou(self, words):
        for path in words:
            parts = path.strip("/").split("/")
            for depth in range(1, len(parts) + 1):
                self.ensure(self.ou_dn("/".join(parts[:depth])), "organizationalUnit")

    def do_user(self, words):
        keys, rest = pairs(words)
        self.account(rest[0], keys, keys.get("class", "user"), never_expires=False)

    def account(self, name, keys, object_class, never_expires):
        flags = [f for f in keys.get("flags", "").split(",") if f]
        parent = self.ou_dn(keys["ou"]) if "ou" in keys else "CN=Users," + self.base
        there = self.find(name)
        dn = str(there.dn) if there else f"CN={keys.get('cn', name)},{parent}"
        if not there:
            upn = keys.get("upn", f"{name}@{self.dns_domain}")
            self.db.add({"dn": dn, "objectClass": object_class, "sAMAccountName": name, "userPrincipalName": upn, "userAccountControl": "544"})
        attribute = {"given": "givenName", "sn": "sn", "display": "displayName", "mail": "mail", "upn": "userPrincipalName",
                     "phone": "telephoneNumber", "mobile": "mobile"}
        values = {attribute[k]: v for k, v in keys.items() if k in attribute}
        if "proxy" in keys:
            values["proxyAddresses"] = keys["proxy"].split(",")
        if keys.get("anchor") == "yes":
            values["mS-DS-ConsistencyGuid"] = uuid.uuid5(uuid.NAMESPACE_DNS, name).bytes_le
        if values:
            self.modify(dn, values)
        password = {"clearTextPassword": keys["pw"].encode("utf-16-le")} if "pw" in keys else None
        if password:
            self.modify(dn, password)
        control = 512
        control |= 2 if "disabled" in flags else 0
        control |= 0x10000 if "neverexpires" in flags or never_expires else 0
        control |= 32 if "nopwdreq" in flags or not password else 0
        control |= 0x40000 if "smartcard" in flags else 0
        self.modify(dn, {"userAccountControl": str(control)})
        if "smartcard" in flags and password:
            self.modify(dn, password)   # the flag put a random password there
        if "expired" in flags:
            self.modify(dn, {"accountExpires": LONG_AGO})
        if "mustchange" in flags:
            self.modify(dn, {"pwdLastSet": "0"})
        if "pwold" in flags:
            self.modify(dn, {"pwdLastSet": LONG_AGO}, controls=[ANY_PWD_LAST_SET])
        if "nohours" in flags:
            self.modify(dn, {"logonHours": bytes(21)})
        if "workstation" in flags:
            self.modify(dn, {"userWorkstations": "PC1"})
        if "locked" in flags:   # counts as locked only while the policy's lockout duration lasts
            self.modify(dn, {"lockoutTime": str(int(time.time() * 10**7) + FILETIME_EPOCH)})
            self.locked.append(dn)
        if "cannotchange" in flags:
            self.add_aces(dn, f"(OD;;{CHANGE_PASSWORD};;WD)", f"(OD;;{CHANGE_PASSWORD};;PS)")
        if password and not never_expires:
            self.env.setdefault("USER_PW", keys["pw"])
        return dn

    def do_connector(self, words):
        keys, rest = pairs(words)
        name = rest[0]
        dn = self.account(name, dict(keys, **{"class": "user"}), "user", never_expires=True)
        sid, rights = self.sid(name), []
        for right in [r for r in keys.get("rights", "").split(",") if r]:
            rights += WRITEBACK if right == "writeback" else [right]
        unknown = [r for r in rights if r not in RIGHT and r not in ("unexpire", "dirsync", "pso", "deleted")]
        if unknown:
            raise ValueError("unknown right " + ",".join(unknown))
        wanted = keys.get("class", "user")
        for object_class in ("user", "inetOrgPerson") if wanted == "both" else (wanted,):
            for path in [p for p in keys.get("scope", "").split(",") if p]:
                self.add_aces(self.dn(path), *[f"(OA;CIIO;{RIGHT[r]};{CLASS_GUID[object_class]};{sid})" for r in rights if r in RIGHT])
        if "unexpire" in rights:
            self.add_aces(self.base, f"(OA;CI;CR;ccc2dc7d-a6ad-4a7a-8846-c04e3cc53501;;{sid})")
        if "dirsync" in rights:
            self.add_aces(self.base, f"(OA;;CR;1131f6aa-9c07-11d1-f79f-00c04fc2dcd2;;{sid})")
        if "pso" in rights:
            self.add_aces("CN=Password Settings Container,CN=System," + self.base, f"(A;CI;LCRPLORC;;;{sid})")
        if "deleted" in rights:
            self.add_aces("CN=Deleted Objects," + self.base, f"(A;;LCRP;;;{sid})")
        if "CONNECTOR_UPN" not in self.env:
            self.env.update(CONNECTOR_UPN=keys.get("upn", f"{name}@{self.dns_domain}"), CONNECTOR_DN=dn, CONNECTOR_PW=keys.get("pw", ""))

    def do_group(self, words):
        keys, rest = pairs(words)
        name = rest[0]
        if not self.find(name):
            parent = self.ou_dn(keys["ou"]) if "ou" in keys else "CN=Users," + self.base
            self.db.add({"dn": f"CN={name},{parent}", "objectClass": "group", "sAMAccountName": name})
        if keys.get("members"):
            self.do_member([name, keys["members"]])

    def do_member(self, words):
        group = self.dn(words[0])
        have = [str(m) for m in self.db.search(group, ldb.SCOPE_BASE, attrs=["member"])[0].get("member", [])]
        new = [self.dn(m) for m in words[1].split(",") if self.dn(m) not in have]
        if new:
            self.modify(group, {"member": new}, flag=ldb.FLAG_MOD_ADD)

    def do_policy(self, words):
        keys, _ = pairs(words)
        attribute = {"minlen": ("minPwdLength", str), "history": ("pwdHistoryLength", str), "minage": ("minPwdAge", days),
                     "maxage": ("maxPwdAge", lambda d: days(d) if float(d) else NEVER), "lockout": ("lockoutThreshold", str),
                     "duration": ("lockoutDuration", minutes), "window": ("lockOutObservationWindow", minutes)}
        values = {attribute[k][0]: attribute[k][1](v) for k, v in keys.items() if k in attribute}
        if "complexity" in keys:
            now = int(str(self.db.search(self.base, ldb.SCOPE_BASE, attrs=["pwdProperties"])[0]["pwdProperties"]))
            values["pwdProperties"] = str(now | 1 if keys["complexity"] == "on" else now & ~1)
        self.modify(self.base, values)

    def do_pso(self, words):
        keys, rest = pairs(words)
        keys = dict({"minlen": "7", "complexity": "on", "history": "24", "minage": "0", "maxage": "42", "lockout": "0",
                     "duration": "30", "window": "30"}, **keys)
        values = {
            "msDS-MinimumPasswordLength": keys["minlen"], "msDS-PasswordHistoryLength": keys["history"],
            "msDS-MinimumPasswordAge": days(keys["minage"]), "msDS-MaximumPasswordAge": days(keys["maxage"]),
            "msDS-LockoutThreshold": keys["lockout"], "msDS-LockoutDuration": minutes(keys["duration"]),
            "msDS-LockoutObservationWindow": minutes(keys["window"]),
            "msDS-PasswordComplexityEnabled": "TRUE" if keys["complexity"] == "on" else "FALSE",
            "msDS-PasswordSettingsPrecedence": keys["prec"], "msDS-PasswordReversibleEncryptionEnabled": "FALSE",
        }
        dn = f"CN={rest[0]},CN=Password Settings Container,CN=System,{self.base}"
        if not self.ensure(dn, "msDS-PasswordSettings", **values):
            self.modify(dn, values)
        self.modify(dn, {"msDS-PSOAppliesTo": [self.dn(name) for name in keys.get("apply", "").split(",") if name]})

    def do_ace(self, words):
        aces = []
        for ace in words[1:]:
            while "{" in ace:
                start, end = ace.index("{"), ace.index("}")
                ace = ace[:start] + self.sid(ace[start + 1:end]) + ace[end + 1:]
            aces.append(ace)
        self.add_aces(self.dn(words[0]), *aces)

    def do_block(self, words):
        dn = self.dn(words[0])
        _, old = self.read_dacl(dn)
        self.write_dacl(dn, "PAI", [ace for ace in old if "ID" not in ace.split(";")[1]])

    def do_protect(self, words):
        holder = "CN=AdminSDHolder,CN=System," + self.base
        if not self.read_dacl(holder)[0].startswith("P"):
            self.write_dacl(holder, "PAI", ADMINSDHOLDER)
        for name in words:
            self.write_dacl(self.dn(name), "PAI", self.read_dacl(holder)[1])
            self.modify(self.dn(name), {"adminCount": "1"})

    def do_harden(self, words):
        if words != ["prewin2000"]:
            raise ValueError("only `harden prewin2000` is known")
        group = "CN=Pre-Windows 2000 Compatible Access,CN=Builtin," + self.base
        members = self.db.search(group, ldb.SCOPE_BASE, attrs=["member"])[0].get("member", [])
        everyone = [str(m) for m in members if "S-1-5-11" in str(m)]
        if everyone:
            self.modify(group, {"member": everyone}, flag=ldb.FLAG_MOD_DELETE)

    def do_set(self, words):
        self.modify(self.dn(words[0]), dict(w.split("=", 1) for w in words[1:]))

    def do_delete(self, words):
        self.db.delete(self.dn(words[0]))

    def statement(self, line):
        """Runs one line; False when it holds none."""
        words = shlex.split(line, comments=True)
        if not words:
            return False
        run = getattr(self, "do_" + words[0], None)
        if run is None:
            raise ValueError("unknown statement " + words[0])
        run(words[1:])
        return True


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the seed file")
    parser.add_argument("--dir", required=True, help="the DC's directory")
    args = parser.parse_args()
    seeder, count, began = Seeder(args.dir), 0, time.time()
    with open(args.file, encoding="utf-8") as lines:
        seeder.db.transaction_start()
        try:
            for number, line in enumerate(lines, 1):
                try:
                    count += seeder.statement(line)
                except Exception as error:   # whatever went wrong, the line is what the reader needs
                    print(f"seed: line {number}: {line.strip()}: {error!r}", file=sys.stderr)
                    raise SystemExit(1) from error
            seeder.db.transaction_commit()
        except BaseException:
            seeder.db.transaction_cancel()
            raise
    with open(args.dir + "/seed.env", "w", encoding="utf-8") as out:
        out.writelines(f"{key}={shlex.quote(value)}\n" for key, value in seeder.env.items())
    with open(args.dir + "/locked", "w", encoding="ascii") as out:
        out.writelines(base64.b64encode(dn.encode()).decode() + "\n" for dn in seeder.locked)
    print(f"seed: {count} statements in {time.time() - began:.1f} s", file=sys.stderr)


if __name__ == "__main__":
    main()

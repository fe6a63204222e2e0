"""Breakages of the rules for passwords. Each takes a Record, whose world and user (a GUID) say where."""
import os

from .record import sam
from .world import filetime_now

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


# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
CAUSES = {
    "policy.length": ("user", "both", "a PSO of USER's own demands 20 characters", policy_length),
    "policy.complexity": ("user", "both", "a PSO of USER's own demands complexity", policy_complexity),
    "policy.contains_name": ("domain", "both", "the DC refuses passwords that hold USER's name, as Windows does, by a `check password script` (restarts the DC)", password_script("contains_name", "{sam}-Pass-0042!")),
    "policy.history": ("user", "4.24", "a PSO of USER's own keeps 24 passwords: the present one fails, where the policy hints control is sent", policy_history),
    "policy.min_age": ("user", "4.24", "a PSO of USER's own demands a day between two passwords, and the last was set now; shows where the policy hints control is sent", policy_min_age),
    "policy.pso_unreadable": ("user", "both", "a PSO of USER's own demands 20 characters and the connector may not read it", pso_unreadable),
    "policy.filter_or_unknown": ("domain", "both", "a password filter (`check password script`) refuses whatever USER gets (restarts the DC)", password_script("filter", "Another-Pass-0042!")),
}

"""Breakages of what the connector may do to a user. Each takes a Record, whose world and user (a GUID) say where."""
from .record import own_ou, parent_of, sam
from .world import Plain

RESET, CHANGE = "00299570-246d-11d0-a768-00aa006e0529", "ab721a53-1e2f-11d0-9819-00aa0040529b"
LOCKOUT_TIME, PWD_LAST_SET = "28630ebf-41d5-11d1-a9c1-0000f80367c1", "bf967a0a-0de6-11d0-a285-00aa003049e2"


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
            for other in {RESET, LOCKOUT_TIME, PWD_LAST_SET} - {right}:   # what another breakage narrowed, it made good for every OU but this one
                narrowed = [ace for ace in delegations(world, top, other) if "NP" in ace.split(";")[1]]
                record.add_aces(ou, *[";".join([ace.split(";")[0], "CIIO", *ace.split(";")[2:]]) for ace in narrowed])
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


# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
FROM_GROUP = "denies Reset Password on USER, explicitly, to "
CAUSES = {
    "rights.reset_missing": ("user", "both", "USER is in a new OU below the delegated one that nobody delegated; all others keep the right", undelegated(RESET)),
    "rights.reset_missing:ou": ("domain", "both", "the ACE is taken from the OU that delegates it: everybody below it", undelegated_ou(RESET)),
    "rights.deny_ace": ("user", "both", FROM_GROUP + "Domain Users, the connector's primary group", deny_for("DU")),
    "rights.deny_ace:everyone": ("user", "both", FROM_GROUP + "Everyone", deny_for("WD")),
    "rights.deny_ace:group": ("user", "both", FROM_GROUP + "a group that holds a group that holds the connector (seen at its next bind)", deny_by_group),
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
}

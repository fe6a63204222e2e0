"""Breakages of the user itself. Each takes a Record, whose world and user (a GUID) say where."""
from .record import SECRETS, own_ou, parent_of, sam, the_user
from .world import b64, filetime_now


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


# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
CAUSES = {
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
}

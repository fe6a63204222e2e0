"""Breakages of the account that keyback signs in with. Each takes a Record, whose world says where."""
from .record import the_connector
from .target import disable, lock


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


# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
CAUSES = {
    "connector.bind_failed": ("domain", "both", "the connector's password was changed", connector_password),
    "connector.disabled": ("domain", "both", "the connector is disabled", disable(the_connector)),
    "connector.locked": ("domain", "both", "the connector is locked out since now", lock(the_connector)),
    "connector.password_expired": ("domain", "both", "the connector's password was set in 2019 and may expire", connector_expired),
}

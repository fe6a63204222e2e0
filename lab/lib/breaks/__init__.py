"""The causes for which a password reset fails: how the lab makes each, or why it does not."""
from . import connector, dc, policy, rights, target
from .record import Record, undo, undo_step
from .world import Plain, World

# cause[:variant] -> (who is hit, on which Samba a failure shows, what it does, how)
MADE = {**rights.CAUSES, **policy.CAUSES, **target.CAUSES, **connector.CAUSES, **dc.CAUSES}

OWN = "keyback's own state, not the directory's: "
# cause -> why no breakage makes it
NOT_MADE = {
    "policy.hints_unsupported": "4.17 never offers policy hints and 4.24 always does: start the other one",
    "policy.banned": OWN + "give it a blocklist", "policy.breached": OWN + "give it a list of hashes",
    "target.wrong_password": "what a person types, not a state: type another current password",
    "target.outrun": "a race: set the password while a job runs",
    "dc.name_resolution": "the name is resolved on the client's side: give keyback a name that does not exist",
    "dc.read_only": "a second DC, not a state of this one: lab/up --join DIR --rodc --dir DIR2 --ip IP2 --host NAME2 starts a read-only one",
    "dc.busy": "Samba answers 51 only to a bind while requests are pending on the same connection; a held write lock makes it wait, not refuse",
    "dc.protocol": "a Samba DC speaks LDAP: point keyback at another kind of server",
    "dc.unspecified": "no known answer of a Samba DC is missing in the catalogue",
    **{cause: OWN + how for cause, how in {
        "agent.offline": "stop the agent", "agent.heartbeat_stale": "freeze the agent", "relay.unreachable": "stop the relay",
        "writeback.disabled": "switch it off in the configuration", "sync.stopped": "stop the agent",
        "sync.error": "break connector.bind_failed and run a cycle", "sync.stale": "stop the agent",
        "outcome.unknown": "break dc.unreachable:frozen during a job", "mail.unreachable": "stop the mail gateway",
        "agent.cap_user": "reset one person four times", "agent.cap_agent": "reset 31 people in an hour",
        "agent.cap_ou": "set ou_hour and reset more people", "agent.stopped": "go on after agent.cap_agent",
        "agent.quarantined": "put back an old journal", "agent.lists_unreadable": "take the list of hashes away", "server.busy": "lower open_jobs and ask more often", "agent.unasked": "hold the server up for a minute",
        "key.enrolment_refused": "type an old code", "message.refused": "pin another key", "store.unavailable": "fill its disk", "journal.unavailable": "fill its disk",
        "config.invalid": "write a wrong line"}.items()},
    **{cause: "what a person types or does, not a state: " + how for cause, how in {
        "input.password": "type one that is refused", "input.name": "type one that is none", "input.form": "send another form",
        "proof.wrong_code": "type another code", "proof.expired": "wait", "proof.too_many_tries": "try too often",
        "proof.code_used": "type the same code twice", "proof.clock_off": "set the phone's clock back", "proof.password_tries": "type wrong passwords",
        "proof.method_frozen": "use a method on the day it was added", "proof.way_not_allowed": "take a way out of `methods`"}.items()},
}

__all__ = ["MADE", "NOT_MADE", "Plain", "Record", "World", "undo", "undo_step"]

"""The name of every log event, with one line of meaning.

An event is `noun.past_participle`; its facts are fields. Operators grep for these names, so they are an
interface: a test holds the code to this list.
"""

from typing import Final

__all__ = ["EVENTS"]

EVENTS: Final[dict[str, str]] = {
    # The process
    "gateway.started": "every listener is open; devices and applications may connect",
    "gateway.stopped": "everything is closed and committed",
    "gateway.failed": "the gateway can't start or go on; `error` and `hint` say why and what to do",
    "listener.opened": "a socket accepts connections",
    "listener.refused": "connections were closed unserved because a limit was reached (a count per second)",
    "listener.paused": "the system had no file or memory left to accept a connection; tried again after a second",
    "deadline.failed": "a fault of the gateway's own when a deadline was reached; all other deadlines are kept",
    "storm.shed": "storm control turned connections away, refused or delayed devices (counts by cause, per second)",
    "setting.warned": "a setting works but is risky",
    "broker.reported": "amqtt, the applications' broker, logged something",
    # Connections and sessions
    "connection.closed": "a connection ended before a CONNECT was accepted; `reason` says why",
    "connect.refused": "a CONNECT, or a request over HTTPS, was refused; `reason`, `detail`, `hint` say why and what helps",
    "session.opened": "CONNACK 0 was sent",
    "session.renewed": "MQTT 5: the device gave a new token by AUTH, and its session goes on until `expires_at`",
    "session.closed": "the session's canonical line: why it ended, how long it lasted, what it carried",
    "trace.started": "an operator has a device's packets shown; `for_s` says for how long",
    "device.traced": "a packet from (`in`) or to (`out`) a device that is traced",
    "trace.ended": "a trace is over: by `time`, by its number of `packets`, or by an `operator`",
    # Registration and association
    "registration.created": "a device registered itself; the record is durable",
    "registration.challenged": "over HTTPS, a device was asked to prove that it has its TPM",
    "registration.assigned": "DPS answered `assigned`",
    "registration.deferred": "DPS answered `assigning`: the device waits for approval",
    "registration.failed": "DPS answered with an error",
    "device.changed": "a device's status moved along the transition table",
    "devices.imported": "a file of devices was imported; the counts say what became of its rows",
    "central.migrated": "what was exported from IoT Central was taken over; the counts say what was made",
    "template.published": "a device template was imported or generated; devices can be associated with it",
    "template.deleted": "a device template that no device had was deleted",
    "template.associated": "a device was associated with a device template by its model id",
    "template.missing": "no template and no repository has the model id: the device is Unassociated",
    "template.refused": "a model can't become a device template; `reason` says why",
    # Telemetry
    "telemetry.dead_lettered": "a message could not be decoded; it is on the dead-letter topic with its reason",
    "telemetry.dropped": "messages were dropped (counted, at most one line per second)",
    # The store
    "store.opened": "the database is at the current schema",
    "store.sealed": "so many enrollments were encrypted, with this key: at the first start with a key, and after it changed",
    "store.unsealed": "rows are damaged, and stay in the clear or under an old key; `rows` names the first of `count`",
    "store.unscrubbed": "what is encrypted now may be in free pages of the file as it was; the next start erases it",
    "store.damaged": "a row can't be read: its device is told that the store is not available, others are not concerned",
    "store.failed": "a commit or a query failed; those who waited for it were told so",
    # Operators and applications
    "operation.failed": "an operator's verb broke on a fault of the gateway's own",
    "group.changed": "an enrollment group was created, changed or deleted",
    "enrollment.changed": "an individual enrollment was created, changed or deleted",
    "api.refused": "a request to the REST API had no valid token, or one without the right; `reason` says which",
    "token.changed": "an API token was created or deleted",
    "audit.failed": "the audit log could not be told how a change ended; its record says `begun`",
    "application.accepted": "an application logged in",
    "application.refused": "a login on the applications' listener was refused; `reason` says why",
    "application.denied": "an application asked for a topic it has no right to",
}
